"""TODO models/xen/checks."""
