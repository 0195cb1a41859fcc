"""The engine: effects and their interpreters. It knows nothing of page tables."""
