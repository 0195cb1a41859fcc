"""TODO experiments/subjects."""
