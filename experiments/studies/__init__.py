"""Studies: a question each, a sweep that answers it, and the figures that show the answer.

``python -m experiments.studies.NAME`` runs one, ``make studies`` all.
docs/concepts/studies.md tells what came out.
"""
