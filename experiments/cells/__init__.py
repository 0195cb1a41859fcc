"""Parameter sweeps: a scenario over many settings, each cell computed once and kept.

    from experiments.cells import load_sweep, run_sweep

    frame = run_sweep(load_sweep("sizes.toml"), "sizes.sweep", jobs=2)      # a polars DataFrame

``load_sweep`` takes a file, the name of a shipped one, or the document as a dictionary, checks
every cell, and runs nothing. ``run_sweep`` computes what the ledger in the folder lacks; stopped by
whatever means and called again, it goes on where it was.
"""

from experiments.cells.execute import Swept, carry_out, run_sweep
from experiments.cells.plan import Cell, Sweep, load_sweep

__all__ = ["Cell", "Sweep", "Swept", "carry_out", "load_sweep", "run_sweep"]
