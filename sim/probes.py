"""What can be watched while a simulation runs.

A model reports by yielding :class:`sim.effects.Note`; the interpreter stamps the note with
the CPU and its time and hands it to the probes. A model that finds no probe interested does
not yield the note, so watching costs nothing when nobody watches.
"""

from typing import Protocol


class Probe(Protocol):
    """An observer of notes. It must not change the state of any model."""

    def note(self, vcpu: int, time_ns: int, what: object) -> None:
        """``what`` happened on this CPU at this time."""
