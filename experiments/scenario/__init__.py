"""TODO experiments/scenario."""
