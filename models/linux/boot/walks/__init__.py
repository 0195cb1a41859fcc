"""TODO models/linux/boot/walks."""
