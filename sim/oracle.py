"""The one place where a run's nondeterminism is decided.

Scheduling choices and random draws go through one interface, so that a run can be driven by
seeded chance, by a script or by a search, and the models cannot tell which.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sim.bits import Bits
from sim.distributions import Distribution
from sim.streams import Streams, ValueStream
from sim.tape import Chosen, Drawn, Entry, Tape, TapeReader, as_word


class Oracle(Protocol):
    """What an interpreter asks when a model leaves something open."""

    def choose(self, name: str, options: tuple[Any, ...]) -> Any:
        """One of the options."""

    def draw(self, stream: str, distribution: Distribution) -> float:
        """A random number from the named stream."""

    def preempt(self) -> bool:
        """Is the hypervisor to be preempted at this check?"""

    def preempt_after(self, n: int) -> int:
        """At most ``n`` checks in a row: how many are answered no before one is yes."""

    @property
    def may_preempt(self) -> bool:
        """Could the answer to any later check be yes?"""


class SeededOracle:
    """Chance, from the run's named streams."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._values: dict[tuple[str, Distribution], ValueStream] = {}
        self._bits: dict[str, Bits] = {}

    def choose(self, name: str, options: tuple[Any, ...]) -> Any:
        """Each option with the same probability."""
        return options[self._bits_of(f"choose {name}").below(len(options))]

    def draw(self, stream: str, distribution: Distribution) -> float:
        """The next number of the stream."""
        values = self._values.get((stream, distribution))
        if values is None:
            values = ValueStream(distribution, self._bits_of(stream))
            self._values[stream, distribution] = values
        return values.next()

    def preempt(self) -> bool:
        """Never: a CPU that nobody else wants is not taken away."""
        return False

    def preempt_after(self, n: int) -> int:
        """All are answered no."""
        return n

    @property
    def may_preempt(self) -> bool:
        """No."""
        return False

    def _bits_of(self, stream: str) -> Bits:
        # The same bits for all distributions of a stream: with a beginning for each, a rate that
        # changes would bring the same random numbers again.
        bits = self._bits.get(stream)
        if bits is None:
            bits = self._bits[stream] = self._streams.bits("draw", stream)
        return bits


def one_after_another(preempt: Callable[[], bool], n: int) -> int:
    """Ask ``preempt`` at most ``n`` times: how many answers are no before one is yes."""
    for noes in range(n):
        if preempt():
            return noes
    return n


class ScriptedOracle:
    """Answers written down beforehand: for tests and recorded programs.

    ``preemptions`` are the answers of successive preemption checks, False when used up. Of
    options the first is taken, of a distribution the mean.
    """

    def __init__(self, preemptions: Iterable[bool] = ()) -> None:
        answers = tuple(preemptions)
        self._preemptions = iter(answers)
        self.may_preempt = any(answers)

    def choose(self, name: str, options: tuple[Any, ...]) -> Any:  # noqa: ARG002
        """The first option."""
        return options[0]

    def draw(self, stream: str, distribution: Distribution) -> float:  # noqa: ARG002
        """The mean."""
        return distribution.mean

    def preempt(self) -> bool:
        """The next answer of the script."""
        return next(self._preemptions, False)

    def preempt_after(self, n: int) -> int:
        """The next answers of the script."""
        return one_after_another(self.preempt, n) if self.may_preempt else n


_PREEMPT = "preempt"
"""The name of the hypervisor's question on a tape, as exploring has it."""


class RecordingOracle:
    """Another oracle, whose answers are kept on a tape."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._entries: list[Entry] = []
        # Nearly all of a boot's answers are this one.
        self._goes_on = Chosen(_PREEMPT, 0, 2)

    def choose(self, name: str, options: tuple[Any, ...]) -> Any:
        """As the other says."""
        chosen = self._oracle.choose(name, options)
        taken = next(number for number, option in enumerate(options) if option is chosen)
        self._entries.append(Chosen(as_word(name), taken, len(options)))
        return chosen

    def draw(self, stream: str, distribution: Distribution) -> float:
        """As the other says."""
        value = self._oracle.draw(stream, distribution)
        self._entries.append(Drawn(as_word(stream), value))
        return value

    def preempt(self) -> bool:
        """As the other says."""
        answer = self._oracle.preempt()
        self._entries.append(Chosen(_PREEMPT, 1, 2) if answer else self._goes_on)
        return answer

    def preempt_after(self, n: int) -> int:
        """As the other says; an entry for each check."""
        noes = self._oracle.preempt_after(n)
        self._entries.extend([self._goes_on] * noes)
        if noes < n:
            self._entries.append(Chosen(_PREEMPT, 1, 2))
        return noes

    @property
    def may_preempt(self) -> bool:
        """As the other says."""
        return self._oracle.may_preempt

    @property
    def tape(self) -> Tape:
        """All answers so far."""
        return Tape(tuple(self._entries))


class ReplayingOracle:
    """The answers of a tape, to a run that asks the same.

    Whatever it is asked, it raises Diverged where the tape has an answer to something else.
    """

    def __init__(self, tape: Tape) -> None:
        self._reader = TapeReader(tape)
        self.may_preempt = Chosen(_PREEMPT, 1, 2) in tape.entries

    def choose(self, name: str, options: tuple[Any, ...]) -> Any:
        """What was chosen."""
        return options[self._reader.choose(name, len(options))]

    def draw(self, stream: str, distribution: Distribution) -> float:  # noqa: ARG002
        """What was drawn."""
        return self._reader.draw(stream)

    def preempt(self) -> bool:
        """What was answered."""
        return bool(self._reader.choose(_PREEMPT, 2))

    def preempt_after(self, n: int) -> int:
        """What was answered to each."""
        return one_after_another(self.preempt, n)

    def end(self) -> None:
        """The run is over, and so must the tape be.

        Raises:
            Diverged: it is not.
        """
        self._reader.end()
