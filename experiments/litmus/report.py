"""What became of litmus tests, for programs and for people."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.errors import InputError
from experiments.litmus.explanation import explanation
from experiments.litmus.outcome import Outcome, agrees, as_document
from experiments.litmus.recorded import LitmusTest, Observed, Record, load_tests, understood
from experiments.litmus.schedule import in_words, steps_of
from experiments.litmus.search import MOST_CLASSES, Explored, explore, with_fewer_switches
from experiments.litmus.stage import SetupFailed
from experiments.processes import in_order
from experiments.provenance import contents, provenance
from experiments.record.record import Provenance

SCHEMA = "pinlab.litmus_report/1"

Document = dict[str, Any]


class Judged(NamedTuple):
    """A test whose orders were tried."""

    name: str
    note: str
    orders: int
    complete: bool
    """All classes of orders were tried."""
    recorded: int
    interleaved: int
    """Recorded outcomes that no order of whole operations gives."""
    missing: list[Document]
    unobserved: list[Document]

    @property
    def covered(self) -> bool:
        """Was every recorded outcome reached, whatever was printed?"""
        return all(missing["messages_only"] for missing in self.missing)


def litmus(
    files: Iterable[Path], *, jobs: int = 1, most: int | None = None, seed: int = 0
) -> list[Judged]:
    """Explore the tests of all files, so many at a time, and compare.

    The result is the same whatever ``jobs`` is. ``most``: classes of orders of a test at most.

    Raises:
        InputError: a file cannot be used, or a test's setup does not succeed.
    """
    tasks = [_Task(str(path), test.record) for path in files for test in load_tests(path)]
    work = partial(_judge_task, most=most, seed=seed)
    with in_order(min(jobs, len(tasks))) as over:
        return list(over(work, tasks))


def made_of(files: Sequence[Path], *, most: int | None, seed: int) -> Provenance:
    """What makes the report of these files."""
    settings = {"files": contents(files), "most": MOST_CLASSES if most is None else most}
    return provenance(settings, __name__, seed=seed)


class _Task(NamedTuple):
    """A test as it is handed to a process."""

    path: str
    record: Record


def _judge_task(task: _Task, *, most: int | None, seed: int) -> Judged:
    where = f"{task.path}: test {task.record.name}"
    test = understood(task.record, where)
    try:
        explored = explore(test, most=MOST_CLASSES if most is None else most, seed=seed)
    except SetupFailed as failed:
        raise InputError(f"{where}: its setup does not succeed: {failed}") from failed
    return judge(test, explored)


def judge(test: LitmusTest, explored: Explored) -> Judged:
    """What was reached of the record, and what is not in it."""
    observed = test.record.outcomes
    unobserved = [
        outcome
        for outcome in explored.outcomes
        if not any(agrees(outcome, seen, strictly=True) for seen in observed)
    ]
    if unobserved:
        explored = with_fewer_switches(test, explored, unobserved)
    return Judged(
        name=test.record.name,
        note=test.record.note,
        orders=explored.orders,
        complete=explored.complete,
        recorded=len(observed),
        interleaved=sum(not _reached(explored.whole, seen, strictly=False) for seen in observed),
        missing=[
            {
                "name": test.record.name,
                "outcome": _written(seen),
                "messages_only": _reached(explored.outcomes, seen, strictly=False),
            }
            for seen in observed
            if not _reached(explored.outcomes, seen, strictly=True)
        ],
        unobserved=[_unobserved(test, explored, outcome) for outcome in unobserved],
    )


def _reached(outcomes: Iterable[Outcome], observed: Observed, *, strictly: bool) -> bool:
    return any(agrees(outcome, observed, strictly=strictly) for outcome in outcomes)


def _written(observed: Observed) -> Document:
    fields: Document = msgspec.to_builtins(observed)
    return {key: value for key, value in fields.items() if value is not None}


def _unobserved(test: LitmusTest, explored: Explored, outcome: Outcome) -> Document:
    tape = explored.outcomes[outcome]
    steps = steps_of(test, tape)
    return {
        "name": test.record.name,
        "outcome": as_document(outcome),
        "schedule": in_words(test, steps),
        "explanation": explanation(test, outcome, steps, whole=outcome in explored.whole),
        "tape": str(tape),
    }


def document(tests: Sequence[Judged], made: Provenance) -> Document:
    """The report as plain data, and what made it."""
    return {
        "schema": SCHEMA,
        "provenance": made,
        "tests": len(tests),
        "covered": sum(test.covered for test in tests),
        "covered_strict": sum(not test.missing for test in tests),
        "missing": [missing for test in tests for missing in test.missing],
        "unobserved": [unobserved for test in tests for unobserved in test.unobserved],
        "explored": [
            {
                "name": test.name,
                "orders": test.orders,
                "complete": test.complete,
                "recorded": test.recorded,
                "interleaved": test.interleaved,
            }
            for test in tests
        ],
    }


def litmus_table(tests: Sequence[Judged]) -> RenderableType:
    """A line for each test, what is missing, what was never seen, and a line that counts."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("test", "orders", "recorded", "reached", "with messages", "not recorded"):
        table.add_column(heading, justify="left" if heading == "test" else "right")
    for test in tests:
        strictly = test.recorded - len(test.missing)
        reached = strictly + sum(missing["messages_only"] for missing in test.missing)
        orders = f"all {test.orders:,}" if test.complete else f"{test.orders:,} of more"
        cells = [orders, test.recorded, reached, strictly, len(test.unobserved) or ""]
        table.add_row(test.name, *map(str, cells))
    parts: list[RenderableType] = [table]
    for test in tests:
        parts += [part for missing in test.missing for part in _missing_text(missing)]
        parts += [part for unobserved in test.unobserved for part in _unobserved_text(unobserved)]
    return Group(*parts, Text(), Text(_verdict(tests), style="bold"))


def _missing_text(missing: Document) -> list[RenderableType]:
    but = ", but for its messages" if missing["messages_only"] else ""
    return [
        Text(),
        Text(f"{missing['name']}: recorded and not reached{but}", style="bold"),
        Text(f"  {_outcome_text(missing['outcome'])}"),
    ]


def _unobserved_text(unobserved: Document) -> list[RenderableType]:
    return [
        Text(),
        Text(f"{unobserved['name']}: not recorded", style="bold"),
        Text(f"  {_outcome_text(unobserved['outcome'])}"),
        *(Text(f"  {line}") for line in unobserved["schedule"]),
        Text(f"  {unobserved['explanation']}"),
    ]


def _outcome_text(outcome: Document) -> str:
    """An outcome on one line."""
    words = ", ".join(
        f"{mfn} {words['type_info']} ({words['count']})" for mfn, words in outcome["final"].items()
    )
    entries = ", ".join(
        f"{mfn}[{slot}] = {entry}"
        for mfn, slots in outcome["entries"].items()
        for slot, entry in slots.items()
    )
    printed = "; ".join(
        f"vCPU {vcpu} prints {', '.join(outcome[f'messages{vcpu}'])}"
        for vcpu in (0, 1)
        if outcome[f"messages{vcpu}"]
    )
    codes = f"{_codes(outcome['rc0'])} | {_codes(outcome['rc1'])}"
    return "; ".join(part for part in (codes, words, entries, printed) if part)


def _codes(codes: Sequence[Any]) -> str:
    return " ".join(
        f"{{{_codes(code)}}}" if isinstance(code, list | tuple) else str(code) for code in codes
    )


def _verdict(tests: Sequence[Judged]) -> str:
    covered = sum(test.covered for test in tests)
    strictly = sum(not test.missing for test in tests)
    interleaved = sum(test.interleaved for test in tests)
    outcomes = sum(test.recorded for test in tests)
    return (
        f"{len(tests)} tests, {covered} covered, {strictly} with their messages; {interleaved} of "
        f"{outcomes} recorded outcomes come from no order of whole operations"
    )
