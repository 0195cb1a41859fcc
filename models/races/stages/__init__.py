"""TODO models/races/stages."""
