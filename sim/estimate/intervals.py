"""Intervals for means and for shares: what a sample lets one say of the truth.

All of them hold the true value with ``CONFIDENCE``, when the values come from independent runs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sim.estimate.quantiles import beta_quantile, student_quantile

CONFIDENCE = 0.95
UPPER = (1 + CONFIDENCE) / 2
"""A two-sided interval leaves as much out above as below."""


class Estimate(NamedTuple):
    """A mean, a share or a rate, and the interval that holds the true one."""

    mean: float
    low: float
    high: float


def student(values: Sequence[float]) -> Estimate:
    """The mean of independent values of one distribution; at least two of them.

    Raises:
        ValueError: there are fewer.
    """
    if len(values) < 2:
        raise ValueError("an interval needs two values at least")
    sample = np.asarray(values, float)
    mean = float(sample.mean())
    error = float(sample.std(ddof=1)) / math.sqrt(sample.size)
    half = student_quantile(UPPER, sample.size - 1) * error
    return Estimate(mean, mean - half, mean + half)


def clopper_pearson(hits: float, runs: float) -> Estimate:
    """A share with the exact interval, which never holds the truth in fewer samples than it says.

    Counts may be broken: those of a sample that is worth fewer independent runs than it has
    (:mod:`sim.estimate.ratios`). Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934).

    Raises:
        ValueError: no runs, or not 0 <= hits <= runs.
    """
    _check(hits, runs)
    low = beta_quantile(1 - UPPER, hits, runs - hits + 1) if hits else 0.0
    high = beta_quantile(UPPER, hits + 1, runs - hits) if hits < runs else 1.0
    return Estimate(hits / runs, low, high)


def share(hits: int, runs: int) -> Estimate:
    """A share as it is claimed: exact, and one-sided where all runs or none hit.

    Nothing seen in n runs says p < 1 - 0.05 ** (1 / n) (about 3 / n); that is the interval then,
    rather than the two-sided one's wider 1 - 0.025 ** (1 / n). Changing over costs a little:
    near p = 3.3 / n the truth is held in 94 % of samples instead of 95 %.

    Raises:
        ValueError: no runs, or not 0 <= hits <= runs.
    """
    _check(hits, runs)
    if hits == 0:
        return Estimate(0.0, 0.0, bound_when_unseen(runs))
    if hits == runs:
        return Estimate(1.0, 1 - bound_when_unseen(runs), 1.0)
    return clopper_pearson(hits, runs)


def bound_when_unseen(runs: float) -> float:
    """What the probability is below, with ``CONFIDENCE``, of that which so many runs did not show.

    A more probable one would stay unseen in less than 5 % of samples. It is the upper end of a
    one-sided Clopper-Pearson interval.
    """
    return -math.expm1(math.log1p(-CONFIDENCE) / runs)


def _check(hits: float, runs: float) -> None:
    if runs <= 0:
        raise ValueError("a share needs one run at least")
    if not 0 <= hits <= runs:
        raise ValueError(f"{hits} of {runs} runs: hits must lie between 0 and the runs")
