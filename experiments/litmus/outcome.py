"""Outcomes: what both sides of a test have ended with, and whether a recorded one is the same."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from experiments.litmus.recorded import LitmusTest, Observed
from models.xen.console import Line

_KINDS = {
    "bad_type": "bad_type",
    "no_writable_type": "no_writable_type",
    "getting_mfn": "getting_mfn",
    **{f"failure_in_promote_l{level}": "failure_in_promote" for level in (1, 2, 3, 4)},
    "while_validating": "while_validating",
    "while_pinning": "while_pinning",
    "installing_user_baseptr": "while_pinning",
    "already_pinned": "already_pinned",
    "not_pinned": "not_pinned",
    **{f"linear_l{level}": "linear_with_write_perms" for level in (2, 3, 4)},
    "installing_baseptr": "installing_baseptr",
    "clearing": "clearing",
    "copying_from": "copying",
    "copying_to": "copying",
    "ptwr_refused": "ptwr_refused",
    "wrong_owner": "wrong_owner",
    "no_page_ref": "no_page_ref",
}
"""Kinds of console lines, as the records call them, by the model's name of the message."""

Answers = tuple[int | str | tuple[int, ...], ...]


class Outcome(NamedTuple):
    """A joint final observation, of the frames and entries that the test's record looks at."""

    answers: tuple[Answers, Answers]
    """Of each side, operation by operation."""
    done: tuple[tuple[int | None, ...], tuple[int | None, ...]]
    """Requests completed, of those that are batches."""
    final: tuple[tuple[str, str, int], ...]
    """(mfn, type word, general references)."""
    entries: tuple[tuple[str, str, str], ...]
    """(mfn, slot, entry)."""
    faults: tuple[int, int]
    messages: tuple[tuple[str, ...], tuple[str, ...]]
    """The kinds of lines that each side has caused, sorted."""
    end: str = ""
    """Why it is not the end that a hypervisor comes to; empty where it is."""


class Watched(NamedTuple):
    """What the record of a test looks at."""

    frames: tuple[str, ...]
    entries: tuple[tuple[str, str], ...]
    """(mfn, slot)."""


def watched(test: LitmusTest) -> Watched:
    """The frames and entries of all recorded outcomes; without any, the named frames."""
    outcomes = test.record.outcomes
    frames = {mfn: None for observed in outcomes for mfn in observed.final}
    entries = {
        (mfn, slot): None
        for observed in outcomes
        for mfn, slots in observed.entries.items()
        for slot in slots
    }
    if not outcomes:
        frames = dict.fromkeys(test.record.pages.values())
    return Watched(tuple(frames), tuple(entries))


def kinds_of(lines: Iterable[Line], vcpu: int) -> tuple[str, ...]:
    """The kinds of the console lines of one vCPU."""
    return tuple(sorted({_KINDS.get(line.name, "other") for line in lines if line.vcpu == vcpu}))


def agrees(outcome: Outcome, observed: Observed, *, strictly: bool) -> bool:
    """Is this the recorded outcome; ``strictly``: with its kinds of messages?"""
    return (
        not outcome.end
        and outcome.answers == (_answers(observed.rc0), _answers(observed.rc1))
        and _same_done(outcome.done[0], observed.done0)
        and _same_done(outcome.done[1], observed.done1)
        and _same_final(outcome, observed)
        and outcome.faults == observed.faults
        and (not strictly or _same_messages(outcome, observed))
    )


def _answers(codes: Sequence[Any]) -> Answers:
    return tuple(tuple(code) if isinstance(code, list) else code for code in codes)


def _same_done(got: Sequence[int | None], expected: Sequence[int | None] | None) -> bool:
    """What is null was no batch, and is not compared."""
    return expected is None or all(
        want is None or want == have for have, want in zip(got, expected, strict=True)
    )


def _same_final(outcome: Outcome, observed: Observed) -> bool:
    words = {mfn: (int(type_info, 16), count) for mfn, type_info, count in outcome.final}
    held = {(mfn, slot): int(entry, 16) for mfn, slot, entry in outcome.entries}
    return all(
        words[mfn] == (int(want.type_info, 16), want.count) for mfn, want in observed.final.items()
    ) and all(
        held[mfn, slot] == int(entry, 16)
        for mfn, slots in observed.entries.items()
        for slot, entry in slots.items()
    )


def _same_messages(outcome: Outcome, observed: Observed) -> bool:
    return outcome.messages == (
        tuple(sorted(set(observed.messages0))),
        tuple(sorted(set(observed.messages1))),
    )


def as_document(outcome: Outcome) -> dict[str, Any]:
    """An outcome in the form of the records."""
    entries: dict[str, dict[str, str]] = {}
    for mfn, slot, entry in outcome.entries:
        entries.setdefault(mfn, {})[slot] = entry
    document: dict[str, Any] = {"rc0": outcome.answers[0], "rc1": outcome.answers[1]}
    if any(done is not None for side in outcome.done for done in side):
        document |= {"done0": outcome.done[0], "done1": outcome.done[1]}
    document |= {
        "final": {
            mfn: {"type_info": type_info, "count": count} for mfn, type_info, count in outcome.final
        },
        "entries": entries,
        "faults": outcome.faults,
        "messages0": outcome.messages[0],
        "messages1": outcome.messages[1],
    }
    return document | ({"end": outcome.end} if outcome.end else {})
