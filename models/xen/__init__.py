"""Xen's PV MMU: what it checks, answers, prints and leaves behind."""
