"""What is simulated: a machine, Xen PV, a Linux guest, its mapping strategies and races."""
