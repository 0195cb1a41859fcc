"""The state of a model as it was: taken once, and put back before every execution."""

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

_ATOMS = (int, float, str, bytes, complex, type(None), type, Enum, ModuleType, np.generic)


class Snapshot:
    """What all objects hold that can be reached from some roots.

    The objects stay the same ones; those made later are forgotten when it is put back.
    """

    def __init__(self, *roots: object, leave: Iterable[object] = ()) -> None:
        """Walk through the objects, but not through those that are to be left as they will be.

        Raises:
            TypeError: a generator is among them, whose state nobody can put back.
        """
        self._put_back: list[Callable[[], None]] = []
        self._seen: dict[int, object] = {id(left): left for left in leave}
        waiting: list[object] = list(roots)
        while waiting:
            found = waiting.pop()
            if isinstance(found, _ATOMS) or id(found) in self._seen:
                continue
            self._seen[id(found)] = found
            waiting.extend(self._held_by(found))

    def restore(self) -> None:
        """Put everything back."""
        for put_back in self._put_back:
            put_back()

    def _held_by(self, found: Any) -> Iterable[object]:
        """What an object holds, which is kept if it can change."""
        match found:
            case GeneratorType():
                raise TypeError(f"the state holds a generator ({found.__qualname__})")
            case tuple() | frozenset():
                yield from found
            case FunctionType():
                yield from (cell.cell_contents for cell in found.__closure__ or ())
            case MethodType() | BuiltinMethodType() | BuiltinFunctionType():
                yield found.__self__
            case partial():
                yield from (found.func, found.args, found.keywords)
            case memoryview():
                yield found.obj
            case np.ndarray():
                self._put_back.append(partial(_put_array, found, found.copy()))
            case bytearray():
                self._put_back.append(partial(_put_bytes, found, bytes(found)))
            case dict():
                kept = dict(found)
                self._put_back.append(partial(_put_dict, found, kept))
                yield from kept.keys()
                yield from kept.values()
            case list():
                items = list(found)
                self._put_back.append(partial(_put_list, found, items))
                yield from items
            case set():
                members = set(found)
                self._put_back.append(partial(_put_set, found, members))
                yield from members
            case deque():
                items = list(found)
                self._put_back.append(partial(_put_deque, found, items))
                yield from items
        yield from self._attributes_of(found)

    def _attributes_of(self, found: Any) -> Iterable[object]:
        try:
            attributes: dict[str, Any] = object.__getattribute__(found, "__dict__")
        except AttributeError:
            pass
        else:
            kept = dict(attributes)
            self._put_back.append(partial(_put_attributes, found, type(found), attributes, kept))
            yield from kept.values()
        slots = [
            slot
            for kind in type(found).__mro__
            for slot in _names(kind.__dict__.get("__slots__", ()))
            if hasattr(found, slot)
        ]
        if slots and not isinstance(found, tuple):
            values = {slot: getattr(found, slot) for slot in slots}
            try:
                _put_slots(found, values)
            except TypeError:
                pass  # nobody can change it
            else:
                self._put_back.append(partial(_put_slots, found, values))
            yield from values.values()


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return [slots] if isinstance(slots, str) else slots


def _put_array(array: Any, kept: Any) -> None:
    array[...] = kept


def _put_bytes(array: bytearray, kept: bytes) -> None:
    array[:] = kept


def _put_dict(held: dict[Any, Any], kept: dict[Any, Any]) -> None:
    dict.clear(held)
    dict.update(held, kept)


def _put_attributes(
    found: Any, kind: type, attributes: dict[str, Any], kept: dict[str, Any]
) -> None:
    if type(found) is not kind:
        # It was shared meanwhile: see SharedState.
        object.__setattr__(found, "__class__", kind)
    _put_dict(attributes, kept)


def _put_list(held: list[Any], kept: list[Any]) -> None:
    list.__setitem__(held, slice(None), kept)


def _put_set(held: set[Any], kept: set[Any]) -> None:
    set.clear(held)
    set.update(held, kept)


def _put_deque(held: deque[Any], kept: list[Any]) -> None:
    held.clear()
    held.extend(kept)


def _put_slots(held: object, kept: dict[str, Any]) -> None:
    for slot, value in kept.items():
        object.__setattr__(held, slot, value)
