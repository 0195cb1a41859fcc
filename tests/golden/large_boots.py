"""What boots of large guests must count, by arithmetic.

The guests have whole GiB of contiguous RAM and an image of 44 MiB. The formulas add up what the
kernels do for each table; for 64 GiB and less they give the published counts.
"""

PER_L2 = PER_L1 = 512  # entries of a table: L1s an L2 holds, pages an L1 maps


def expected_counts(strategy: str, gib: int) -> dict[str, int]:
    """Counts and pages of a run record, by key."""
    return {
        "reserve-hook": _reserve_hook,
        "mapped-only-6.1": _mapped_only_6_1,
        "mapped-only-5.10": _mapped_only_5_10,
    }[strategy](gib)


def _reserve_hook(gib: int) -> dict[str, int]:
    """Linux 2.6.39: a call for [0, 4 GiB), one for what lies above; four L1s of the kernel's."""
    builder = _builder_l1s(image_mib=44, p2m_pages=512 * gib) + 4
    live_l2s = -(-builder // PER_L2)
    l1, l2, l3 = 512 * gib - builder, gib - live_l2s, -(-gib // 512) - 1
    fresh = l1 + l2 + l3
    calls = 2 if gib > 4 else 1
    # Each call reaches the L3; the first all of the builder's L2s and L1s, too.
    touched = calls + live_l2s + builder
    reserved = sum(_table_space(end) for end in ((4, gib) if gib > 4 else (gib,)))
    mapped = fresh + touched
    update_va_mapping = mapped + reserved - fresh
    # Two INVLPGs for a page mapped early; flushes after each live L2, L3, walk and call.
    tlb_flush = 2 * mapped + live_l2s + 3 * calls + l3
    return {
        "l1": l1,
        "l2": l2,
        "l3": l3,
        "reserved": reserved,
        "left_over": reserved - fresh,
        "left_read_only": 0,
        "ptwr": mapped,
        "update_va_mapping": update_va_mapping,
        "pin_l1": l1,
        "mmu_update": fresh,
        "tlb_flush": tlb_flush,
        "traps": update_va_mapping + l1 + fresh + tlb_flush,
        "plain_stores": 1024 * l1 + 512 * (l2 + l3),
        "validated_entries": 512 * fresh,
        "mask_lookups": 512 * l1,
    }


def _mapped_only_6_1(gib: int) -> dict[str, int]:
    """Linux 6.1: an L1 filled by stores."""
    return _mapped_only(gib, leaves=0)


def _mapped_only_5_10(gib: int) -> dict[str, int]:
    """Linux 5.10: the same, with an update for each leaf."""
    builder = _builder_l1s(image_mib=44, p2m_pages=0)
    return _mapped_only(gib, leaves=512 * (512 * gib - builder))


def _mapped_only(gib: int, *, leaves: int) -> dict[str, int]:
    builder = _builder_l1s(image_mib=44, p2m_pages=0)
    l3 = -(-gib // 512) - 1
    l1, l2 = 512 * gib - builder, gib - 1
    fresh = l1 + l2 + l3
    # Of RAM in whole GiB no slot of an L2 is empty. In an L3 those behind the RAM are cleared, once
    # for each call that ends there.
    ends_in = [(end - 1) // (512 << 10) for end in _ends_of_calls(gib << 10)]
    cleared = sum(max(0, 512 * (table + 1) - gib) for table in ends_in)
    mmu_update = fresh + cleared + leaves
    return {
        "l1": l1,
        "l2": l2,
        "l3": l3,
        "ptwr": 0,
        "update_va_mapping": fresh,
        "pin_l1": l1,
        "mmuext_op": l1 + 2,
        "tlb_flush": 1,
        "mmu_update": mmu_update,
        "traps": fresh + l1 + 2 + mmu_update,
        "plain_stores": 512 * fresh + (0 if leaves else 512 * l1),
        "validated_entries": 512 * fresh,
    }


def _ends_of_calls(ram_mib: int) -> list[int]:
    """Where the calls end, in MiB: the first MiB; then from the top downwards in growing steps."""
    ends, last, step, total = [1], ram_mib, 2, 0
    while last > 1:
        start = max((last - 1) // step * step, 1) if last > step else 1
        ends.append(last)
        total += last - start
        last = start
        if total >= step:
            step <<= 8
    return ends


def _table_space(gib: int) -> int:
    """Pages that find_early_table_space() sets aside for [0, end): by level, each rounded up."""
    return -(-gib * 8 // 4096) + gib + 512 * gib


def _builder_l1s(*, image_mib: int, p2m_pages: int) -> int:
    """L1s of the domain builder: image, p2m list, start info, its tables and the boot stack.

    All that, rounded up to 4 MiB, or 4 MiB more if it does not leave 512 KiB.
    """
    l1s = 0
    while True:
        pages = image_mib * 256 + p2m_pages + 1 + l1s + -(-l1s // PER_L2) + 2 + 1
        end = -(-pages // 1024) * 1024
        if end - pages < 128:
            end += 1024
        if end // PER_L1 == l1s:
            return l1s
        l1s = end // PER_L1
