"""How far one search of a ladder has come, and what that shows: in words, and no more than that."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context
from typing import Literal

from sim.explore.searches.pct import chance_to_miss
from sim.explore.searches.portfolio import PCT

_UPWARDS = Context(prec=2, rounding=ROUND_CEILING)
_HARDLY = 0.99
"""A bug that is missed with such a probability is not worth a sentence."""
_NEVER = 1e-9


@dataclass
class Rung:
    """How far one search has come: plain data, to be written down and gone on from."""

    search: Literal["classes", "switches", "portfolio"]
    switches: int | None = None
    """The bound."""
    complete: bool = False
    """There is nothing left that this search would try."""
    executions: int = 0
    orders: int = 0
    """Those of the executions that a claim counts. Searches through all orders count none twice."""
    blocked: int = 0
    """Broken off, since all that could follow was tried before."""
    findings: dict[str, int] = field(default_factory=dict)
    """Executions that failed, by kind; where a search has begun again, some count twice."""
    strategies: dict[str, int] = field(default_factory=dict)
    """Schedules of each strategy of the portfolio ..."""
    found_by: dict[str, int] = field(default_factory=dict)
    """... and how many of them were findings."""
    vcpus: int = 0
    steps: int = 0
    """The longest execution that the portfolio reckons with."""
    answers_drawn: bool = False
    """The portfolio has met questions other than who goes next."""

    @property
    def name(self) -> str:
        """The search with its bound."""
        return self.search if self.switches is None else f"{self.search}-{self.switches}"

    def missed(self, depth: int) -> float:
        """The probability with which a bug of this depth has been missed, at most."""
        runs = self.strategies.get(f"pct-{depth}", 0)
        return chance_to_miss(depth, self.vcpus, self.steps, runs)


def claims(rungs: Iterable[Rung]) -> list[str]:
    """What the searches have shown, a sentence each, and nothing beyond it."""
    return [_claim(rung) for rung in rungs if rung.executions]


def _claim(rung: Rung) -> str:
    n = f"{rung.orders:,}"
    if rung.search == "portfolio":
        said = f"{n} schedules were drawn"
    elif rung.search == "switches":
        times = "1 switch" if rung.switches == 1 else f"{rung.switches} switches"
        bound = f"{n} orders with at most {times} away from a vCPU that could go on"
        said = f"all {bound} were run" if rung.complete else f"{bound} were run, perhaps not all"
    elif rung.complete:
        said = (
            f"all {n} interleavings of this configuration were run: any other differs from one of "
            "them only in the order of independent steps"
        )
    else:
        said = f"{n} interleavings were run, perhaps not all"
    if rung.findings:
        kinds = ", ".join(f"{kind}: {times:,}" for kind, times in rung.findings.items())
        return f"{said}; failures ({kinds})"
    said += "; no failure"
    if rung.search == "portfolio":
        said += "".join(_missed(rung, depth) for depth in PCT.values())
    return said


def _missed(rung: Rung, depth: int) -> str:
    missed = rung.missed(depth)
    if missed > _HARDLY:
        return ""
    # Rounded upwards, and not to nothing: what is said must still be true.
    written = _UPWARDS.create_decimal_from_float(missed) if missed > _NEVER else _NEVER
    answers = ", needs no particular answers" if rung.answers_drawn else ""
    return (
        f"; a bug of depth {depth} that shows within {rung.steps} steps of {rung.vcpus} vCPUs"
        f"{answers} would have been missed with probability <= {written:g}"
    )
