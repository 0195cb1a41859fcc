"""TODO models/linux/run/workloads."""
