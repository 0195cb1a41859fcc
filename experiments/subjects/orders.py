"""The programs that a repro file can speak of, by kind.

A kind is a function of what the file says of its program: it makes the program again, to be
explored or to be run on the clock. A new kind is a line in one of these tables.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from experiments.errors import InputError, offer
from sim.explore.program import Finding, Program
from sim.footprint import Access
from sim.recording import Follower

EXPLORED = {
    "race": "experiments.subjects.race_orders:race_program",
    "parallel-boot": "experiments.subjects.parallel_orders:explored_boot",
}
TIMED = {
    "race": "experiments.subjects.race_orders:timed_race",
    "scenario": "experiments.subjects.timed_scenario:timed_scenario",
}
"""Kind of program -> module:function. Imported where it is used."""


class Explored(Protocol):
    """A program whose orders can be tried, and what there is to be said about it."""

    @property
    def program(self) -> Program:
        """It records what its steps touch."""

    @property
    def document(self) -> dict[str, Any]:
        """What a file says of it: a ``kind``, and what that needs to make it again."""

    @property
    def title(self) -> str:
        """What is explored, for people."""

    def told(self, access: Access) -> str:
        """What a step of the last execution did to a word."""

    def operation(self, routines: Sequence[str]) -> str:
        """What the hypervisor does, by its routines, the outermost first."""

    def matters(self, word: Hashable) -> bool:
        """Would people want to hear of this word?"""

    def window_open(self) -> bool | None:
        """Is the window that the program is about open now? None: it has none."""


class TimedProgram(Protocol):
    """A program that is run on the clock."""

    @property
    def document(self) -> dict[str, Any]:
        """What a file says of it, seed and replication included."""

    @property
    def title(self) -> str:
        """What is run, for people."""

    def run(self, follower: Follower) -> Finding | None:
        """Run it with a follower; what went wrong, None if nothing did."""


def explored(document: Mapping[str, Any]) -> Explored:
    """The program that a file speaks of.

    Raises:
        InputError: its kind is unknown, or it cannot be made from what the file says.
    """
    made: Explored = _maker(document, EXPLORED)(document)
    return made


def timed(document: Mapping[str, Any]) -> TimedProgram:
    """The same, to be run on the clock.

    Raises:
        InputError: its kind is unknown, or it cannot be made from what the file says.
    """
    made: TimedProgram = _maker(document, TIMED)(document)
    return made


def module_of(document: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """The module that makes programs of this kind: what they come to depends on it.

    Raises:
        InputError: the kind is unknown.
    """
    kind = str(document.get("kind"))
    if kind not in kinds:
        raise InputError(f"program.kind = {kind!r} is unknown; {offer(kind, list(kinds))}")
    return kinds[kind].partition(":")[0]


def _maker(document: Mapping[str, Any], kinds: Mapping[str, str]) -> Callable[..., Any]:
    module = module_of(document, kinds)
    function = kinds[str(document["kind"])].partition(":")[2]
    maker: Callable[..., Any] = getattr(import_module(module), function)
    return maker
