"""Typed references: what a page may be used as, and the flush when that changes.

The heart of the MMU's safety: a page changes its type only while its type count is zero, so
a page that is mapped writable cannot become a page table, nor the other way round.
Source: xen/arch/x86/mm.c, _get_page_type and _put_page_type (``__`` before 4.13).
"""

from functools import partial

from models.machine.entries import MFN_MASK
from models.machine.frames import Words
from models.xen.abi import COUNT, PARTIAL, VALIDATED
from models.xen.errno import EINTR, EINVAL, ERESTART
from models.xen.flushes import flush_for_type_change
from models.xen.references import get_page, get_page_or_say, put_page
from models.xen.state import Progress, Vcpu, Xen
from sim.effects import PREEMPT_POINT, STEP, Acquire, Activity, Release, WaitUntil


class PageLock:
    """The lock bit in a page's type word, which also holds a type count while it is set.

    Refused where the page is not validated as anything. Source: mm.c:page_lock.
    """

    __slots__ = ("_index", "_locked", "_words", "mfn", "to_release", "to_take")
    brief = True

    def __init__(self, xen: Xen, mfn: int, index: int) -> None:
        self._words = xen.frames.type_info
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
        return bool(self._words[self._index] & self._locked)

    def take(self) -> bool:
        """Set the bit and count one use of the type."""
        word = self._words[self._index]
        if not word & VALIDATED or not word & COUNT:
            return False
        self._words[self._index] = (word | self._locked) + 1
        return True

    def release(self) -> None:
        """Clear the bit and drop that use."""
        self._words[self._index] = (self._words[self._index] & ~self._locked) - 1


def page_lock(xen: Xen, mfn: int, index: int) -> PageLock:
    """The lock of a page; it is made once."""
    lock: PageLock | None = xen.page_locks.get(mfn)
    if lock is None:
        lock = xen.page_locks[mfn] = PageLock(xen, mfn, index)
    return lock


def get_page_type(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, want: int, *, preemptible: bool = False
) -> Activity:
    """Use a page as this type: 0, or a negative errno. The caller holds a general reference.

    -EINTR and -ERESTART (preemptible only): nothing was done, or the page is left partial.
    """
    abi = xen.abi
    words = xen.frames.type_info
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
            return 0
        if count == 0:
            if kind == want:
                words[index] = word + 1
                break
            if not abi.flush_before_publishing:
                words[index] = (word + 1 & ~(abi.type_mask | VALIDATED)) | want
                xen.count_type_change(word, want)
                if xen.needs_flush(index):
                    yield from flush_for_type_change(xen, vcpu, mfn, index, word=word, want=want)
                if want == abi.writable:
                    yield STEP
                    words[index] |= VALIDATED
                    return 0
                if word & abi.non_coherent:
                    # Somebody may have written past the cache; the page is flushed from it.
                    yield STEP
                    words[index] &= ~abi.non_coherent
                break
            if xen.needs_flush(index):
                yield from flush_for_type_change(xen, vcpu, mfn, index, word=word, want=want)
                yield STEP
                if words[index] != word:
                    continue
            new = (word + 1 & ~(abi.type_mask | VALIDATED)) | want
            words[index] = new | VALIDATED if want == abi.writable else new
            xen.count_type_change(word, want)
            if want == abi.writable:
                return 0
            break
        if kind != want:
            if (abi.level(word), abi.level(want)) not in ((2, 1), (3, 2), (4, 3)):
                # Those three may be linear page tables: the caller looks, without a word.
                yield from xen.warn(
                    vcpu, "bad_type", saw=word, want=want, mfn=mfn, pfn=xen.m2p.pfn(mfn)
                )
            return -EINVAL
        if word & PARTIAL:
            # Go on where the other left off; its count becomes ours.
            words[index] = word & ~PARTIAL
            break
        # Another CPU validates it, or takes it apart.
        if preemptible and (yield PREEMPT_POINT):
            return -EINTR
        yield WaitUntil(f"type of mfn {mfn:x}", partial(_differs, words, index, word))
    return (yield from _validate(xen, vcpu, mfn, index, want, word, preemptible=preemptible))


def _differs(words: Words, index: int, word: int) -> bool:
    return words[index] != word


def _validate(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, want: int, before: int, *, preemptible: bool
) -> Activity:
    """Check a page's contents as a table of the type it has just been given."""
    abi = xen.abi
    words, counts = xen.frames.type_info, xen.frames.count_info
    level = abi.level(want)
    if level > 1 and not before & PARTIAL:
        xen.progress[mfn] = Progress()  # an L1 is validated in one go
    rc: int = yield from xen.promote(xen, vcpu, mfn, level, preemptible=preemptible)
    yield STEP
    if rc == 0:
        words[index] |= VALIDATED
        if level > 1:
            del xen.progress[mfn]
    elif rc == -EINTR:
        words[index] &= ~COUNT
    elif rc == -ERESTART:
        counts[index] += 1
        words[index] |= PARTIAL
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
        if abi.defers_teardown and vcpu.old_guest_table == mfn:
            counts[index] += 1
            words[index] |= PARTIAL
            vcpu.old_table_partial = True
        else:
            words[index] = 0
    if before & PARTIAL:
        put_page(xen, index)
    return rc


def put_page_type(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, *, preemptible: bool = False
) -> Activity:
    """Give up one use of a page's type; the last use of a table takes it apart.

    Returns 0, or -EINTR / -ERESTART where a preemptible teardown was interrupted.
    """
    abi = xen.abi
    frames = xen.frames
    words, counts = frames.type_info, frames.count_info
    while True:
        yield STEP
        word = words[index]
        if word & COUNT == 1:
            if 1 <= abi.level(word) <= 4 and word & (VALIDATED | PARTIAL):
                # The count stays: nobody else may use the page while it is taken apart.
                words[index] = word & ~(VALIDATED | PARTIAL)
                rc: int = yield from xen.demote(
                    xen,
                    vcpu,
                    mfn,
                    abi.level(word),
                    partial=bool(word & PARTIAL),
                    preemptible=preemptible,
                )
                yield STEP
                if rc == 0:
                    frames.tlb_stamp[index] = xen.clock.now
                    words[index] -= 1
                    xen.progress.pop(mfn, None)
                elif rc == -EINTR:
                    words[index] |= VALIDATED
                else:
                    counts[index] += 1
                    words[index] |= PARTIAL
                if word & PARTIAL:
                    put_page(xen, index)
                return rc
            frames.tlb_stamp[index] = xen.clock.now
        elif abi.linear_counts and word & (abi.locked | COUNT) == abi.locked | 2:
            # Never the last use but one under the page lock.
            yield WaitUntil(f"type of mfn {mfn:x}", partial(_differs, words, index, word))
            continue
        words[index] = word - 1
        return 0


def get_page_and_type(
    xen: Xen, vcpu: Vcpu, mfn: int, want: int, *, preemptible: bool = False
) -> Activity:
    """A general and a typed reference to a page of the domain, by the entry of a table."""
    yield STEP
    index: int = yield from get_page_or_say(xen, vcpu, mfn)
    if index < 0:
        return -EINVAL
    rc: int = yield from get_page_type(xen, vcpu, mfn, index, want, preemptible=preemptible)
    if rc:
        yield STEP
        put_page(xen, index)
    return rc


def put_page_and_type(
    xen: Xen, vcpu: Vcpu, mfn: int, index: int, *, preemptible: bool = False
) -> Activity:
    """Drop a typed and a general reference."""
    rc: int = yield from put_page_type(xen, vcpu, mfn, index, preemptible=preemptible)
    if rc == 0:
        yield STEP
        put_page(xen, index)
    return rc


def get_own_page_and_type(
    xen: Xen, vcpu: Vcpu, mfn: int, want: int, *, preemptible: bool = False
) -> Activity:
    """As :func:`get_page_and_type`, silent where the page is not the domain's."""
    yield STEP
    index = get_page(xen, mfn & MFN_MASK)
    if index < 0:
        return -EINVAL
    rc: int = yield from get_page_type(xen, vcpu, mfn, index, want, preemptible=preemptible)
    if rc:
        yield STEP
        put_page(xen, index)
    return rc
