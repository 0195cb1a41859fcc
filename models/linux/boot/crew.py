"""Several vCPUs that build one direct map: who maps which part, and what they share.

No kernel builds its map so; this is what one could be that did. The strategy's own walk runs on
the first vCPU. Where it maps a range, the range is cut into pieces, each vCPU maps some of them by
the same code, and the walk goes on when all are done. What the code of one vCPU takes for granted
is left as it is; what must be shared is shared in one of the ways of :class:`CrewPlan`:

* pages for tables come from the one buffer, under a lock that is held until the page is mapped or
  only until it is taken, from a few pages that a vCPU has reserved for itself, or without any
  precaution;
* an entry of an upper table that two pieces need is filled under a lock, by whoever comes first;
  or made and entered while it is empty, as at run time; or without any precaution;
* each vCPU has eight temporary addresses of its own, and its own multicall buffer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from models.linux.boot.strategy import Buffer
from models.linux.spinlock import Lock
from models.linux.start_state.geometry import Range
from models.linux.workload_kinds import Allocator, SharedTables
from models.machine.entries import ENTRIES, PRESENT
from sim.effects import STEP, Activity, Block, Spend

if TYPE_CHECKING:
    from models.linux.boot.guest import Guest

Walk: TypeAlias = Callable[["Guest", int, int], Activity]
"""Map pages [first, end) on one vCPU."""

_LOAD = Spend("pte_write_plain")
"""Between a load of a variable and what follows from it."""


@dataclass(frozen=True)
class CrewPlan:
    """How the work is shared out, and how what is shared is guarded."""

    allocator: Allocator = "lock"
    """``lock``: a page is taken and mapped under one lock. ``short-lock``: the lock is held while
    it is taken. ``reserve``: a vCPU takes some at a time for itself. ``unlocked``: as on one vCPU.
    """
    reserve_pages: int = 16
    shared_tables: SharedTables = "lock"
    """``lock``: an entry above L1 that is missing is filled by one vCPU, and others wait for it.
    ``enter-empty``: they wait only until the empty table is entered; from then on it is live, and
    every vCPU maps it read-only. ``unlocked``: as on one vCPU."""
    piece_pages: int | None = None
    """Pieces are cut at multiples of this, and each is taken by whoever is free. None: every vCPU
    has one share of each range."""


@dataclass
class _Job:
    """A range that is being mapped."""

    walk: Walk
    queues: list[list[Range]]
    """Pieces by vCPU; it may be one list for all."""
    working: int
    """vCPUs that have not finished."""
    results: list[Any] = field(default_factory=list)


class Crew:
    """The vCPUs that build the direct map of one guest; the first one leads."""

    def __init__(self, guest: "Guest", plan: CrewPlan) -> None:
        """``guest`` has as many vCPUs as its hypervisor was made with; all of them take part."""
        self.plan = plan
        guest.crew = self
        self.members = [guest, *(guest.on(vcpu) for vcpu in guest.xen.vcpus[1:])]
        """The guest as each vCPU sees it."""
        self.asked = False
        """Somebody had a range that could have been shared out."""
        self.pieces = 0
        """Pieces that were mapped, each by one vCPU; not of ranges that make one only."""
        self.over = False
        self._job: _Job | None = None
        self._jobs = 0
        self._pages = Lock("table pages")
        self._entries: dict[tuple[int, int], Lock] = {}
        self._own: dict[int, tuple[Buffer, Buffer]] = {}
        """vCPU -> the buffer that it has reserved pages of, and these."""

    @property
    def spare_pages(self) -> int:
        """What a buffer must hold beyond its tables: reserved by some vCPU, and not used."""
        if self.plan.allocator != "reserve":
            return 0
        return len(self.members) * (self.plan.reserve_pages - 1)

    # -- work -----------------------------------------------------------------------------------

    def share_out(self, walk: Walk, first: int, end: int) -> Activity:
        """Map [first, end) on all vCPUs; what each piece's walk returned, in no order."""
        pieces = self.cut(first, end)
        self.pieces += len(pieces)
        lead = self.members[0]
        # What the lead has put off must have been done before others look.
        yield from lead.calls.flush()
        count = len(self.members)
        queues = [pieces] * count
        if self.plan.piece_pages is None:
            queues = [pieces[number : number + 1] for number in range(count)]
        job = self._job = _Job(walk, queues, count)
        self._jobs += 1
        yield STEP
        yield from self._work(lead, job)
        yield Block("the others' pieces", lambda: not job.working)
        return job.results

    def is_one_piece(self, first: int, end: int) -> bool:
        """Is this range too small to be shared out?"""
        self.asked = True
        return len(self.cut(first, end)) == 1

    def cut(self, first: int, end: int) -> list[Range]:
        """The pieces of a range: no L1 is shared by two."""
        step = self.plan.piece_pages
        if step is None:
            share = -(-(end - first) // len(self.members))
            step = -(-share // ENTRIES) * ENTRIES
            cuts = range((first // ENTRIES * ENTRIES) + step, end, step)
        else:
            cuts = range((first // step + 1) * step, end, step)
        borders = [first, *cuts, end]
        return list(pairwise(borders))

    def serve(self, member: "Guest") -> Activity:
        """A further vCPU's part: its pieces of every range, until the lead is done."""
        done = 0
        while True:
            yield Block("a range to map", lambda: self._jobs > done or self.over)  # noqa: B023
            if self._jobs == done:
                return
            done += 1
            assert self._job is not None
            member.calls.enter_lazy_mmu()
            yield from self._work(member, self._job)

    def _work(self, member: "Guest", job: _Job) -> Activity:
        queue = job.queues[member.vcpu.number]
        while True:
            yield STEP
            if not queue:
                break
            piece = queue.pop(0)
            job.results.append((yield from job.walk(member, *piece)))
        if member is not self.members[0]:
            yield from member.calls.leave_lazy_mmu()
        yield STEP
        job.working -= 1

    # -- pages for tables -----------------------------------------------------------------------

    def pages_of(self, member: "Guest") -> Buffer:
        """The buffer that this vCPU takes the next page from: the shared one, or its own part."""
        shared = member.tables.buffer
        buffer, own = self._own.get(member.vcpu.number, (shared, shared))
        # With another buffer what is left of the part is forgotten.
        return own if buffer is shared else Buffer(shared.start, shared.start, shared.start)

    def before_page(self, member: "Guest") -> Activity:
        """A page is about to be taken from :meth:`pages_of` the vCPU."""
        allocator = self._allocator(member)
        if allocator in ("lock", "short-lock"):
            yield self._pages.to_take
        elif allocator == "reserve":
            own = self.pages_of(member)
            shared = member.tables.buffer
            if own is shared or own.used_end == own.top:
                yield self._pages.to_take
                start = shared.used_end
                shared.used_end = min(start + self.plan.reserve_pages, shared.top)
                self._own[member.vcpu.number] = shared, Buffer(start, start, shared.used_end)
                yield self._pages.to_release
        else:
            yield STEP

    def while_taking(self) -> Activity:
        """Between the look at the buffer's end and its new value."""
        if self.plan.allocator == "unlocked":
            yield _LOAD
            yield STEP

    def taken(self) -> Activity:
        """The page has been taken, and nothing else has been done."""
        if self.plan.allocator == "short-lock":
            yield self._pages.to_release
            yield _LOAD

    def after_page(self, member: "Guest") -> Activity:
        """The page has been taken, and mapped where it is going to be written."""
        if self._allocator(member) == "lock":
            yield self._pages.to_release

    def _allocator(self, member: "Guest") -> Allocator:
        # A walk that takes its pages one by one from the boot allocator has nothing to reserve.
        if self.plan.allocator == "reserve" and member.strategy.placement is None:
            return "lock"
        return self.plan.allocator

    # -- entries of upper tables ----------------------------------------------------------------

    @property
    def enters_empty(self) -> bool:
        """Is a table above L1 entered before it is filled?"""
        return self.plan.shared_tables == "enter-empty"

    def claim(self, member: "Guest", table: int, slot: int) -> Activity:
        """Look at an entry above L1 of the table (mfn); the lock that is held if it is missing."""
        words = member.frames.words(table)
        yield STEP
        if words[slot] & PRESENT or self.plan.shared_tables == "unlocked":
            return None
        lock = self._entries.setdefault((table, slot), Lock(f"entry {slot} of mfn {table:x}"))
        yield lock.to_take
        if words[slot] & PRESENT:
            yield lock.to_release
            return None
        return lock
