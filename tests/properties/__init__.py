"""Properties that hold of many generated machines, not of chosen ones."""
