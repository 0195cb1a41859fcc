"""Counterexamples: what is told, drawn, written and replayed of failing runs."""
