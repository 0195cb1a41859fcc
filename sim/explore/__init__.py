"""Interpreters that try every order: delays are ignored, choices are enumerated."""
