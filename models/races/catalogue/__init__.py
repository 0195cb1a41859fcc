"""The races that are known, a file each."""
