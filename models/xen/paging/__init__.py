"""Domains whose tables Xen does not use as they are: shadowed, and nested."""
