"""One vCPU of a timed simulation: a SimPy process that runs ahead of the clock."""
