"""The whole buffer is mapped read-only; what is left over is made writable later.

"Later" is looked for at every store of a leaf: once the buffer of the last call is reserved in
memblock, the pages behind its used part get their permission back. For the last call of all
that is the next store of a leaf, whenever that comes. Until then memblock hands these pages
out as free memory, and whoever stores to one dies.

Linux v2.6.39-rc6 (a38647837a41, b9269dc7bfdf), reverted by 92bdaef7b2c5.
"""

from dataclasses import dataclass

from models.linux.boot.guest import Guest
from models.linux.boot.strategy import Buffer, Strategy
from models.linux.boot.walks.buffered import build_direct_map
from models.linux.phase import PHASE_BEGINS, PHASE_ENDS
from models.linux.release import V2_6_39
from models.strategies.policies import ReadOnlyBuffer, top_of_range
from sim.effects import Activity


@dataclass
class SavedBuffer:
    """What mark_rw_past_pgt() remembers between its calls."""

    saved: Buffer | None = None
    flipped_end: int = 0


class MarkRwPastPgt:
    """mark_rw_past_pgt(): called at every leaf store; nearly always it finds nothing to do."""

    def __call__(self, guest: Guest) -> Activity:
        """Give the pages that the last call has left over their permission back, if it is time."""
        now, memory = guest.tables.buffer, guest.strategy_state
        if now.used_end <= now.start:
            return
        if memory.saved is None:
            memory.saved = Buffer(now.start, now.used_end, now.top)
            return
        saved = memory.saved
        if not guest.memblock.is_reserved(saved.start):
            # The buffer is still in use: it is reserved when its call has ended.
            saved.used_end, saved.top = now.used_end, now.top
            return
        if saved.used_end == memory.flipped_end:
            return
        memory.flipped_end = saved.used_end
        memory.saved = Buffer(now.start, now.used_end, now.top)
        yield PHASE_BEGINS
        for pfn in saved.left_over:
            yield from guest.make_lowmem_page_readwrite(pfn)
        yield PHASE_ENDS

    def alike(self, guest: Guest, first: int, end: int) -> bool:  # noqa: ARG002
        """Yes, from when the present buffer is remembered until its call has ended."""
        saved: Buffer | None = guest.strategy_state.saved
        return (
            saved is not None
            and saved.start == guest.tables.buffer.start
            and not guest.memblock.is_reserved(saved.start)
        )


mark_rw_past_pgt = MarkRwPastPgt()

ro_window = Strategy(
    name="ro-window",
    summary="whole buffer read-only, left-overs made writable when next a leaf is stored",
    history="Linux v2.6.39-rc6, a38647837a41 and b9269dc7bfdf",
    kernel=V2_6_39,
    direct_map=build_direct_map,
    placement=top_of_range,
    mask=ReadOnlyBuffer(until="top"),
    before_leaf_store=mark_rw_past_pgt,
    leaf_cost="memblock_search",
    finish=mark_rw_past_pgt,
    state=SavedBuffer,
)
