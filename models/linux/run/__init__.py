"""The kernel that runs: address spaces, faults, switches and what they do to page tables."""
