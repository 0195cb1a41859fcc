"""The run-time races of history, one a file: how each comes about, and what it looks like."""
