"""The kernel that boots: it builds its direct map with one of the strategies."""
