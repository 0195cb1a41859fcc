"""Objects of a model as shared state: who reads or changes one of their attributes leaves a trace.

A model keeps its state in ordinary objects, dictionaries, lists and sets. Before it is explored,
those that its vCPUs share are given recording classes of the same kind, and so is whatever is put
into them later on; what only one activity holds needs none. An attribute that nobody ever changes
is not noted: which these are is found out while exploring.

A class may say in ``COUNTED`` which of its attributes are only ever counted up, so that additions
to them commute, and in ``NOTED`` which of them others look at at all.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from sim.explore.world.containers import RecordedCounts, RecordedDict, RecordedList, RecordedSet
from sim.footprint import Recorder

_NAME = " name"
"""Where an object keeps the name of its words; no attribute can be called so."""


class SharedState:
    """Gives objects recording classes. One for all executions of a program."""

    def __init__(self, recorder: Recorder, modules: Iterable[str]) -> None:
        """``modules``: what the names of the modules begin with whose classes hold state."""
        self._recorder = recorder
        recorder.watches.append(self._watch)
        self._modules = tuple(modules)
        self._classes: dict[type, type] = {}
        self._recorded: set[type] = set()
        self.numbers: Counter[str] = Counter()
        """How many objects of each class there are. Part of the state that is put back."""

    def share(self, found: Any) -> Any:
        """The same object, which is shared from here on, or what stands for a container."""
        kind = type(found)
        if kind in self._recorded:
            return found
        container = _CONTAINERS.get(kind)
        if container is not None:
            name = self._new_name(kind)
            return container(found, self._recorder, self.share, name)
        if kind is tuple:
            for item in found:
                self.share(item)
            return found
        if self._holds_state(kind):
            self._share_object(found)
        return found

    def _holds_state(self, kind: type) -> bool:
        """Is it a class of the model's whose objects can change, and do not record themselves?"""
        return (
            kind.__module__.startswith(self._modules)
            and not issubclass(kind, Enum | tuple)
            and not hasattr(kind, "record")
            and not (is_dataclass(kind) and kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
        )

    def _share_object(self, found: Any) -> None:
        for slot in getattr(type(found), "__slots__", ()):
            self.share(getattr(found, slot, None))
        if not hasattr(found, "__dict__"):
            return
        attributes = vars(found)
        noted = getattr(type(found), "NOTED", attributes)
        attributes[_NAME] = self._new_name(type(found))
        found.__class__ = self._class_for(type(found))
        for name, value in list(attributes.items()):
            if name in noted:
                attributes[name] = self.share(value)

    def _new_name(self, kind: type) -> str:
        self.numbers[kind.__name__] += 1
        return f"{kind.__name__} {self.numbers[kind.__name__]}"

    def _class_for(self, kind: type) -> type:
        recording = self._classes.get(kind)
        if recording is None:
            recording = type(
                kind.__name__,
                (kind,),
                {"__slots__": (), "__module__": kind.__module__, "__setattr__": self._setter(kind)},
            )
            self._classes[kind] = recording
            self._recorded.add(recording)
            for owner, name in self._recorder.changing:
                self._watch(owner, name)
        return recording

    def _watch(self, owner: str, name: str) -> None:
        """Note who reads this attribute of objects of a class."""
        for kind, recording in self._classes.items():
            if kind.__qualname__ == owner:
                setattr(recording, name, _noted(self._recorder, name))

    def _setter(self, kind: type) -> Callable[[Any, str, Any], None]:
        recorder = self._recorder
        counted = frozenset(getattr(kind, "COUNTED", ()))
        noted = getattr(kind, "NOTED", None)

        def set_attribute(found: Any, name: str, value: Any) -> None:
            attributes = vars(found)
            if noted is not None and name not in noted:
                attributes[name] = value
                return
            recorder.note_also([(kind.__qualname__, name)])
            word = attributes[_NAME], name
            note = recorder.count if name in counted else recorder.touch
            note(word)
            attributes[name] = self.share(value)

        return set_attribute


def _noted(recorder: Recorder, name: str) -> property:
    """Reads an attribute and notes it."""

    def get(found: Any) -> Any:
        attributes = vars(found)
        try:
            value = attributes[name]
        except KeyError:
            raise AttributeError(name) from None
        recorder.read((attributes[_NAME], name), 0)
        return value

    return property(get)


_CONTAINERS: dict[type, Callable[[Any, Recorder, Callable[[Any], Any], str], Any]] = {
    dict: RecordedDict,
    Counter: RecordedCounts,
    list: RecordedList,
    set: RecordedSet,
}
