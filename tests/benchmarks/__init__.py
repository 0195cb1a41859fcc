"""Ratios of speed, taken in one run and printed; nothing here asserts a time."""
