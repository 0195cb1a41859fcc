"""How often a race is hit, and how sure that is."""
