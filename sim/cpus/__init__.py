"""vCPUs on pCPUs: who runs where, and for how long, as a hypervisor's scheduler decides it."""
