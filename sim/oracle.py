"""The one place where a run's nondeterminism is decided.

Scheduling choices and random draws go through one interface, so that a run can be driven by
seeded chance, by a script or by a search, and the models cannot tell which.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from sim.distributions import Distribution, Uniform
from sim.streams import Streams, ValueStream

if TYPE_CHECKING:
    import numpy as np


class Oracle(Protocol):
    """What an interpreter asks when a model leaves something open."""

    def choose(self, name: str, options: tuple[Any, ...]) -> Any:
        """One of the options."""

    def draw(self, stream: str, distribution: Distribution) -> float:
        """A random number from the named stream."""

    def preempt(self) -> bool:
        """Is the hypervisor to be preempted at this check?"""

    @property
    def may_preempt(self) -> bool:
        """Could the answer to any later check be yes?"""


class SeededOracle:
    """Chance, from the run's named streams."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._values: dict[tuple[str, Distribution], ValueStream] = {}
        self._generators: dict[str, np.random.Generator] = {}

    def choose(self, name: str, options: tuple[Any, ...]) -> Any:
        """Each option with the same probability."""
        return options[int(self.draw(f"choose {name}", Uniform(0.0, 1.0)) * len(options))]

    def draw(self, stream: str, distribution: Distribution) -> float:
        """The next number of the stream."""
        values = self._values.get((stream, distribution))
        if values is None:
            # One generator a stream: with one for each of its distributions, a rate that
            # changes would bring the same random numbers again.
            generator = self._generators.get(stream)
            if generator is None:
                generator = self._generators[stream] = self._streams.generator("draw", stream)
            values = self._values[stream, distribution] = ValueStream(distribution, generator)
        return values.next()

    def preempt(self) -> bool:
        """Never: a CPU that nobody else wants is not taken away."""
        return False

    @property
    def may_preempt(self) -> bool:
        """No."""
        return False


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
