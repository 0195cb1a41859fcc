"""A thing that can be run: what every kind of them has, and what one without a face says of it.

A *face* is a way to run it: on the clock, which gives a record; as a program whose orders can be
tried; as trials for the odds of a race.
"""

from typing import TYPE_CHECKING, Any

from experiments.errors import InputError
from experiments.record.outcome import Outcome
from experiments.record.record import Record
from experiments.record.trial import Trial
from experiments.subjects.on_clock import Asked

if TYPE_CHECKING:
    from experiments.subjects.orders import Explored
    from sim.explore.program import Finding


class Subject:
    """Something that can be run, in as many ways as it overrides."""

    modules: tuple[str, ...] = ()
    """The modules of ``experiments`` on which what it comes to depends, with all they import."""

    @property
    def kind(self) -> str:
        """As in ``workload.kind``."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Its name, as records have it."""
        raise NotImplementedError

    @property
    def document(self) -> dict[str, Any]:
        """What decides it, as plain data: what it takes to make it again."""
        raise NotImplementedError

    @property
    def told(self) -> dict[str, str]:
        """What the lines of a log say of it."""
        return {"subject": self.name}

    @property
    def expected(self) -> Outcome | None:
        """How it is expected to come out; None: nobody has said."""
        return None

    def replayed(self, asked: Asked, record: Record) -> dict[str, Any]:  # noqa: ARG002 - as below
        """What a file says of a run on the clock, so that it can be made again."""
        raise InputError(f"{self.name}: {self.kind} cannot be run on the clock")

    def finding(self, record: Record) -> "Finding | None":
        """What a run that is made again has to come to."""
        from sim.explore.program import Finding

        failure = record.failure
        return None if failure is None else Finding(failure.kind, failure.explanation)

    def on_clock(self, asked: Asked) -> Record:  # noqa: ARG002 - of those that have it
        """Run it on the clock.

        Raises:
            InputError: it cannot be built or priced, or something is not modelled.
            InvariantViolation: the machine is inconsistent, and that was to be checked.
        """
        raise InputError(f"{self.name}: {self.kind} cannot be run on the clock")

    def orders(self) -> "Explored":
        """It as a program whose orders can be tried.

        Raises:
            InputError: it is none, or cannot be built.
        """
        raise InputError(
            f"{self.name}: only races and boots of several vCPUs can be explored: "
            f'workload.kind = "parallel-boot", not "{self.kind}"'
        )

    def check_trials(self) -> None:
        """Raise InputError unless it has trials."""
        raise InputError(
            f"{self.name}: odds are of races (see: pinlab list races), and this is of kind "
            f"{self.kind}"
        )

    def trial(self, seed: int, replication: int) -> Trial:  # noqa: ARG002 - of those that have it
        """One run of its workload, for its odds.

        Raises:
            InputError: it has none.
        """
        self.check_trials()
        raise NotImplementedError
