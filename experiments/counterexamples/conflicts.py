"""Which accesses of two vCPUs meet in an execution, and which of them decide how it ends."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

from experiments.counterexamples.observed import Step
from sim.footprint import Access, Kind

MOST = 6
"""So many conflicts are told of; those nearest to the end."""


class Conflict(NamedTuple):
    """A word that one vCPU changed, and another one met as it was left."""

    earlier: Step
    change: Access
    later: Step
    met: Access


def conflicts(steps: Sequence[Step], matters: Callable[[Hashable], bool]) -> list[Conflict]:
    """For each word its last conflict between two vCPUs, in the order of the later steps.

    Only of words that matter; the last few.
    """
    last: dict[Hashable, tuple[Step, Access]] = {}
    found: dict[Hashable, Conflict] = {}
    for step in steps:
        if step.lock is not None:
            continue  # a lock is a bit of a type word: taking and giving it back leaves no trace
        for access in _single_words(step.accesses, last):
            word = access.word
            if not matters(word):
                continue
            changed = last.get(word)
            if changed is not None and changed[0].vcpu != step.vcpu:
                found[word] = Conflict(*changed, step, access)
            if access.kind is not Kind.READ and access.before != access.after:
                last[word] = step, access
    in_order = sorted(found.values(), key=lambda conflict: conflict.later.number)
    return in_order[-MOST:]


def _single_words(
    accesses: Sequence[Access], last: Mapping[Hashable, tuple[Step, Access]]
) -> Iterator[Access]:
    """The accesses; who looks through a row of words meets each of them that somebody changed."""
    for access in accesses:
        if access.kind is not Kind.SCAN:
            yield access
        elif isinstance(access.word, tuple):
            row = access.word[0]
            for place in range(access.before, access.after + 1):
                changed = last.get((row, place))
                if changed is not None:
                    yield Access(Kind.READ, (row, place), changed[1].after, changed[1].after)


def decisive(found: Sequence[Conflict]) -> list[Conflict]:
    """Those of the last operation that met anything: of the latest step, and of its call."""
    if not found:
        return []
    end = found[-1].later
    return [
        conflict
        for conflict in found
        if conflict.later.vcpu == end.vcpu
        and conflict.later.guest == end.guest
        and conflict.later.inside[:1] == end.inside[:1]
    ]
