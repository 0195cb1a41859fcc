"""A run record as a row of a table: single values by dotted name, and the columns that all have."""

import types
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

_LEFT_OUT = frozenset({"schema", "provenance", "xen_counters", "replications", "race"})
"""Of no single run, or hundreds of columns of which most are empty; the record has them."""


@cache
def columns(struct: type[msgspec.Struct]) -> Mapping[str, type]:
    """The columns of every record of this form, by dotted name, with the type of their values.

    That is ``str``, ``int``, ``float``, ``bool``, or ``list`` for a list of texts.
    """
    return dict(_columns(struct, ""))


def row(record: msgspec.Struct) -> dict[str, Any]:
    """The single values of a record by dotted name; what is null is left out.

    Beside those of :func:`columns` there are the numbers and texts of its mappings.
    """
    return dict(_flat(msgspec.to_builtins(record), columns(type(record)), ""))


def _columns(struct: type[msgspec.Struct], path: str) -> Iterator[tuple[str, type]]:
    for field in msgspec.structs.fields(struct):
        if path or field.name not in _LEFT_OUT:
            yield from _column(f"{path}{field.name}", field.type)


def _column(key: str, kind: Any) -> Iterator[tuple[str, type]]:  # noqa: ANN401 - any annotation
    if get_origin(kind) in (types.UnionType, Union):
        members = {_plain(member) for member in get_args(kind)} - {type(None)}
        kind = members.pop() if len(members) == 1 else None
    kind = _plain(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _columns(kind, f"{key}.")
    elif kind in (str, int, float, bool):
        yield key, kind
    elif get_origin(kind) is list and get_args(kind) == (str,):
        yield key, list


def _plain(kind: Any) -> Any:  # noqa: ANN401 - any annotation
    """The type of a literal's values, or the annotation itself."""
    return type(get_args(kind)[0]) if get_origin(kind) is Literal else kind


def _flat(
    values: Mapping[str, Any], known: Mapping[str, type], path: str
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{path}{name}"
        if value is None or (not path and name in _LEFT_OUT):
            continue
        if isinstance(value, dict):
            yield from _flat(value, known, f"{key}.")
        elif not isinstance(value, list) or key in known:
            yield key, value
