"""Searches through the interleavings of a program, each a way to choose the next."""
