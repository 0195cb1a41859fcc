"""TODO experiments/odds."""
