"""Where a search stands, as plain data that can be written to a file and read again."""

from collections.abc import Hashable, Iterable
from typing import Any

from sim.explore.cpu import Seen
from sim.explore.searches.dpor import Node, Position
from sim.explore.searches.subtrees import Subtrees
from sim.footprint import Access, Kind, Question

VERSION = 2


class CheckpointError(ValueError):
    """Data that is no position of a search."""


def write_position(position: Position) -> dict[str, Any]:
    """The position as lists, dictionaries, numbers and text."""
    return {
        "version": VERSION,
        "nodes": [
            {
                "ready": node.ready,
                "vcpu": node.vcpu,
                "asleep": [[vcpu, _write_steps(node.asleep[vcpu])] for vcpu in sorted(node.asleep)],
                "todo": sorted(node.todo),
                "answers": node.answers,
                "seen": _write_steps(node.seen),
            }
            for node in position.nodes
        ],
        "first_answers": position.first_answers,
        "interrupts": position.interrupts,
        "noticed": sorted(position.noticed, key=repr),
        "changing": sorted(position.changing),
        "classes": position.classes,
        "blocked": position.blocked,
        "begun_again": position.begun_again,
        "over": position.over,
        "root": position.root,
        "asked": position.asked,
    }


def read_position(data: dict[str, Any]) -> Position:
    """The position that such data stands for; it may have been through JSON.

    Raises:
        CheckpointError: it is of another version, or no such data.
    """
    if data.get("version") != VERSION:
        raise CheckpointError(f"version {data.get('version')!r} instead of {VERSION}")
    try:
        return Position(
            nodes=[
                Node(
                    ready=tuple(node["ready"]),
                    vcpu=node["vcpu"],
                    asleep={vcpu: _read_steps(steps) for vcpu, steps in node["asleep"]},
                    todo=set(node["todo"]),
                    answers=[_pair(answer) for answer in node["answers"]],
                    seen=_read_steps(node["seen"]),
                )
                for node in data["nodes"]
            ],
            first_answers=[_pair(answer) for answer in data["first_answers"]],
            interrupts=data["interrupts"],
            noticed={_word(word) for word in data["noticed"]},
            changing={(owner, name) for owner, name in data["changing"]},
            classes=data["classes"],
            blocked=data["blocked"],
            begun_again=data["begun_again"],
            over=data["over"],
            root=data["root"],
            asked=[(depth, list(vcpus)) for depth, vcpus in data["asked"]],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"no position of a search: {error!r}") from error


def write_subtrees(parts: Subtrees, taken: Iterable[Position] = ()) -> dict[str, Any]:
    """The parts of a search as plain data; ``taken``: those that somebody is at begin again."""
    return {
        "version": VERSION,
        "waiting": [write_position(position) for position in (*taken, *parts.waiting)],
        "states": [[write_position(position), busy] for position, busy in parts.states()],
        "classes": parts.classes,
        "blocked": parts.blocked,
        "begun_again": parts.begun_again,
    }


def read_subtrees(data: dict[str, Any]) -> Subtrees:
    """The parts that such data stands for.

    Raises:
        CheckpointError: it is of another version, or no such data.
    """
    if data.get("version") != VERSION:
        raise CheckpointError(f"version {data.get('version')!r} instead of {VERSION}")
    try:
        parts = Subtrees(
            [read_position(position) for position in data["waiting"]],
            classes=data["classes"],
            blocked=data["blocked"],
            begun_again=data["begun_again"],
        )
        parts.add_states((read_position(position), busy) for position, busy in data["states"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"no parts of a search: {error!r}") from error
    return parts


def _write_steps(steps: list[Seen]) -> list[list[Any]]:
    return [
        [
            step.vcpu,
            step.kind,
            step.lock,
            [_write_access(access) for access in step.accesses],
            step.sent_to,
        ]
        for step in steps
    ]


def _read_steps(data: list[list[Any]]) -> list[Seen]:
    return [
        Seen(
            vcpu,
            kind,
            _word(lock),
            tuple(_read_access(access) for access in accesses),
            tuple(sent_to),
        )
        for vcpu, kind, lock, accesses, sent_to in data
    ]


def _write_access(access: Access) -> list[Any]:
    fields = access.fields
    return [
        access.kind.value,
        access.word,
        access.before,
        access.after,
        access.tests,
        access.refused,
        None if fields is None else [_write_access(field) for field in fields],
    ]


def _read_access(data: list[Any]) -> Access:
    kind, word, before, after, tests, refused, fields = data
    return Access(
        Kind(kind),
        _word(word),
        before,
        after,
        tuple(Question(*test) for test in tests),
        tuple(refused),
        None if fields is None else tuple(_read_access(field) for field in fields),
    )


def _word(data: Any) -> Hashable:
    """A word's name: JSON knows no tuples."""
    return tuple(_word(part) for part in data) if isinstance(data, list | tuple) else data


def _pair(data: list[int]) -> tuple[int, int]:
    taken, alternatives = data
    return taken, alternatives
