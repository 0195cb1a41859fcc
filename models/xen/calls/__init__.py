"""The hypercalls of the MMU, and the stores that Xen emulates."""
