"""TODO models/xen/paging."""
