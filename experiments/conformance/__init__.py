"""Conformance vectors: what a Xen answers, call by call, against what the model does."""
