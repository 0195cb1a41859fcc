"""What holds of a hypervisor at every moment, and the names of what it holds."""
