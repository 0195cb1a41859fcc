"""A tape: every answer that decided a run, in order, so that the run can be made again.

Written, an entry is a word: ``1/0,1`` is vCPU 1 going on where 0 and 1 could, ``stale=1/2`` the
second of two answers to a question named so, ``pause~0x1.8p+3`` the random number 12 from the
stream of that name; ``*12`` behind a word repeats it. A tape is read again only together with
what it was recorded from, and says where the two no longer fit.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, TypeAlias

VERSION = 1
_PICKED = re.compile(r"(\d+)/(\d+(?:,\d+)*)")
_CHOSEN = re.compile(r"(.+)=(\d+)/(\d+)")
_DRAWN = re.compile(r"(.+)~(\S+)")


class Picked(NamedTuple):
    """A vCPU went on, one of those that could."""

    vcpu: int
    ready: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.vcpu}/{','.join(map(str, self.ready))}"


class Chosen(NamedTuple):
    """An open question was answered by this alternative of so many."""

    name: str
    """As a word: see :func:`as_word`."""
    taken: int
    alternatives: int

    def __str__(self) -> str:
        return f"{self.name}={self.taken}/{self.alternatives}"


class Drawn(NamedTuple):
    """A random number came from the named stream."""

    stream: str
    """As a word: see :func:`as_word`."""
    value: float

    def __str__(self) -> str:
        return f"{self.stream}~{self.value.hex()}"


Entry: TypeAlias = Picked | Chosen | Drawn


def as_word(name: str) -> str:
    """The name of a question as it stands on a tape."""
    return "_".join(name.split())


class TapeError(ValueError):
    """Text that is no tape."""


class Diverged(Exception):
    """A run asks something else than the tape has an answer to."""

    def __init__(self, position: int, recorded: Entry | None, asked: str) -> None:
        super().__init__(position, recorded, asked)  # SimPy makes a copy from these
        self.position = position
        self.recorded = recorded
        self.asked = asked

    def __str__(self) -> str:
        was = "its end" if self.recorded is None else f"{self.recorded}"
        return f"entry {self.position} of the tape is {was}, but the run {self.asked}"


@dataclass(frozen=True)
class Tape:
    """The answers of one run."""

    entries: tuple[Entry, ...]

    @property
    def schedule(self) -> tuple[int, ...]:
        """The vCPU that made each step."""
        return tuple(entry.vcpu for entry in self.entries if isinstance(entry, Picked))

    def first(self, steps: int) -> "Tape":
        """The beginning, up to so many steps and the answers that the last of them got."""
        entries: list[Entry] = []
        for entry in self.entries:
            steps -= isinstance(entry, Picked)
            if steps < 0:
                break
            entries.append(entry)
        return Tape(tuple(entries))

    def __str__(self) -> str:
        runs = ((word, len(list(same))) for word, same in groupby(map(str, self.entries)))
        return " ".join(word if n == 1 else f"{word}*{n}" for word, n in runs)


def parse_tape(text: str) -> Tape:
    """The tape that such words stand for.

    Raises:
        TapeError: one of them is no entry; which, and what one looks like.
    """
    return Tape(tuple(_entries(text.split())))


def _entries(words: Iterable[str]) -> Iterator[Entry]:
    for number, word in enumerate(words):
        bare, star, times = word.rpartition("*")
        if not star:
            bare, times = word, "1"
        if not times.isdecimal() or not int(times):
            raise TapeError(f"word {number} ({word!r}) is repeated {times!r} times")
        entry = _entry(bare)
        if entry is None:
            raise TapeError(
                f"word {number} ({word!r}) is like none of 1/0,1, name=0/2 and name~0x1p+0"
            )
        yield from (entry for _ in range(int(times)))


def _entry(word: str) -> Entry | None:
    if match := _PICKED.fullmatch(word):
        ready = tuple(int(number) for number in match[2].split(","))
        vcpu = int(match[1])
        return Picked(vcpu, ready) if vcpu in ready else None
    if match := _CHOSEN.fullmatch(word):
        taken, alternatives = int(match[2]), int(match[3])
        return Chosen(match[1], taken, alternatives) if taken < alternatives else None
    if match := _DRAWN.fullmatch(word):
        try:
            return Drawn(match[1], float.fromhex(match[2]))
        except (ValueError, OverflowError):
            return None
    return None


class TapeReader:
    """Gives the answers of a tape again, one after the other, to a run that asks the same."""

    def __init__(self, tape: Tape) -> None:
        self._entries = tape.entries
        self.position = 0

    def pick(self, ready: Sequence[int]) -> int:
        """Who went on.

        Raises:
            Diverged: others were ready, or something else was asked, or nothing more.
        """
        entry = self._next()
        if not isinstance(entry, Picked) or entry.ready != tuple(ready):
            raise Diverged(self.position, entry, f"asks which of the vCPUs {list(ready)} goes on")
        self.position += 1
        return entry.vcpu

    def choose(self, name: str, alternatives: int) -> int:
        """Which alternative was taken.

        Raises:
            Diverged: something else was asked, or nothing more.
        """
        entry = self._next()
        if not isinstance(entry, Chosen) or entry[::2] != (as_word(name), alternatives):
            raise Diverged(self.position, entry, f"asks {name!r} with {alternatives} alternatives")
        self.position += 1
        return entry.taken

    def draw(self, stream: str) -> float:
        """Which random number came.

        Raises:
            Diverged: something else was asked, or nothing more.
        """
        entry = self._next()
        if not isinstance(entry, Drawn) or entry.stream != as_word(stream):
            raise Diverged(self.position, entry, f"draws from the stream {stream!r}")
        self.position += 1
        return entry.value

    @property
    def at_end(self) -> bool:
        """Have all answers been given?"""
        return self.position == len(self._entries)

    def end(self) -> None:
        """The run is over, and so must the tape be.

        Raises:
            Diverged: it is not.
        """
        if self.position < len(self._entries):
            raise Diverged(self.position, self._entries[self.position], "has ended")

    def _next(self) -> Entry | None:
        return self._entries[self.position] if self.position < len(self._entries) else None
