"""A guest under several strategies, side by side: what is run, where, and what is told of it.

Records depend on scenario, strategy, seed and replication alone, so any number of processes makes
the same ones. They come in the order of the strategies, each as soon as it is there.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from experiments.errors import InputError
from experiments.processes import in_order
from experiments.provenance import provenance
from experiments.record.record import Record
from experiments.run_log import RunLog, logged
from experiments.scenario.policies import composed, sensible
from experiments.scenario.scenario import Scenario
from experiments.scenario.strategies import strategy_names
from experiments.subjects.kinds import run

SCHEMA = "pinlab.compare/1"


class Compared(NamedTuple):
    """What is compared; made by :func:`compared_under`."""

    scenario: Scenario
    written: Mapping[str, Any]
    """What the scenario was made from."""
    strategies: Sequence[str]
    left_out: dict[str, str]
    """Strategies to which the scenario's parts cannot be applied, and why."""
    baseline: str


def compared_under(
    scenario: Scenario,
    strategies: Sequence[str] | None,
    baseline: str | None,
    written: Mapping[str, Any],
) -> Compared:
    """What to compare: these strategies, or all that the scenario's parts can be applied to.

    Raises:
        InputError: there is no such strategy, its parts make no sense, or the baseline is none.
    """
    left_out: dict[str, str] = {}
    if strategies is None:
        chosen, left_out = sensible(strategy_names(), scenario.strategy)
    if strategies is not None or not chosen:
        chosen = list(strategies or strategy_names())
        for strategy in chosen:
            composed(strategy, scenario.strategy)
    if baseline is None:
        baseline = "reserve-hook" if "reserve-hook" in chosen else chosen[0]
    elif baseline not in chosen:
        raise InputError(f"compare: baseline {baseline!r} is none of {', '.join(chosen)}")
    return Compared(scenario, written, chosen, left_out, baseline)


def compare(
    what: Compared,
    log: RunLog,
    *,
    seed: int,
    replications: int,
    robust: bool,
    jobs: int,
    tell: Callable[[Record], None] = lambda _: None,
) -> dict[str, Any]:
    """The comparison as one document, by ``jobs`` processes at most.

    ``tell`` is called with the first record of each strategy when all its boots are made.

    Raises:
        InputError: the scenario cannot be run, or a process has died.
    """
    boots = [(strategy, number) for strategy in what.strategies for number in range(replications)]
    made: list[Record] = []
    with in_order(min(jobs, len(boots))) as over:
        for record in over(partial(_boot, what.scenario, seed, log), boots):
            made.append(record)
            if len(made) % replications == 0:
                tell(made[-replications])
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "provenance": provenance(
                {
                    "kind": "compare",
                    "scenario": dict(what.written),
                    "strategies": list(what.strategies),
                    "replications": replications,
                    "baseline": what.baseline,
                    "robust": robust,
                },
                __name__,
                seed=seed,
            ),
            "rows": made if replications == 1 else _estimated(what, boots, made, replications),
        }
        if what.left_out:
            document["left_out"] = what.left_out
        if robust:
            from experiments.odds.robustness import robustness

            document["robustness"] = robustness(what.scenario, what.strategies, seed, over)
    return document


def _boot(scenario: Scenario, seed: int, log: RunLog, boot: tuple[str, int]) -> Record:
    """One boot, in whichever process."""
    strategy, replication = boot
    return logged(
        log.bind(strategy=strategy, replication=replication),
        partial(run, scenario, strategy, seed=seed, replication=replication),
    )


def _estimated(
    what: Compared, boots: Sequence[tuple[str, int]], made: Sequence[Record], replications: int
) -> list[Record]:
    from experiments.odds.replications import replicate

    by_boot = dict(zip(boots, made, strict=True))
    return replicate(
        lambda strategy, number: by_boot[strategy, number],
        what.strategies,
        replications,
        what.baseline,
    )
