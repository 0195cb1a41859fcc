"""How an experiment is written down: files, their keys, and what is refused of them."""
