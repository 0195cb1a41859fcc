"""TODO models/linux/boot."""
