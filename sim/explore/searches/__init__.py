"""TODO sim/explore/searches."""
