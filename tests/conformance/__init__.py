"""What a real Xen answers, call by call."""
