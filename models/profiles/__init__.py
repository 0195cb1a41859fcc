"""Latency profiles: what one unit of each kind of work costs, with its range and source."""
