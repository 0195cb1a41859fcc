"""Litmus tests: what two vCPUs of a real Xen were seen to do, against every order of the model."""
