"""All that an object holds, as plain data: two objects are alike if theirs is equal."""

from collections.abc import Mapping
from enum import Enum
from functools import partial
from types import (
    BuiltinFunctionType,
    FunctionType,
    GeneratorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any

import numpy as np

from models.machine.frames import FrameTable
from models.xen.state import Xen

_PLAIN = (int, float, str, bytes, bool, type(None), range, Enum, type)
_CALLED = (
    *(FunctionType, MethodType, BuiltinFunctionType, MethodWrapperType),
    *(GeneratorType, ModuleType, partial, memoryview),
)
_LEFT_OUT: dict[type, set[str]] = {Xen: {"page_locks", "_type_changes"}}
"""What is only made when somebody first asks for it."""


def everything(root: object) -> dict[str, Any]:
    """Path -> value of all that can be reached from an object by its attributes and items."""
    found: dict[str, Any] = {}
    seen: dict[int, str] = {}
    left: list[tuple[str, Any]] = [("", root)]
    while left:
        path, value = left.pop()
        if isinstance(value, _PLAIN):
            found[path] = value
            continue
        if isinstance(value, _CALLED):
            found[path] = type(value)
            continue
        if id(value) in seen:
            found[path] = seen[id(value)]
            continue
        seen[id(value)] = path
        left.extend((f"{path}{name}", part) for name, part in _parts(path, value, found))
    return found


def _parts(path: str, value: object, found: dict[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(value, FrameTable):
        found[path] = frames_of(value)
        return []
    if isinstance(value, np.ndarray):
        found[path] = (value.shape, value.dtype, value.tobytes())
        return []
    if isinstance(value, set | frozenset):
        found[path] = sorted(value, key=repr)
        return []
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        if all(isinstance(item, int | str) for item in value.values()):
            found[path] = dict(value)
        else:
            found[path] = sorted(value, key=repr)
            parts = [(f"[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, list | tuple | bytearray):
        if all(isinstance(item, int | str) for item in value):
            found[path] = list(value)
        else:
            found[path] = len(value)
            parts = [(f"[{number}]", item) for number, item in enumerate(value)]
    left_out = _LEFT_OUT.get(type(value), set())
    names = [*getattr(value, "__dict__", ()), *_slots(type(value))]
    parts += [(f".{name}", getattr(value, name)) for name in names if name not in left_out]
    if not parts and path not in found:
        found[path] = type(value)
    return parts


def _slots(kind: type) -> list[str]:
    return [
        name
        for base in kind.__mro__
        for name in getattr(base, "__slots__", ())
        if not name.startswith("__")
    ]


def frames_of(frames: FrameTable) -> dict[str, Any]:
    """The words of all frames, and the pages that have been written."""
    frames.all_indices()
    columns = {
        name: getattr(frames, name).tobytes()
        for name in ("type_array", "count_array", "stamp_array", "owner_array")
    }
    pages = {mfn: page.tobytes() for mfn, page in frames.arrays.items() if page.any()}
    return {**columns, "pages": pages}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The paths at which they differ."""
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
