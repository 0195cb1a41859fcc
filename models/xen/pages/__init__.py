"""TODO models/xen/pages."""
