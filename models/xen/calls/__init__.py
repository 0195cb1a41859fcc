"""TODO models/xen/calls."""
