"""The versions of Xen that are modelled: what they call things, print and do differently."""
