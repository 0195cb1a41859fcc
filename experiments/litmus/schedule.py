"""An order of a litmus test in words: who goes on from where to where, and what steps touch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from experiments.litmus.recorded import LitmusTest
from experiments.litmus.stage import Stage
from experiments.litmus.wording import operation_text
from sim.explore.cpu import Seen
from sim.footprint import Kind
from sim.tape import Chosen, Picked, Tape, TapeReader, as_word


class Taken(NamedTuple):
    """A step of an order."""

    vcpu: int
    operation: int
    """Of its side, by its number."""
    place: int
    """Among the steps of its operation."""
    of: int
    """How many steps the operation has."""
    does: str
    stale: bool
    """It goes through a translation that the tables hold no more."""
    left: bool
    """Somebody else goes on after it, though this vCPU could."""


class Run(NamedTuple):
    """Steps of one operation that nobody comes between."""

    steps: Sequence[Taken]

    @property
    def vcpu(self) -> int:
        """Whose."""
        return self.steps[0].vcpu

    @property
    def operation(self) -> int:
        """Its number."""
        return self.steps[0].operation

    @property
    def whole(self) -> bool:
        """Is it all of the operation?"""
        return len(self.steps) == self.steps[0].of


def steps_of(test: LitmusTest, tape: Tape) -> list[Taken]:
    """The steps of the order that a tape holds."""
    stage = Stage(test)
    seen: list[tuple[int, Seen]] = []
    before = list(stage.at)

    def saw(step: Seen) -> None:
        seen.append((before[step.vcpu], step))
        before[:] = stage.at

    stage.program.run(TapeReader(tape), seen=saw)
    picked = [entry for entry in tape.entries if isinstance(entry, Picked)]
    stale = _stale_steps(tape)
    name = _names(test, stage)
    lengths = Counter((step.vcpu, operation) for operation, step in seen)
    made: Counter[tuple[int, int]] = Counter()
    steps = []
    for number, (operation, step) in enumerate(seen):
        key = step.vcpu, operation
        made[key] += 1
        after = picked[number + 1] if number + 1 < len(picked) else None
        left = after is not None and after.vcpu != step.vcpu and step.vcpu in after.ready
        does = _does(step, name)
        steps.append(Taken(*key, made[key], lengths[key], does, stale=number in stale, left=left))
    return steps


def runs_of(steps: Sequence[Taken]) -> list[Run]:
    """The steps by operation, as far as nobody comes between."""
    return [
        Run(list(group)) for _, group in groupby(steps, lambda step: (step.vcpu, step.operation))
    ]


def in_words(test: LitmusTest, steps: Sequence[Taken]) -> list[str]:
    """A line for each run."""
    return [_line(test, run) for run in runs_of(steps)]


def _line(test: LitmusTest, run: Run) -> str:
    first, last = run.steps[0], run.steps[-1]
    what = f"vCPU {run.vcpu}: {operation_text(test, test.sides[run.vcpu][run.operation])}"
    stale = ", through a stale translation" if any(step.stale for step in run.steps) else ""
    if run.whole:
        return what + stale
    which = (
        f"step {first.place}"
        if first.place == last.place
        else f"steps {first.place} to {last.place}"
    )
    return f"{what}, {which} of {first.of}: {last.does} last{stale}"


def _stale_steps(tape: Tape) -> set[int]:
    """The steps that went through a stale translation."""
    steps: set[int] = set()
    number = -1
    for entry in tape.entries:
        if isinstance(entry, Picked):
            number += 1
        elif (
            isinstance(entry, Chosen)
            and entry.name == as_word("stale translation")
            and entry.taken == 0
        ):
            steps.add(number)
    return steps


# -- what steps touch -----------------------------------------------------------------------------


def _names(test: LitmusTest, stage: Stage) -> Mapping[int, str]:
    """The frames' names by index in the frame table."""
    index = stage.xen.frames.index
    names = {index(int(mfn, 16)): mfn for mfn in test.record.initial.pages}
    return names | {index(int(mfn, 16)): name for name, mfn in test.record.pages.items()}


def _does(step: Seen, names: Mapping[int, str]) -> str:
    """The one thing about a step that others notice most."""
    if step.lock is not None:
        verb = "taking" if step.kind == "acquire" else "giving back"
        return f"{verb} the {str(step.lock).replace('_', ' ')}"
    return min(_touches(step, names), default=(9, "a step that nobody else sees"))[1]


def _touches(step: Seen, names: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """What a step touches, each with how little it matters beside the rest."""
    for access in step.accesses:
        if not isinstance(access.word, tuple) or access.kind is Kind.STORE:
            continue
        kind, key = access.word
        reads = access.kind is Kind.READ
        if kind == "type_info":
            verb = "reading" if reads else "changing"
            yield (3 if reads else 1), f"{verb} the type word of {names.get(key, key)}"
        elif access.kind is Kind.SCAN:
            yield 6, f"looking through the entries of {kind}"
        elif str(kind).startswith("mfn "):
            verb = "reading" if reads else "writing"
            yield (5 if reads else 0), f"{verb} entry {key} of {kind}"
        elif kind == "count_info" and not reads:
            up = access.after > access.before
            verb = "taking" if up else "dropping"
            yield 2, f"{verb} a reference to {names.get(key, key)}"
        elif kind == "flush clock" and not reads:
            yield 0, "flushing"
        elif str(kind).startswith("translations") and not reads:
            yield 4, "loading a translation"
        elif kind == "linear count" and key != "all":
            verb = "reading" if reads else "changing"
            yield (
                (3 if reads else 1),
                f"{verb} the count of linear entries of {names.get(key, key)}",
            )
