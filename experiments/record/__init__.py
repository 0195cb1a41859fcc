"""What a run comes to, and what observes it on the way."""
