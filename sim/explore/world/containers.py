"""Dictionaries, lists and sets that note who reads or changes them."""

# ruff: noqa: D102 - the methods are those of the built-in types

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

from sim.footprint import Recorder

_KEYS = "keys"
"""The word for what a container holds as a whole."""
C = TypeVar("C", bound=type)
Share = Callable[[Any], Any]
"""What is put into shared state is shared from then on: this makes it so."""


def _noting(*, reads: Iterable[str], changes: Iterable[str]) -> Callable[[C], C]:
    """A container's methods that look at all of it, and those that may change any of it."""

    def decorate(container: C) -> C:
        for name in reads:
            setattr(container, name, _reading(getattr(container, name)))
        for name in changes:
            setattr(container, name, _changing(getattr(container, name)))
        return container

    return decorate


def _reading(method: Callable[..., Any]) -> Callable[..., Any]:
    def noted(held: Any, *arguments: Any) -> Any:
        held._reads(_KEYS)  # noqa: SLF001 - it is one of its methods
        return method(held, *arguments)

    return noted


def _changing(method: Callable[..., Any]) -> Callable[..., Any]:
    def noted(held: Any, *arguments: Any, **more: Any) -> Any:
        held._writes(_KEYS)  # noqa: SLF001 - it is one of its methods
        share = held._share  # noqa: SLF001
        return method(held, *(share(argument) for argument in arguments), **more)

    return noted


class Container:
    """What the recording containers have in common."""

    _recorder: Recorder
    _share: Share
    _name: str

    def _watch(self, recorder: Recorder, share: Share, name: str) -> None:
        self._recorder = recorder
        self._share = share
        self._name = name

    def _reads(self, key: Hashable) -> None:
        self._recorder.read((self._name, key), 0)

    def _writes(self, key: Hashable) -> None:
        self._recorder.touch((self._name, key))

    def _counts(self, key: Hashable) -> None:
        self._recorder.count((self._name, key))


class RecordedDict(Container, dict):  # type: ignore[type-arg]
    """A dictionary: a word for each key, and one for which keys there are.

    Keys that come and go are additions to the latter: whoever does not list them cannot tell in
    which order they came.
    """

    def __init__(self, held: dict[Any, Any], recorder: Recorder, share: Share, name: str) -> None:
        self._watch(recorder, share, name)
        dict.__init__(self)
        for key, value in held.items():
            dict.__setitem__(self, share(key), share(value))

    def __getitem__(self, key: Any) -> Any:
        self._reads(key)
        return dict.__getitem__(self, key)

    def get(self, key: Any, default: Any = None) -> Any:
        self._reads(key)
        return dict.get(self, key, default)

    def __contains__(self, key: Any) -> bool:
        self._reads(key)
        return dict.__contains__(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not dict.__contains__(self, key):
            self._counts(_KEYS)
        self._writes(key)
        dict.__setitem__(self, key, self._share(value))

    def __delitem__(self, key: Any) -> None:
        self._counts(_KEYS)
        self._writes(key)
        dict.__delitem__(self, key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        if key in self:
            value = dict.__getitem__(self, key)
            del self[key]
            return value
        return dict.pop(self, key, *default)

    def update(self, *others: Any, **more: Any) -> None:
        for key, value in dict(*others, **more).items():
            self[key] = value

    def clear(self) -> None:
        for key in list(self):
            del self[key]

    def __iter__(self) -> Iterator[Any]:
        self._reads(_KEYS)
        return dict.__iter__(self)

    def __len__(self) -> int:
        self._reads(_KEYS)
        return dict.__len__(self)

    def keys(self) -> Any:
        return list(self)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class RecordedCounts(RecordedDict, Counter):  # type: ignore[type-arg]
    """A counter: additions to it commute."""

    def __missing__(self, key: Any) -> int:
        return 0

    def __setitem__(self, key: Any, value: Any) -> None:
        if not dict.__contains__(self, key):
            self._counts(_KEYS)
        self._counts(key)
        dict.__setitem__(self, key, value)


@_noting(
    reads=(
        *("__getitem__", "__iter__", "__len__", "__contains__", "__eq__", "__add__"),
        *("__reversed__", "copy", "count", "index"),
    ),
    changes=(
        *("__setitem__", "__delitem__", "__iadd__", "append", "clear", "insert", "pop", "remove"),
        *("reverse", "sort"),
    ),
)
class RecordedList(Container, list):  # type: ignore[type-arg]
    """A list: one word for all of it."""

    def __init__(self, held: list[Any], recorder: Recorder, share: Share, name: str) -> None:
        self._watch(recorder, share, name)
        list.__init__(self, [share(item) for item in held])

    def extend(self, items: Iterable[Any]) -> None:
        for item in items:
            self.append(item)


@_noting(
    reads=(
        *("__and__", "__or__", "__sub__", "__xor__", "__rand__", "__ror__", "__rsub__", "__eq__"),
        *("__le__", "__lt__", "__ge__", "__gt__", "copy", "difference", "intersection"),
        *("isdisjoint", "issubset", "issuperset", "union"),
    ),
    changes=(
        *("__iand__", "__ior__", "__isub__", "__ixor__", "difference_update"),
        "intersection_update",
    ),
)
class RecordedSet(Container, set):  # type: ignore[type-arg]
    """A set: a word for each member, and one for which members there are."""

    def __init__(self, held: set[Any], recorder: Recorder, share: Share, name: str) -> None:
        self._watch(recorder, share, name)
        set.__init__(self, {share(member) for member in held})

    def __contains__(self, member: Any) -> bool:
        self._reads(member)
        return set.__contains__(self, member)

    def add(self, member: Any) -> None:
        self._reads(member)
        if not set.__contains__(self, member):
            self._counts(_KEYS)
            self._writes(member)
            set.add(self, self._share(member))

    def discard(self, member: Any) -> None:
        self._reads(member)
        if set.__contains__(self, member):
            self._counts(_KEYS)
            self._writes(member)
            set.discard(self, member)

    def remove(self, member: Any) -> None:
        if member not in self:
            raise KeyError(member)
        self.discard(member)

    def pop(self) -> Any:
        self._writes(_KEYS)
        return set.pop(self)

    def clear(self) -> None:
        self._writes(_KEYS)
        set.clear(self)

    def update(self, *others: Iterable[Any]) -> None:
        for other in others:
            for member in other:
                self.add(member)

    def __iter__(self) -> Iterator[Any]:
        self._reads(_KEYS)
        return set.__iter__(self)

    def __len__(self) -> int:
        self._reads(_KEYS)
        return set.__len__(self)
