"""Work that is done many times over: done once step by step, and then told from that.

What the first time has cost, counted and told to the observers is its work; the other times have
the same work, so nobody lists it a second time. Their state is written in bulk by whoever knows
it. The last time is done step by step again, which puts everything that only the latest decides in
its place, and holds the run to its promise: it has to come to the same as the first.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple, Protocol

from models.linux.boot.guest import Guest
from models.linux.boot.hazard import Hazards
from models.xen.versions.paging import Paging
from sim.effects import MARK, Activity, Again, Spent

FEWEST = 4
"""Fewer times are not worth the trouble: the first and the last are done in any case."""


class NotAlike(RuntimeError):
    """Work was taken for alike and is not: an error of PinLab's own."""


def is_unwatched(guest: Guest) -> bool:
    """Does nobody else have a part in the guest's work, nor want to know of each call?"""
    xen = guest.xen
    return (
        guest.crew is None
        and guest.calls.lazy is None
        and not xen.tells_calls
        and xen.trace is None
        and not xen.progress
        and xen.paging is not Paging.NESTED
    )


def undisturbed(guest: Guest, table: int) -> tuple[int, ...]:
    """What work on the entries of a table (mfn) has to leave as it was, to be told again.

    The words of the table's frame, and how much Xen and the kernel have printed.
    """
    frames = guest.frames
    index = frames.index(table)
    return (
        *(column[index] for column in (frames.type_info, frames.count_info, frames.tlb_stamp)),
        len(guest.xen.console.lines),
        len(guest.refused),
    )


class Alike(Protocol):
    """A run of alike work on a guest; its parts are numbered from 0."""

    def at_rest(self, guest: Guest) -> Hashable:
        """What no part of the run may change; where the first does, the run does not begin."""

    def come_to(self, guest: Guest, number: int) -> Hashable:
        """What a part has come to, told so that it is equal for all parts."""

    def moved(self, what: object, number: int) -> object:
        """What the observers hear of a part, where they heard ``what`` of part 0."""

    def write(self, guest: Guest, times: int, flushes: int) -> None:
        """Give so many parts behind part 0 the state that follows from its own.

        ``flushes``: by how many ticks of the flush clock a part follows the one before it.
        """


def repeat(guest: Guest, run: Alike, count: int, do_part: Callable[[int], Activity]) -> Activity:
    """Do ``count`` alike parts of work; how many were done: all, the first or none.

    None are if somebody could see the middle of it, and only the first if that turns out to be
    no example for the others. ``do_part`` does one part, by its number, step by step.

    Raises:
        NotAlike: the last part came to something else than the first.
    """
    mark = (yield MARK) if count >= FEWEST else None
    if mark is None:
        return 0
    before, at_rest = _counted(guest), run.at_rest(guest)
    yield from do_part(0)
    if run.at_rest(guest) != at_rest:
        return 1
    spent: Spent | None = yield Again(mark, count - 2, run.moved)
    if spent is None:
        return 1
    work = before.to(_counted(guest))
    state = run.come_to(guest, 0)
    _count_again(guest, work, count - 2)
    run.write(guest, count - 2, work.flushes)

    mark = yield MARK
    before = _counted(guest)
    yield from do_part(count - 1)
    again: Spent | None = yield Again(mark, 0, run.moved)
    told = tuple(run.moved(what, count - 1) for what in spent.told)
    _require(run, "cost", spent._replace(told=told), again)
    _require(run, "counts", work, before.to(_counted(guest)))
    _require(run, "state", state, run.come_to(guest, count - 1))
    return count


class _Counted(NamedTuple):
    """What only ever counts up, at some moment; or by how much it has grown."""

    counters: Counter[tuple[str, str]]
    """The hypervisor's."""
    kernel: Counter[tuple[str, str]]
    """Attributes of parts of the guest, as (part, attribute)."""
    flushes: int

    def to(self, later: "_Counted") -> "_Counted":
        """By how much each has grown until then; what has not is left out."""
        return _Counted(
            _grown(self.counters, later.counters),
            _grown(self.kernel, later.kernel),
            later.flushes - self.flushes,
        )


def _grown(
    before: Counter[tuple[str, str]], now: Counter[tuple[str, str]]
) -> Counter[tuple[str, str]]:
    return Counter({key: n - before[key] for key, n in now.items() if n != before[key]})


def _counted(guest: Guest) -> _Counted:
    """Everything that is counted, as it stands."""
    kernel = Counter(
        {
            (part, name): getattr(owner, name)
            for part, owner in _parts(guest)
            for name in owner.COUNTED
        }
    )
    return _Counted(guest.xen.counters.copy(), kernel, guest.xen.clock.now)


def _count_again(guest: Guest, work: _Counted, times: int) -> None:
    """Count the same so many times more."""
    counters = guest.xen.counters
    for key, n in work.counters.items():
        counters[key] += times * n
    parts = dict(_parts(guest))
    for (part, name), n in work.kernel.items():
        setattr(parts[part], name, getattr(parts[part], name) + times * n)
    for _ in range(times * work.flushes):
        guest.xen.clock.flush(guest.vcpu.pcpu)


def _parts(guest: Guest) -> Iterator[tuple[str, Guest | Hazards]]:
    """The parts of the guest that count something, and what they are called."""
    yield "guest", guest
    yield "hazards", guest.hazards


def _require(run: Alike, what: str, expected: object, found: object) -> None:
    if expected != found:
        raise NotAlike(f"{run}: the {what} of the first was {expected!r}, of the last {found!r}")
