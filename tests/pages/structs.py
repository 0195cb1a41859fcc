"""The keys of msgspec structs: what each is called, takes, holds if absent, and means.

What a key means is the string literal that follows its field in the code.
"""

import ast
import inspect
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from experiments.scenario.quantities import (
    Bytes,
    Nanoseconds,
    PageCount,
    Share,
    format_duration,
    format_size,
)
from tests.pages.text import item, plain

ROOT = Path(__file__).parents[2]

_PLAIN = {
    Bytes: "size or address",
    Nanoseconds: "duration",
    PageCount: "page number",
    Share: "share from 0 to 1",
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
}
_TIB = 1 << 40


def _size(size: int) -> str:
    return format_size(size) if size < _TIB else f"{size:#x}"


_FORMATS = {Bytes: _size, Nanoseconds: format_duration, Share: "{:g}".format}

Struct = type[msgspec.Struct]


@dataclass(frozen=True)
class Key:
    """One key of a document."""

    name: str
    takes: str
    absent: str
    """What holds if it is not given; empty: see its meaning."""
    means: str
    structs: tuple[Struct, ...]
    """What its value is made of, where that has keys of its own."""
    written_by_users: bool = True

    def lines(self, level: int = 0, of: str = "") -> Iterator[str]:
        """The key as items of a list, with the keys of what it is made of below it.

        ``of`` is added to what it means.
        """
        absent = f"; {self.absent}" if self.absent else ""
        means = f": {self.means}" if self.means else ""
        yield item(f"`{self.name}` ({self.takes}{absent}){means}{of}", level)
        for struct in self.structs:
            for key in keys(struct, written_by_users=self.written_by_users):
                yield from key.lines(level + 1)


def keys(struct: Struct, *, written_by_users: bool = True) -> list[Key]:
    """All keys of a struct, in the order of its fields.

    What users write says which keys have to be there; of what PinLab writes all are.
    """
    documented = meanings(struct)
    return [
        Key(
            field.encode_name,
            _taken(field.type) if written_by_users else _held(field.type),
            _absent(field) if written_by_users else "",
            documented.get(field.name, ""),
            tuple(_structs(field.type)),
            written_by_users,
        )
        for field in msgspec.structs.fields(struct)
    ]


def keys_by_kind(union: object) -> Iterator[tuple[Key, tuple[str, ...]]]:
    """The keys of a union of structs that a tag tells apart, each once with the tags it has.

    Keys of the same name are one key if they are alike in all that is said of them.
    """
    kinds: dict[Key, list[str]] = {}
    for struct in get_args(union):
        for key in keys(struct):
            kinds.setdefault(key, []).append(str(struct.__struct_config__.tag))
    yield from ((key, tuple(tags)) for key, tags in kinds.items())


def is_tagged_union(annotation: object) -> bool:
    """Is this a union of structs, each with a tag?"""
    members = get_args(annotation) if _is_union(annotation) else ()
    return bool(members) and all(
        _is_struct(member) and member.__struct_config__.tag is not None for member in members
    )


def meanings(struct: Struct) -> dict[str, str]:
    """The literal after each field of a struct and of those that it is derived from."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if _is_struct(base) and base is not msgspec.Struct:
            found |= _literals(base)
    return found


def _literals(struct: Struct) -> dict[str, str]:
    module = ast.parse(inspect.getsource(sys.modules[struct.__module__]))
    body = next(
        node.body
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and node.name == struct.__name__
    )
    return {
        field.target.id: plain(inspect.cleandoc(text.value.value))
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _taken(annotation: Any) -> str:
    """What a key takes, in words."""
    if get_origin(annotation) is Annotated:
        return _bounded(*get_args(annotation))
    if _is_union(annotation):
        return " or ".join(_taken(a) for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(annotation))
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if _is_struct(annotation) or get_origin(annotation) is dict or annotation is dict:
        return "table"
    if annotation is Any:
        return "anything"
    if get_origin(annotation) is list:
        return f"list of {_plural(_taken(get_args(annotation)[0]))}"
    if get_origin(annotation) is tuple:
        element = get_args(annotation)[0]
        if get_args(annotation) == (Bytes, Bytes):
            return "range"
        return f"list of {_plural(_taken(element))}"
    raise TypeError(f"tests/pages/structs.py has no words for {annotation}")


def _held(annotation: Any) -> str:
    """The same for what PinLab writes, where None is null."""
    null = _is_union(annotation) and type(None) in get_args(annotation)
    return f"{_taken(annotation)} or null" if null else _taken(annotation)


def _plural(words: str) -> str:
    noun, *bounds = words.split(" from ", 1)
    return words if noun.startswith("`") else " from ".join([f"{noun}s", *bounds])


def _bounded(annotation: Any, bound: Any) -> str:
    if not isinstance(bound, msgspec.Meta) or bound.ge is None:
        return _taken(annotation)
    upper = "on" if bound.le is None else f"to {bound.le}"
    return f"{_taken(annotation)} from {bound.ge} {upper}"


def _absent(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is None or isinstance(value, dict):
        return ""
    if value == ():
        return "none if absent"
    if isinstance(value, msgspec.Struct | tuple):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}` if absent"
    written = _FORMATS[type(value)](value) if type(value) in _FORMATS else str(value)
    return f"`{written}` if absent" if written else "empty if absent"


def _structs(annotation: Any) -> Iterator[Struct]:
    if _is_struct(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _structs(part)


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)
