"""State is put back as it was, wherever it is kept."""

from collections import Counter, deque
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sim.effects import STEP, Activity
from sim.explore.world.snapshot import Snapshot


class Slots:
    """An object without a dictionary."""

    __slots__ = ("left", "right")

    def __init__(self) -> None:
        self.left: Any = [1]
        self.right = 2


def test_everything_reached_is_put_back() -> None:
    """Attributes, containers, arrays, closures and bound arguments; the objects stay the same."""
    array = np.arange(4, dtype=np.uint64)
    captured: list[int] = []
    root = SimpleNamespace(
        number=1,
        words=array.data,
        table={"a": [1, 2]},
        members={1, 2},
        counts=Counter(a=1),
        queue=deque([1, 2]),
        raw=bytearray(b"xy"),
        slots=Slots(),
        append=lambda: captured.append(1),
        bound=partial(dict.get, {"k": {3}}),
        pair=({"in a tuple"}, 5),
    )
    before = repr(vars(root))
    held = root.table["a"]
    snapshot = Snapshot(root)

    root.number = 2
    root.new = 1
    array[2] = 77
    root.table["a"].append(3)
    root.table["b"] = []
    root.members.clear()
    root.counts["b"] += 1
    root.queue.popleft()
    root.raw[0] = 0
    root.slots.left.append(2)
    root.slots.right = 3
    root.append()
    root.bound("k").add(4)
    root.pair[0].add("more")
    snapshot.restore()

    assert before == repr(vars(root))
    assert [0, 1, 2, 3] == array.tolist()
    assert root.table["a"] is held
    assert ([1], 2, [], {3}) == (root.slots.left, root.slots.right, captured, root.bound("k"))


def test_it_can_be_put_back_again_and_again() -> None:
    """What was put back is not what is changed next."""
    root = SimpleNamespace(items=[1])
    snapshot = Snapshot(root)
    for _ in range(3):
        root.items.append(2)
        snapshot.restore()

    assert [1] == root.items


def test_generators_are_refused() -> None:
    """Where one stands cannot be put back."""

    def activity() -> Activity:
        yield STEP

    with pytest.raises(TypeError, match="generator"):
        Snapshot({"a": activity()})
