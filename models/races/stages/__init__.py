"""Where races happen: kernels with the processes and mappings that they need."""
