"""From the hypervisor's and the guest's counters to the figures of a record."""

from collections import Counter
from collections.abc import Mapping

from experiments.record.record import Counts


def call_counts(counters: Counter[tuple[str, str]], guest_counts: Mapping[str, int]) -> Counts:
    """The counts of a record; of a guest that looks no leaf up, ``mask_lookups`` is not there."""

    def calls(kind: str) -> int:
        direct = counters["hypercalls_direct", kind]
        return direct + counters["hypercalls_inside_multicall", kind]

    def group(name: str) -> int:
        return sum(n for (other, _), n in counters.items() if other == name)

    mmuext = {op: n for (other, op), n in counters.items() if other == "mmuext_ops"}
    return Counts(
        traps=counters["calls", "traps"],
        update_va_mapping=calls("update_va_mapping"),
        mmuext_op=sum(mmuext.values()),
        mmu_update=calls("mmu_update"),
        multicall=calls("multicall"),
        multicall_entries=group("hypercalls_inside_multicall"),
        mmu_update_requests=group("mmu_update_entries_by_cmd"),
        pin_l1=mmuext.get("PIN_L1_TABLE", 0),
        pin_l2=mmuext.get("PIN_L2_TABLE", 0),
        pin_l3=mmuext.get("PIN_L3_TABLE", 0),
        pin_l4=mmuext.get("PIN_L4_TABLE", 0),
        unpin=mmuext.get("UNPIN_TABLE", 0),
        tlb_flush=sum(n for op, n in mmuext.items() if op.startswith(("TLB_FLUSH", "INVLPG"))),
        ptwr=group("ptwr_emulations_by_transition"),
        plain_stores=guest_counts["plain_stores"],
        validated_entries=group("validated_entries"),
        mask_lookups=guest_counts.get("mask_lookups"),
    )


def nested(counters: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counters by group, without those that are 0."""
    nested: dict[str, dict[str, int]] = {}
    for (group, key), count in sorted(counters.items()):
        if count:
            nested.setdefault(group, {})[key] = count
    return nested
