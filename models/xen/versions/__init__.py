"""TODO models/xen/versions."""
