"""What processes and kernel threads do over and over while they are measured."""
