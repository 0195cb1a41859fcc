"""Tables and lists for people."""
