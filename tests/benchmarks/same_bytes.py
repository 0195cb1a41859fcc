"""Do two checkouts compute the same bytes? ``python -m tests.benchmarks.same_bytes CHECKOUT``.

For whoever makes something faster that must not change a result: this checkout is held against
another one, or with ``--every-event`` against itself with each hypercall as an event of its own.
Not part of the tests: it takes minutes. Compared are

* each shipped scenario under each strategy and seed: the record as ``--json`` prints it, and the
  end of the run: contents of all pages, type, count, owner and time stamp of every frame, the
  guest's list of frames, the console, all counters. What one side refuses the other must refuse in
  the same words;
* recordings (``--tape``) of some: the tape and every step;
* trials of the races on the clock, with and without their fix;
* ``pinlab compare dom0-2011 --json``.

Each side runs in one process with its own ``.venv/bin/python``, if it has one. The exit status is 1
if anything differs; what differs first is told.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from experiments.scenario.scenario import load, shipped
from experiments.scenario.strategies import strategy_names
from models.races.catalogue.index import RACES
from tests.benchmarks.digests import COLUMNS, FAILED, PAGES, RECORD, REFUSED, Answer, Job

HERE = Path(__file__).resolve().parents[2]
_DRIVER = HERE / "tests/benchmarks/digests.py"
LARGE = ("guest-64G",)
"""Only with ``--large``: a run takes seconds, and as much again to look at all its frames."""
_SLOW = ("dom0-2011", "domU-7.5GiB-2011", "dom0-2G-6.1", "guest-4G", *LARGE)
"""These, and workloads of processes, run with the first seed alone."""
_FOR_PROCESSES = (
    "tables-low",
    "reserve-hook",
    "alloc-only",
    "auto-translated",
    "mapped-only-3.10",
    "mapped-only-5.10",
    "mapped-only-6.1",
)
"""One of each kernel that processes run on, and two that workloads of processes refuse."""
_RECORDED = ("guest-512M", "dom0-512M-6.1", "w3-self-map", "fork-1", "parallel-boot-tiny")
"""Small ones of each kind of workload: a recording takes ten times as long."""
_BY_EVENTS = (
    "guest-512M",
    "guest-2G",
    "domU-256M-6.1",
    "dom0-256M-6.1",
    "domU-7.5GiB-2011",
    "w1-alias-after-hook",
    "w8-only-a-warning",
    "fork-1",
    "parallel-boot-tiny",
)
_RACE_ROUNDS = 3
_ABSENT = "absent"
_TOLD = 20
"""So many differences are told in full."""
_NAMED = 5
"""So many scenarios that are left out are told by name."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    checkout: Path
    every_event: bool = False

    @property
    def python(self) -> str:
        """Its own interpreter, or this one."""
        own = self.checkout / ".venv/bin/python"
        return str(own) if own.exists() else sys.executable

    def of(self, job: Job) -> Job:
        """The job as this side does it."""
        return replace(job, every_event=self.every_event)

    def answers(self, jobs: Sequence[Job]) -> Iterator[Answer]:
        """What it makes of the jobs, computed ahead in a process of its own.

        Raises:
            SystemExit: the process has ended before its time.
        """
        queue: SimpleQueue[str | None] = SimpleQueue()
        threading.Thread(target=self._compute, args=(jobs, queue), daemon=True).start()
        for job in jobs:
            line = queue.get()
            if line is None:
                sys.exit(f"{self.checkout}: the process ended at: {job}")
            answer: Answer = json.loads(line)
            yield answer

    def _compute(self, jobs: Sequence[Job], queue: "SimpleQueue[str | None]") -> None:
        asked = "".join(json.dumps(asdict(self.of(job))) + "\n" for job in jobs)
        with tempfile.TemporaryFile("w+") as file:
            file.write(asked)
            file.seek(0)
            with subprocess.Popen(
                [self.python, "-P", str(_DRIVER), str(self.checkout)],
                stdin=file,
                stdout=subprocess.PIPE,
                text=True,
                cwd=self.checkout,
                env=os.environ | {"PYTHONPATH": str(self.checkout)},
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    queue.put(line)
        queue.put(None)


@dataclass(frozen=True)
class Asked:
    """What is to be compared."""

    scenarios: tuple[str, ...]
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    every_strategy: bool = True
    """Nobody has named strategies: processes run under some, since few details depend on it."""
    only_runs: bool = False
    """No recordings, races or tables."""
    more_may_be: bool = False
    """Keys that only this side has are no difference, nor nulls where the other had nothing."""


def jobs_of(asked: Asked) -> dict[str, list[Job]]:
    """All that both sides have to do, by the name of its kind."""
    jobs: dict[str, list[Job]] = {}
    for name in asked.scenarios:
        scenario = load(name)
        kind = scenario.workload.kind
        group = {"boot": "boots", "parallel-boot": "parallel boots"}.get(kind, "processes")
        seeds = asked.seeds[:1] if group == "processes" or name in _SLOW else asked.seeds
        jobs.setdefault(group, []).extend(
            Job("run", name, strategy, seed, _shorter(group, strategy, scenario.guest.strategy))
            for strategy in asked.strategies
            if group != "processes" or not asked.every_strategy or strategy in _FOR_PROCESSES
            for seed in seeds
        )
    if asked.only_runs:
        return jobs
    jobs["recordings"] = [
        Job("tape", name, strategy, asked.seeds[0])
        for name in asked.scenarios
        if name in _RECORDED
        for strategy in asked.strategies
    ]
    jobs["trials of races"] = [
        Job("trial", race, "", seed, (f"fix={fix}", "vcpus=2", f"rounds={_RACE_ROUNDS}"))
        for race in RACES
        for fix in ("on", "off")
        for seed in asked.seeds
    ]
    if "dom0-2011" in asked.scenarios and asked.every_strategy:
        jobs["pinlab compare"] = [Job("compare", "dom0-2011", seed=asked.seeds[0])]
    return {group: found for group, found in jobs.items() if found}


def _shorter(group: str, strategy: str, own: str) -> tuple[str, ...]:
    """Settings that save time where nothing new is computed.

    A workload of processes takes seconds, and depends on the strategy only by its boot.
    """
    return ("workload.iterations=2",) if group == "processes" and strategy != own else ()


class Tally:
    """How much of one kind was compared, and what of it differs."""

    def __init__(self) -> None:
        self.done = self.differ = 0
        self.unable = Counter[str]()
        """Jobs that both sides refuse, or fail at, in the same words."""
        self.parts = Counter[str]()
        self.differing = Counter[str]()

    def take(self, ours: Answer, theirs: Answer) -> list[str]:
        """Count one job's answers, and return the names of the parts that differ."""
        self.done += 1
        differing = [part for part in ours | theirs if ours.get(part) != theirs.get(part)]
        self.differ += bool(differing)
        self.differing.update(differing)
        if not differing and not {REFUSED, FAILED}.isdisjoint(ours):
            self.unable.update(ours.keys())
        else:
            self.parts.update((ours | theirs).keys())
        return differing


def compared(
    us: Side, them: Side, jobs: dict[str, list[Job]], *, more_may_be: bool = False
) -> dict[str, Tally]:
    """Hold the two sides against each other, and tell what differs as it is found."""
    tallies = {group: Tally() for group in jobs}
    in_turn = [(group, job) for group, found in jobs.items() for job in found]
    every = [job for _, job in in_turn]
    told, start = 0, time.monotonic()
    for number, ((group, job), ours, theirs) in enumerate(
        zip(in_turn, us.answers(every), them.answers(every), strict=True), 1
    ):
        if more_may_be and RECORD in ours and theirs.get(RECORD):
            told_before = json.loads(theirs[RECORD])
            kept = as_before(json.loads(ours[RECORD]), told_before)
            ours |= {RECORD: json.dumps(kept)}
            theirs |= {RECORD: json.dumps(told_before)}
        differing = tallies[group].take(ours, theirs)
        if differing:
            told += 1
            print(f"DIFFERENT: {group}: {job}: {', '.join(differing)}", flush=True)
            if told <= _TOLD:
                for line in _first_differences(us, them, job, ours, theirs):
                    print(f"    {line}", flush=True)
        if not number % 100:
            seconds = time.monotonic() - start
            print(f"{number:,} of {len(every):,}, {seconds:.0f} s", file=sys.stderr)
    return tallies


def as_before(ours: Any, theirs: Any) -> Any:  # noqa: ANN401 - JSON
    """What is told now, without added keys and with the zeros that are null now."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {key: as_before(ours[key], value) for key, value in theirs.items() if key in ours}
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [as_before(one, other) for one, other in zip(ours, theirs, strict=True)]
    return theirs if ours is None and _is_nothing(theirs) else ours


def _is_nothing(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Is it 0, or empty, or made of such?"""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_is_nothing(part) for part in parts) if parts else not value


def _first_differences(
    us: Side, them: Side, job: Job, ours: Answer, theirs: Answer
) -> Iterator[str]:
    """What differs first in each part, here and there."""
    for part in (ours | theirs).keys() - {RECORD, PAGES, *COLUMNS}:
        one, other = ours.get(part), theirs.get(part)
        if one != other:
            yield f"{part}: {one} and {other}"
    if ours.get(RECORD) != theirs.get(RECORD):
        yield f"record: {first_difference(ours.get(RECORD, '{}'), theirs.get(RECORD, '{}'))}"
    if PAGES in ours and any(ours[part] != theirs.get(part) for part in (PAGES, *COLUMNS)):
        yield from _memory_differences(us, them, job)


def first_difference(one: str, other: str) -> str:
    """Where two JSON documents differ first: the path of keys, and both values."""
    for path, left, right in _walk(json.loads(one), json.loads(other), ""):
        return f"{path or 'all of it'}: {left!r} and {right!r}"
    return "the same values, written in another way"


def _walk(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one | other:
            yield from _walk(
                one.get(key, _ABSENT), other.get(key, _ABSENT), f"{path}.{key}".lstrip(".")
            )
    elif isinstance(one, list) and isinstance(other, list):
        for number, (left, right) in enumerate(zip_longest(one, other, fillvalue=_ABSENT)):
            yield from _walk(left, right, f"{path}[{number}]")
    elif one != other or type(one) is not type(other):
        yield path, one, other


def _memory_differences(us: Side, them: Side, job: Job) -> Iterator[str]:
    """The first frame that differs in each column, and the first word of a page that does.

    Both runs are made again, since their memories are too large to be told each time.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = [f"{folder}/{name}.npz" for name in ("ours", "theirs")]
        for side, file in zip((us, them), kept, strict=True):
            list(side.answers([replace(job, keep=file)]))
        with np.load(kept[0]) as ours, np.load(kept[1]) as theirs:
            if not np.array_equal(ours["mfns"], theirs["mfns"]):
                yield "the machines have other frames"
                return
            for part in COLUMNS:
                differ = np.flatnonzero(ours[part] != theirs[part])
                if differ.size:
                    at = differ[0]
                    yield (
                        f"{part} of {differ.size:,} frames, the first mfn {ours['mfns'][at]:x}: "
                        f"{ours[part][at]:x} and {theirs[part][at]:x}"
                    )
            yield from _page_difference(ours, theirs)


def _page_difference(ours: Any, theirs: Any) -> Iterator[str]:  # noqa: ANN401 - an NpzFile
    pages = [
        dict(zip(kept["written"].tolist(), kept["pages"], strict=True)) for kept in (ours, theirs)
    ]
    zero = np.zeros(512, np.uint64)
    for mfn in sorted(pages[0].keys() | pages[1].keys()):
        one, other = (kept.get(mfn, zero) for kept in pages)
        differ = np.flatnonzero(one != other)
        if differ.size:
            at = differ[0]
            yield f"pages, first mfn {mfn:x}, word {at}: {one[at]:x} and {other[at]:x}"
            return


def _print_table(tallies: dict[str, Tally]) -> None:
    print(f"{'':18}{'jobs':>7}{'different':>11}{'refused':>9}{'failed':>8}   both alike, in each")
    for group, tally in tallies.items():
        parts = ", ".join(
            f"{part} {count - tally.differing[part]:,}" for part, count in tally.parts.items()
        )
        print(
            f"{group:18}{tally.done:7,}{tally.differ:11,}{tally.unable[REFUSED]:9,}"
            f"{tally.unable[FAILED]:8,}   {parts}"
        )


def _names(written: str | None, known: Iterable[str]) -> tuple[str, ...]:
    return tuple(known) if written is None else tuple(written.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.same_bytes",
        description="Do two checkouts compute the same bytes?",
    )
    parser.add_argument("checkout", nargs="?", type=Path, help="the directory of the other one")
    parser.add_argument(
        "--scenarios", help="names with commas between them; by default all shipped"
    )
    parser.add_argument("--strategies", help="names with commas between them; by default all")
    parser.add_argument("--seeds", default="0,1", help="numbers with commas between them")
    parser.add_argument("--large", action="store_true", help=f"also {', '.join(LARGE)}")
    parser.add_argument("--only-runs", action="store_true", help="no recordings, races and tables")
    parser.add_argument(
        "--more-may-be",
        action="store_true",
        help="added keys are no differences, nor nulls in place of zeros",
    )
    parser.add_argument(
        "--every-event",
        action="store_true",
        help="run the other side (this checkout itself, if no other is named) with --every-event",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print the table, and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.checkout is None and not options.every_event:
        parser.error("name another checkout, or give --every-event")
    us = Side(HERE)
    them = Side((options.checkout or HERE).resolve(), every_event=options.every_event)
    known = [found.name for found in shipped() if options.large or found.name not in LARGE]
    if options.every_event:
        known = [name for name in known if name in _BY_EVENTS + LARGE]
    asked = Asked(
        scenarios=_names(options.scenarios, known),
        strategies=_names(options.strategies, strategy_names()),
        seeds=tuple(int(seed) for seed in options.seeds.split(",")),
        every_strategy=options.strategies is None,
        only_runs=options.only_runs or options.every_event,
        more_may_be=options.more_may_be,
    )
    print(f"{us.checkout} and {them.checkout}{' by single events' * them.every_event}")
    tallies = compared(us, them, jobs_of(asked), more_may_be=asked.more_may_be)
    _print_table(tallies)
    left_out = [found.name for found in shipped() if found.name not in asked.scenarios]
    named = ", ".join(left_out) if len(left_out) <= _NAMED else f"{len(left_out)} scenarios"
    print(
        f"left out: {named or 'no scenario'}; other settings than the shipped ones; seeds but the "
        f"first of {', '.join(_SLOW)} and of processes; iterations but two of processes under "
        "other strategies than the scenario's own, of which there are some, unless named"
    )
    different = sum(tally.differ for tally in tallies.values())
    print("all the same" if not different else f"{different:,} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
