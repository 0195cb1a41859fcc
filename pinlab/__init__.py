"""PinLab for scripts: which way of publishing page tables survives Xen, and what it costs.

    import pinlab

    record = pinlab.run("dom0-2011", strategy="tables-high")
    print(record.outcome, record.failure.explanation)

Scenarios are names, paths, dictionaries or :class:`Scenario`; strategies are names,
``file.py:name`` or :class:`Strategy`. What is wrong with them is an :class:`InputError` of one
line. The same is told by the command ``pinlab``.
"""

from pinlab.hidden import refuse_hidden_packages

refuse_hidden_packages()

from experiments.errors import InputError
from experiments.record.record import (
    BufferRange,
    Counts,
    Failure,
    Hazard,
    LockFigures,
    Pages,
    Parallel,
    Provenance,
    RaceSearch,
    Record,
    Replications,
    Times,
    VcpuTimes,
)
from models.linux.boot.strategy import Strategy
from pinlab.functions import compare, decode, explore, odds, run, sweep
from pinlab.results import Comparison, Decoded, Exploration, Odds, SweepTable
from pinlab.scenarios import Scenario, load

__all__ = [
    "BufferRange",
    "Comparison",
    "Counts",
    "Decoded",
    "Exploration",
    "Failure",
    "Hazard",
    "InputError",
    "LockFigures",
    "Odds",
    "Pages",
    "Parallel",
    "Provenance",
    "RaceSearch",
    "Record",
    "Replications",
    "Scenario",
    "Strategy",
    "SweepTable",
    "Times",
    "VcpuTimes",
    "compare",
    "decode",
    "explore",
    "load",
    "odds",
    "run",
    "sweep",
]
