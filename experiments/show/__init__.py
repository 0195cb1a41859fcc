"""TODO experiments/show."""
