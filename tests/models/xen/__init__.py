"""The hypervisor, operation by operation."""
