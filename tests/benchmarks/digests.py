"""What a checkout computes, in digests: the child process of :mod:`tests.benchmarks.same_bytes`.

It is one file that is run by its path with another checkout's packages in front of all others:
``PYTHONPATH=CHECKOUT python -P digests.py CHECKOUT``. So it uses only what all checkouts have, and
gets at the world of a run by looking over the shoulder of those who make one. Jobs come in on
stdin and answers go out on stdout, one JSON document a line, in the same order.
"""

import hashlib
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from runpy import run_path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

# A checkout from before the rooms has other names for some of the modules below.
run_path(str(Path(__file__).with_name("older.py")))

import experiments
from experiments.errors import InputError
from experiments.scenario.scenario import load
from experiments.subjects import kinds as runner
from experiments.subjects.race_settings import race_named, settings_of
from experiments.subjects.trial import trial
from models.linux.boot.guest import Guest
from models.linux.start_state.p2m import P2m
from models.machine.frames import FrameTable
from sim.recording import Recording

REFUSED, FAILED = "refused", "failed"
"""The only part of an answer to a job that could not be done: bad input, or an exception."""
RECORD = "record"
"""The part that is told in full; of the others there are digests."""
PAGES = "pages"
COLUMNS = {
    "type": "type_array",
    "count": "count_array",
    "owner": "owner_array",
    "stamp": "stamp_array",
}
"""The frame table's columns by the name of their part."""

Answer = dict[str, str]
"""Each part of what a job came to."""


@dataclass(frozen=True)
class Job:
    """One thing to be computed by each side."""

    kind: str
    """``run``, ``tape``, ``trial`` or ``compare``."""
    subject: str
    """A scenario or a race."""
    strategy: str = ""
    seed: int = 0
    settings: tuple[str, ...] = ()
    every_event: bool = False
    keep: str = ""
    """A file for the memory itself, so that the first frame that differs can be told."""

    def __str__(self) -> str:
        """As a person would ask for it."""
        words = [self.kind, self.subject, *([self.strategy] * bool(self.strategy)), *self.settings]
        return f"{' '.join(words)}, seed {self.seed}"


class Memory(NamedTuple):
    """All that a machine holds at the end of a run, in the order of frame numbers."""

    mfns: NDArray[np.int64]
    """Every frame that there is."""
    columns: dict[str, NDArray[Any]]
    """A word of each frame, by the names of :data:`COLUMNS`."""
    written: NDArray[np.int64]
    """Frames with contents. One that is all zero counts as never written: it reads the same."""
    pages: list[NDArray[np.uint64]]
    """The 512 words of each of them."""


def memory_of(frames: FrameTable) -> Memory:
    """The memory behind a frame table."""
    index = frames.all_indices()
    ranges = [np.arange(first, first + pages) for first, pages in frames.extents]
    columns = {name: getattr(frames, array)[index] for name, array in COLUMNS.items()}
    contents = sorted((mfn, page) for mfn, page in frames.arrays.items() if page.any())
    written = np.array([mfn for mfn, _ in contents], np.int64)
    return Memory(np.concatenate(ranges), columns, written, [page for _, page in contents])


def answer(job: Job) -> Answer:
    """What this checkout makes of a job."""
    work = {"run": _run, "tape": _tape, "trial": _trial, "compare": _compare}[job.kind]
    try:
        return work(job)
    except InputError as error:
        return {REFUSED: str(error)}
    except Exception as error:  # noqa: BLE001 - both sides ought to fail alike
        return {FAILED: f"{type(error).__name__}: {error}"}


def _run(job: Job) -> Answer:
    with _Worlds() as worlds:
        record = runner.run(
            load(job.subject, job.settings),
            job.strategy,
            seed=job.seed,
            every_event=job.every_event,
        )
        return {RECORD: _printed(record), **_end(worlds.guest, job.keep)}


def _tape(job: Job) -> Answer:
    recording = Recording()
    scenario = load(job.subject, job.settings)
    record = runner.run(scenario, job.strategy, seed=job.seed, follower=recording)
    lines = zlib.decompress(recording.lines())
    return {
        RECORD: _printed(record),
        "tape": _digest(str(recording.tape).encode()),
        "steps": _digest(lines),
    }


def _trial(job: Job) -> Answer:
    race = race_named(job.subject)
    return {"trial": repr(trial(race, settings_of(race, job.settings), job.seed, 0))}


def _compare(job: Job) -> Answer:
    command = ["compare", job.subject, "--json", "--quiet", "--seed", str(job.seed)]
    call = f"import sys; from experiments.cli import main; sys.exit(main({command!r}))"
    made = subprocess.run(
        [sys.executable, "-P", "-c", call], capture_output=True, text=True, check=False
    )
    return {RECORD: made.stdout, "exit status": f"{made.returncode} {made.stderr}".strip()}


class _Worlds:
    """While it is entered, remembers the guest that was made last: that of the present run."""

    def __init__(self) -> None:
        self._last: Guest | None = None

    @property
    def guest(self) -> Guest:
        """The one whose run this is."""
        assert self._last is not None, "no guest was made"
        return self._last

    def __enter__(self) -> Self:
        self._plain = plain = Guest.__init__

        def remembering(guest: Guest, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
            plain(guest, *arguments, **named)
            self._last = guest

        Guest.__init__ = remembering  # type: ignore[assignment, method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Guest.__init__ = self._plain  # type: ignore[method-assign]


def _end(guest: Guest, keep: str) -> Answer:
    """The machine and the console as a run has left them."""
    xen = guest.xen
    memory = memory_of(xen.frames)
    if keep:
        columns: dict[str, Any] = dict(memory.columns)
        pages = np.array(memory.pages) if memory.pages else np.zeros((0, 512), np.uint64)
        np.savez(keep, mfns=memory.mfns, written=memory.written, pages=pages, **columns)
    return {
        PAGES: _digest(memory.written.tobytes(), *(page.tobytes() for page in memory.pages)),
        **{name: _digest(column.tobytes()) for name, column in memory.columns.items()},
        "p2m": _digest(repr(list(_p2m_runs(guest.p2m, guest.e820.max_pfn))).encode()),
        "console": _digest("\n".join(map(repr, xen.console.lines)).encode()),
        "counters": _digest(
            repr(sorted(item for item in xen.counters.items() if item[1])).encode()
        ),
    }


def _p2m_runs(p2m: P2m, end: int) -> Iterator[tuple[int, int | None, bool]]:
    """(first page, its frame, 1:1) of each run of pages below ``end``."""
    pfn = 0
    while pfn < end:
        mfn, identity, pages = p2m.run_at(pfn)
        yield pfn, mfn, identity
        pfn += pages


def _printed(record: object) -> str:
    """As ``--json`` prints it."""
    return msgspec.json.format(msgspec.json.encode(record)).decode()


def _digest(*pieces: bytes) -> str:
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


def main(checkout: str) -> None:
    """Answer jobs until there are no more."""
    found = Path(experiments.__file__).resolve()
    if not found.is_relative_to(Path(checkout).resolve()):
        sys.exit(f"{found} is not of {checkout}")
    tell = partial(print, flush=True)
    for line in sys.stdin:
        tell(json.dumps(answer(msgspec.json.decode(line, type=Job))))


if __name__ == "__main__":
    main(sys.argv[1])
