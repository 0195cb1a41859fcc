"""TODO models/linux/run."""
