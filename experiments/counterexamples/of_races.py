"""What is shown and written of a race's failure, found by orders of steps or on the clock."""

from pathlib import Path
from typing import Protocol

from msgspec.structs import replace
from rich.console import Group, RenderableType
from rich.text import Text

from experiments.counterexamples import folder, repro
from experiments.counterexamples.counterexample import Counterexample, counterexample
from experiments.counterexamples.observed import from_lines
from experiments.counterexamples.rows import rows_of
from experiments.counterexamples.svg import picture
from experiments.counterexamples.terminal import diagram, steps_table
from experiments.counterexamples.trace import timed_trace
from experiments.record.record import Record
from experiments.subjects.race import RaceSubject
from experiments.subjects.race_orders import TimedRace
from sim.recording import Recording, read_lines
from sim.tape import parse_tape

_RUNS = 200
"""Executions that shrinking may take: two or three seconds."""
_LAST = 24
"""Steps of a run on the clock that are shown."""


class Shown(Protocol):
    """A failure that can be shown and written."""

    def told_in(self, record: Record) -> Record:
        """The record, which says this of it as well."""

    def diagram(self) -> RenderableType:
        """For a terminal."""

    def write(self, out: Path) -> list[Path]:
        """Into a folder: the files. Raises InputError if that fails."""


def of_race(subject: RaceSubject, record: Record) -> Shown:
    """The failure of a run record."""
    found = record.race
    assert found is not None
    if found.tape is not None:
        return _Order(counterexample(subject.orders(), parse_tape(found.tape), at_most=_RUNS))
    run = TimedRace(
        subject.race, subject.settings, seed=record.seed, replication=record.replication
    )
    return _Clock(run)


def _with(record: Record, **told: object) -> Record:
    assert record.race is not None
    return replace(record, race=replace(record.race, **told))


class _Order:
    """Found by orders of steps: shrunk."""

    def __init__(self, found: Counterexample) -> None:
        self._found = found

    def told_in(self, record: Record) -> Record:
        found = self._found
        shrunk = {
            **found.size._asdict(),
            "before": found.found_size._asdict(),
            "schedule": list(found.tape.schedule),
            "tape": str(found.tape),
        }
        return _with(record, shrunk=shrunk, cause=found.cause)

    def diagram(self) -> RenderableType:
        return diagram(self._found)

    def write(self, out: Path) -> list[Path]:
        return folder.write_counterexample(out, self._found)


class _Clock:
    """Found on the clock: recorded, as it is."""

    def __init__(self, run: TimedRace) -> None:
        self._run = run
        self._recording = Recording()
        self._finding = run.run(self._recording)
        self._steps = from_lines(read_lines(self._recording.lines()))
        self._rows = rows_of(self._steps[-_LAST:])
        number = len(self._steps)
        self._said = f"the last {min(_LAST, number)} of {number:,} steps on the clock"

    def told_in(self, record: Record) -> Record:
        return _with(record, steps=self._recording.steps)

    def diagram(self) -> RenderableType:
        return Group(Text(f"{self._said}:", style="bold"), steps_table(self._rows))

    def write(self, out: Path) -> list[Path]:
        assert self._finding is not None
        kept = repro.of_recording(self._run.document, self._recording, self._finding)
        title = self._run.title
        drawn = timed_trace(title, self._steps, self._finding)
        return folder.write_all(
            out, kept, picture(title, self._said, self._rows, self._finding), drawn
        )
