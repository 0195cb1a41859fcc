"""Failing executions for people: shrunk, drawn, explained in a sentence, and replayed."""
