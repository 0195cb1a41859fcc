"""TODO sim/explore/world."""
