"""Are footprints complete? Equivalent orders must come to the same.

Each execution is made once more, in another order of the same class: its steps are put in any
order that keeps what happened before what. State that a step has reached past the recording
accessors shows as a step that touches something else, or as another end.
"""

import random
from collections.abc import Hashable, Sequence

from sim.explore.cpu import INTERRUPT, Seen
from sim.explore.dependence import Dependence, Event, History, parts
from sim.explore.execution import Execution
from sim.explore.program import Program
from sim.tape import Chosen, Picked, Tape


class NotRecorded(Exception):
    """Steps depend on each other by something that no footprint shows."""


class _InOrder:
    """Makes the steps of an execution in another order, with the same answers."""

    def __init__(self, steps: Sequence[Seen], answers: Sequence[Sequence[int]]) -> None:
        self._steps = iter(steps)
        self._answers = iter(answers)
        self._left = iter(next(self._answers))
        self._step: Seen | None = None

    def pick(self, ready: Sequence[int]) -> int:
        step = self._step = next(self._steps, None)
        self._left = iter(next(self._answers, ()))
        if step is None or step.vcpu not in ready:
            who = "nobody" if step is None else f"vCPU {step.vcpu}"
            raise NotRecorded(f"{who} was to go on, and {list(ready)} can")
        return step.vcpu

    def choose(self, name: str, alternatives: int) -> int:
        if name == INTERRUPT and self._step is not None:
            return int(self._step.kind == INTERRUPT)
        taken = next(self._left, None)
        if taken is None or taken >= alternatives:
            raise NotRecorded(f"{name!r} was not asked before, or not with {alternatives} answers")
        return taken


def recheck(
    program: Program, execution: Execution, tape: Tape, dependence: Dependence, seed: int
) -> None:
    """Make the execution in an equivalent order; ``dependence`` is that of the search.

    Raises:
        NotRecorded: it comes to something else.
    """
    history = History(len(execution.results), dependence)
    for seen in execution.steps:
        history.add(history.event(seen))
    order = _another_order(history.events, random.Random(seed))
    answers = _answers(tape)
    scheduler = _InOrder(
        [execution.steps[number] for number in order],
        [answers[0], *(answers[1 + number] for number in order)],
    )
    again = program.run(scheduler, goes_on=True)
    if isinstance(again.failure, NotRecorded):
        raise again.failure
    for place, number in enumerate(order):
        before, after = execution.steps[number], again.steps[place]
        changed = _outline(before) ^ _outline(after)
        if changed:
            raise NotRecorded(
                f"step {number}, of vCPU {before.vcpu}, depends on another by something that is "
                "not recorded: in another order it differs by "
                + ", ".join(sorted(str(part) for part in changed))
            )
    if (execution.deadlock, execution.failure is None) != (again.deadlock, again.failure is None):
        raise NotRecorded("an equivalent order fails, or ends, otherwise")


def _another_order(events: Sequence[Event], rng: random.Random) -> list[int]:
    """The numbers of the steps in an order that keeps what happened before what."""
    left = {event.number: event for event in events}
    made = [0] * (len(events[0].clock) if events else 0)
    order = []
    while left:
        ready = [
            event
            for event in left.values()
            if event.clock[event.seen.vcpu] == made[event.seen.vcpu] + 1
            and all(
                steps <= made[vcpu]
                for vcpu, steps in enumerate(event.clock)
                if vcpu != event.seen.vcpu
            )
        ]
        chosen = rng.choice(ready)
        made[chosen.seen.vcpu] += 1
        order.append(chosen.number)
        del left[chosen.number]
    return order


def _answers(tape: Tape) -> list[list[int]]:
    """The answers before the first step, and those of each step."""
    answers: list[list[int]] = [[]]
    for entry in tape.entries:
        if isinstance(entry, Picked):
            answers.append([])
        elif isinstance(entry, Chosen) and entry.name != INTERRUPT:
            answers[-1].append(entry.taken)
    return answers


def _outline(step: Seen) -> frozenset[object]:
    """What a step must come to in any equivalent order: additions may find other values.

    Objects that came to be shared on the way are numbered in the order in which that happened.
    """
    words = {(access.kind.value, _unnumbered(access.word)) for access in parts(step)}
    return frozenset({step.kind, ("lock", step.lock), ("sent to", step.sent_to), *words})


def _unnumbered(word: Hashable) -> Hashable:
    if isinstance(word, tuple) and isinstance(word[0], str):
        return word[0].rstrip("0123456789"), *word[1:]
    return word
