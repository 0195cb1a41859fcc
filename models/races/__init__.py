"""The run-time races that history knows, one a file: how each comes about, and what it looks like."""
