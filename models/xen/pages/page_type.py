"""Typed references: what a page may be used as, and the flush when that changes.

The heart of the MMU's safety: a page changes its type only while its type count is zero, so
a page that is mapped writable cannot become a page table, nor the other way round.
Source: xen/arch/x86/mm.c, _get_page_type and _put_page_type (``__`` before 4.13).
"""

from functools import partial

from models.machine.frames import NOT_RAM, Words
from models.xen.pages.flushes import flush_for_type_change, trace_type_change
from models.xen.pages.references import hand_over, put_page, take_over
from models.xen.state import LOCKABLE, Progress, Vcpu, Xen
from models.xen.versions.errno import EINTR, EINVAL, ERESTART
from models.xen.versions.panic import HostCrash, NotModelled
from models.xen.words import COUNT, PARTIAL, VALIDATED
from sim.effects import PREEMPT_POINT, STEP, Acquire, Activity, Release, WaitUntil


class PageLock:
    """The lock bit in a page's type word, which also holds a type count while it is set.

    Refused where the page is not validated as anything. Source: mm.c:page_lock.
    """

    __slots__ = ("_frames", "_index", "_locked", "mfn", "to_release", "to_take")
    brief = True

    def __init__(self, xen: Xen, mfn: int, index: int) -> None:
        self._frames = xen.frames
        self._index = index
        self._locked = xen.abi.locked
        self.mfn = mfn
        self.to_take = Acquire(self)
        self.to_release = Release(self)

    @property
    def key(self) -> str:
        """The page."""
        return f"page_lock of mfn {self.mfn:x}"

    def busy(self) -> bool:
        """Is the bit set?"""
        return bool(self._frames.type_info[self._index] & self._locked)

    def may_be_taken(self) -> bool:
        """Is it free, and would it not be refused?"""
        word = self._frames.type_info[self._index]
        return LOCKABLE.holds(word) and not word & self._locked

    def take(self) -> bool:
        """Set the bit and count one use of the type."""
        words = self._frames.type_info
        word = words[self._index]
        if not LOCKABLE.holds(word):
            return False
        words[self._index] = (word | self._locked) + 1
        return True

    def release(self) -> None:
        """Clear the bit and drop that use."""
        words = self._frames.type_info
        words[self._index] = (words[self._index] & ~self._locked) - 1


def page_lock(xen: Xen, mfn: int, index: int) -> PageLock:
    """The lock of a page; it is made once."""
    lock: PageLock | None = xen.page_locks.get(mfn)
    if lock is None:
        lock = xen.page_locks[mfn] = PageLock(xen, mfn, index)
    return lock


def lockable_page(xen: Xen, mfn: int) -> int:
    """The index of a page of the domain that may be referred to and locked; else NOT_RAM."""
    frames = xen.frames
    index = frames.index(mfn)
    if (
        index == NOT_RAM
        or frames.owner[index] != xen.domid
        or frames.count_info[index] + 2 & xen.abi.general_count <= 2
        or not page_lock(xen, mfn, index).may_be_taken()
    ):
        return NOT_RAM
    return index


def get_page_type(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, want: int, *, preemptible: bool = False
) -> Activity:
    """Use a page as this type: 0, or a negative errno. The caller holds a general reference.

    -EINTR and -ERESTART (preemptible only): nothing was done, or the page is left partial.

    Source: mm.c:_get_page_type.
    """
    abi = xen.abi
    words = xen.frames.type_info
    flushes = False
    while True:
        yield STEP
        word = words[index]
        count = word & COUNT
        kind = word & abi.type_mask
        if count == COUNT:
            yield from xen.warn(vcpu, "count_overflow", mfn=mfn)
            return -EINVAL
        if kind == want and word & VALIDATED:
            words[index] = word + 1
            vcpu.holds.append(index << 1 | 1)
            return 0
        if count == 0:
            if kind == want:
                words[index] = word + 1
                take_over(vcpu, index, general=False)
                break
            if abi.flush_before_publishing and xen.needs_flush(index):
                trace_type_change(xen, mfn, word, want)
                yield from flush_for_type_change(xen, vcpu, index)
                yield STEP
                # What is stored below is made of the word as it is found now, and equal.
                held, word = word, words[index]
                if word != held:
                    if preemptible and (yield PREEMPT_POINT):
                        return -EINTR
                    continue
            _publish(xen, vcpu, index, word, want)
            if abi.flush_before_publishing and want == abi.writable:
                return 0
            if not abi.flush_before_publishing and xen.needs_flush(index):
                trace_type_change(xen, mfn, word, want)
                flushes = True
            break
        if kind != want:
            if (abi.level(word), abi.level(want)) not in ((2, 1), (3, 2), (4, 3)):
                # Those three may be linear page tables: the caller looks, without a word.
                yield from xen.warn(
                    vcpu, "bad_type", saw=word, want=want, mfn=mfn, pfn=xen.m2p.pfn(mfn)
                )
            return -EINVAL
        if word & PARTIAL:
            # Go on where the other left off; its count, and its reference, become ours.
            words[index] = word & ~PARTIAL
            take_over(vcpu, index)
            break
        # Another CPU validates it, or takes it apart.
        if preemptible and (yield PREEMPT_POINT):
            return -EINTR
        yield WaitUntil(f"type of mfn {mfn:x}", partial(_differs, words, index, word))
    resumed = bool(word & PARTIAL)
    # A step looks at whatever of the word is kept beyond it; here nothing else of it is needed.
    del word, count, kind
    if flushes:
        yield from flush_for_type_change(xen, vcpu, index)
    return (
        yield from _validate(xen, vcpu, mfn, index, want, resumed=resumed, preemptible=preemptible)
    )


def _publish(xen: Xen, vcpu: Vcpu, index: int, word: int, want: int) -> None:
    """Give a page that nobody uses another type, and use it.

    Source: mm.c:_get_page_type.
    """
    abi = xen.abi
    new = (word + 1 & ~(abi.type_mask | VALIDATED)) | want
    if abi.flush_before_publishing and want == abi.writable:
        new |= VALIDATED
    xen.frames.type_info[index] = new
    vcpu.holds.append(index << 1 | 1)
    xen.count_type_change(word, want)


def _differs(words: Words, index: int, word: int) -> bool:
    return words[index] != word


def _validate(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, want: int, *, resumed: bool, preemptible: bool
) -> Activity:
    """Check a page's contents as a table of the type it has just been given.

    ``resumed``: somebody else has left it half done.

    Source: mm.c:alloc_page_type (validate_page).
    """
    abi = xen.abi
    words, counts = xen.frames.type_info, xen.frames.count_info
    if want == abi.writable:
        # Nothing to check; but only later versions come here with it.
        if abi.flush_before_publishing:
            raise HostCrash(f"BUG: mfn {mfn:x} is to be validated as a writable page")
        yield STEP
        words[index] |= VALIDATED
        return 0
    if not 1 <= abi.level(want) <= 4:
        raise NotModelled(f"mfn {mfn:x} is to be used as {abi.type_name(want)}")
    if words[index] & abi.non_coherent:
        # Somebody may have written past the cache; the page is flushed from it.
        yield STEP
        words[index] &= ~abi.non_coherent
    if not resumed:
        xen.progress[mfn] = Progress()
    rc: int = yield from xen.promote(
        xen, vcpu, mfn, index, abi.level(want), preemptible=preemptible
    )
    yield STEP
    if rc == 0:
        words[index] |= VALIDATED
        del xen.progress[mfn]
    elif rc == -EINTR:
        words[index] &= ~COUNT
        del xen.progress[mfn]
        hand_over(vcpu, index, general=False)
    elif rc == -ERESTART:
        counts[index] += 1
        words[index] |= PARTIAL
        hand_over(vcpu, index, general=False)
    else:
        yield from xen.warn(
            vcpu,
            "while_validating",
            mfn=mfn,
            pfn=xen.m2p.pfn(mfn),
            want=want,
            count_info=counts[index],
            type_info=words[index],
        )
        if vcpu.old_guest_table == mfn:
            counts[index] += 1
            words[index] |= PARTIAL
        else:
            words[index] = 0
            del xen.progress[mfn]
        hand_over(vcpu, index, general=False)
    if resumed:
        put_page(xen, vcpu, index)
    return rc


def put_page_type(
    xen: Xen,
    vcpu: Vcpu,
    mfn: int,
    index: int,
    *,
    preemptible: bool = False,
    partial_set: bool = False,
    parent: int = NOT_RAM,
) -> Activity:
    """Give up one use of a page's type; the last use of a table takes it apart.

    Returns 0, or -EINTR / -ERESTART where a preemptible teardown was interrupted.
    ``partial_set``: there is no use to give up, but a teardown or validation that was left
    half done is to be finished, by whoever comes first. ``parent``: the index of the table whose
    entry goes away with it; one of the same level is a linear page table.

    Source: mm.c:_put_page_type.
    """
    abi = xen.abi
    frames = xen.frames
    words = frames.type_info
    while True:
        yield STEP
        word = words[index]
        if partial_set:
            if not word & PARTIAL:
                return 0
        elif word & PARTIAL or (abi.linear_counts and not word & VALIDATED):
            raise HostCrash(f"BUG: the type of mfn {mfn:x} ({word:016x}) was given up twice")
        linear = (
            abi.linear_counts
            and parent != NOT_RAM
            and word & abi.type_mask == words[parent] & abi.type_mask
        )
        if word & COUNT == 1:
            if 1 <= abi.level(word) <= 4 and word & (VALIDATED | PARTIAL):
                # The count stays: nobody else may use the page while it is taken apart.
                words[index] = word & ~(VALIDATED | PARTIAL)
                resumed = bool(word & PARTIAL)
                if resumed:
                    take_over(vcpu, index)
                taking_apart = _take_apart(
                    xen,
                    vcpu,
                    mfn,
                    index,
                    abi.level(word),
                    resumed=resumed,
                    preemptible=preemptible,
                    linear_in=parent if linear and word & VALIDATED else NOT_RAM,
                )
                del word  # a step looks at whatever of it is kept
                return (yield from taking_apart)
            if not linear:
                frames.tlb_stamp[index] = xen.clock.now
        elif abi.waits_for_lock and word & (abi.locked | COUNT) == abi.locked | 2:
            # Never the last use but one under the page lock.
            if preemptible and (yield PREEMPT_POINT):
                return -EINTR
            yield WaitUntil(f"type of mfn {mfn:x}", partial(_differs, words, index, word))
            continue
        words[index] = word - 1
        vcpu.holds.remove(index << 1 | 1)
        if linear:
            count_linear(xen, parent, index, -1)
        return 0


def _take_apart(
    xen: Xen,
    vcpu: Vcpu,
    mfn: int,
    index: int,
    level: int,
    *,
    resumed: bool,
    preemptible: bool,
    linear_in: int,
) -> Activity:
    """The last use of a table goes: give back what its entries hold.

    ``resumed``: somebody else has left that half done.

    Source: mm.c:__put_final_page_type (_put_final_page_type).
    """
    frames = xen.frames
    words = frames.type_info
    rc: int = yield from xen.demote(
        xen,
        vcpu,
        mfn,
        index,
        level,
        partial=resumed,
        preemptible=preemptible,
    )
    yield STEP
    if linear_in != NOT_RAM and rc != -EINTR:
        count_linear(xen, linear_in, index, -1)
    if rc == 0:
        frames.tlb_stamp[index] = xen.clock.now
        words[index] -= 1
        del xen.progress[mfn]
        hand_over(vcpu, index, general=False)
    elif rc == -EINTR:
        words[index] |= VALIDATED
        del xen.progress[mfn]
    else:
        frames.count_info[index] += 1
        words[index] |= PARTIAL
        hand_over(vcpu, index, general=False)
    if resumed:
        put_page(xen, vcpu, index)
    return rc


def count_linear(xen: Xen, table: int, target: int, change: int) -> None:
    """One same-level entry more or less, in the table that has it and the one it points to.

    Both are indices. Source: mm.c, inc_linear_entries ... dec_linear_uses.
    """
    counts = xen.linear_counts
    counts[table] = counts.get(table, 0) + change
    counts[target] = counts.get(target, 0) - change


def put_page_and_type(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, *, preemptible: bool = False
) -> Activity:
    """Drop a typed and a general reference.

    Source: include/asm-x86/mm.h:put_page_and_type.
    """
    rc: int = yield from put_page_type(xen, vcpu, mfn, index, preemptible=preemptible)
    if rc == 0:
        yield STEP
        put_page(xen, vcpu, index)
    return rc
