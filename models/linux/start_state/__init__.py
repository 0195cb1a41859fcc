"""TODO models/linux/start_state."""
