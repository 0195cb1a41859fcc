"""Updates that are put off: what shares an entry, when the buffer is full, what hides what."""

from models.linux.boot.put_off import MulticallBuffer
from models.linux.multicall_buffer import MC_BATCH
from models.xen.hypercalls import MmuextOp, MmuUpdate, UpdateVaMapping
from models.xen.words import INVLPG_LOCAL

INVLPG = MmuextOp(((INVLPG_LOCAL, 0, 0),))


def update(pointer: int) -> MmuUpdate:
    """One request."""
    return MmuUpdate(((pointer, 0),))


def test_buffer_of_linux_is_full_with_32_entries() -> None:
    """The arguments of update_va_mapping stand in its entry, so only entries count."""
    buffer = MulticallBuffer(MC_BATCH)
    for number in range(32):
        assert buffer.fits(UpdateVaMapping(number << 12, 0))
        buffer.add(UpdateVaMapping(number << 12, 0), ())

    assert not buffer.fits(UpdateVaMapping(32 << 12, 0))


def test_buffer_of_linux_is_full_with_21_operations() -> None:
    """512 bytes hold 21 operations of 24 bytes; eight bytes stay free."""
    buffer = MulticallBuffer(MC_BATCH)
    for _ in range(21):
        assert buffer.fits(INVLPG)
        buffer.add(INVLPG, ())

    assert not buffer.fits(INVLPG)
    assert buffer.fits(UpdateVaMapping(0, 0))
    assert not buffer.fits(update(0))


def test_32_requests_that_follow_each_other_share_one_entry() -> None:
    """512 bytes hold 32 requests of 16 bytes, and they are one mmu_update."""
    buffer = MulticallBuffer(MC_BATCH)
    for number in range(32):
        assert buffer.fits(update(8 * number))
        buffer.add(update(8 * number), ())

    assert not buffer.fits(update(256))
    (entry,) = buffer.take()
    assert MmuUpdate(tuple((8 * number, 0) for number in range(32))) == entry.call


def test_hook_takes_three_entries_and_40_bytes() -> None:
    """Read-only, pinned, entered: a tenth comes to 30 entries, and an eleventh is cut."""
    buffer = MulticallBuffer(MC_BATCH)
    hooks = 0
    while True:
        for call in (UpdateVaMapping(hooks << 12, 0), INVLPG, update(8 * hooks)):
            if not buffer.fits(call):
                assert (10, 32, 424) == (hooks, len(buffer.entries), buffer.bytes)
                return
            buffer.add(call, ())
        hooks += 1


def test_smaller_buffer_has_less_room_for_arguments_too() -> None:
    """Linux gives 16 bytes to each entry; one operation fits in any case."""
    assert [24, 32, 128, 512] == [MulticallBuffer(size).room for size in (1, 2, 8, 32)]


def test_what_waits_is_known_by_entry_address_and_table() -> None:
    """Whoever walks over an entry that waits would see the old one."""
    buffer = MulticallBuffer(MC_BATCH)
    buffer.add(update(0x5008), (7,))
    buffer.add(UpdateVaMapping(0xFFFF8800_00003000, 0), (3,))

    assert buffer.touches([0x5000, 0x5008])
    assert buffer.touches([0xFFFF8800_00003000])
    assert not buffer.touches([0x5010])
    assert (True, False) == (buffer.touches_table(5), buffer.touches_table(6))
    assert (True, False) == (buffer.is_about(7), buffer.is_about(3))
    buffer.take()
    assert not buffer.touches([0x5008])
