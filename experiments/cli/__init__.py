"""The commands of PinLab, in the order in which help lists them."""

from experiments.cli.app import app, main

# Each registers itself; help lists them in this order.
# isort: off
from experiments.cli import run, replay, explore, odds, compare
from experiments.cli import sweep, listing, conform, litmus, decode
# isort: on

__all__ = [
    "app",
    "compare",
    "conform",
    "decode",
    "explore",
    "listing",
    "litmus",
    "main",
    "odds",
    "replay",
    "run",
    "sweep",
]
