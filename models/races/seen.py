"""What a look at a window has read: while that stands, another look would tell the same.

A race's window is looked at after each step of each vCPU, and nearly none of them touches what it
depends on. So a look reads through this, which keeps what was read and how it read; before the next
look it compares, which costs a tenth. What is not read through it is not compared: a look must
read all that it depends on so, and may depend on what never changes besides.
"""

from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any, TypeVar

from models.machine.frames import FrameTable, Words

T = TypeVar("T")


class SeenWords:
    """The words of a page; each that is read is kept."""

    __slots__ = ("_seen", "_words")

    def __init__(self, words: Words, seen: "Seen") -> None:
        self._words = words
        self._seen = seen

    def __getitem__(self, slot: int) -> int:
        return self._seen.word(self._words, slot)


class SeenPages(Mapping[int, SeenWords]):
    """Pages by mfn, as :attr:`FrameTable.pages`, for whoever walks tables."""

    __slots__ = ("_pages", "_seen")

    def __init__(self, frames: FrameTable, seen: "Seen") -> None:
        self._pages = frames.pages
        self._seen = seen

    def __getitem__(self, mfn: int) -> SeenWords:
        return SeenWords(self._pages[mfn], self._seen)

    def __iter__(self) -> Iterator[int]:
        return iter(self._pages)

    def __len__(self) -> int:
        return len(self._pages)


class Seen:
    """The words, members and lists that a look has read."""

    __slots__ = ("_lists", "_members", "_words", "pages")

    def __init__(self, frames: FrameTable) -> None:
        self.pages = SeenPages(frames, self)
        """For walks: see :func:`models.machine.walk.find_l1_entry`."""
        self._words: list[tuple[Words, int, int]] = []
        self._members: list[tuple[Collection[Hashable], Hashable, bool]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []

    def word(self, words: Words, index: int) -> int:
        """A word of a page or of a column of the frame table."""
        value = words[index]
        self._words.append((words, index, value))
        return value

    def member(self, collection: Collection[Hashable], item: Hashable) -> bool:
        """Is it in the collection?"""
        found = item in collection
        self._members.append((collection, item, found))
        return found

    def items(self, items: list[T]) -> list[T]:
        """All items of a list, which are told apart by what they are equal to."""
        copied = items.copy()
        self._lists.append((items, copied))
        return copied

    def forget(self) -> None:
        """Another look begins."""
        self._words.clear()
        self._members.clear()
        self._lists.clear()

    def stands(self) -> bool:
        """Does all that was read still read the same? Not if nothing was."""
        for items, before in self._lists:
            if items != before:
                return False
        for collection, item, found in self._members:
            if (item in collection) is not found:
                return False
        for words, index, value in self._words:
            if words[index] != value:
                return False
        return bool(self._lists or self._words or self._members)
