"""The machine: page frames with their contents, table entries, translation caches."""
