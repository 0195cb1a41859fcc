"""The record of a run: the parts that every kind of run writes alike."""

from collections import Counter
from typing import Any

RUN_SCHEMA = "pinlab.run/1"


def outcome_of(failure: dict[str, Any] | None) -> str:
    """How a run with this failure, or none, has come out."""
    if failure is None:
        return "ok"
    return failure["kind"] if failure["kind"] in ("latent", "deadlock") else "crash"


def call_counts(counters: Counter[tuple[str, str]], guest_counts: Counter[str]) -> dict[str, int]:
    """The counts of a record, from the hypervisor's counters and the guest's own."""

    def calls(kind: str) -> int:
        direct = counters["hypercalls_direct", kind]
        return direct + counters["hypercalls_inside_multicall", kind]

    def group(name: str) -> int:
        return sum(n for (other, _), n in counters.items() if other == name)

    mmuext = {op: n for (other, op), n in counters.items() if other == "mmuext_ops"}
    return {
        "traps": counters["calls", "traps"],
        "update_va_mapping": calls("update_va_mapping"),
        "mmuext_op": sum(mmuext.values()),
        "mmu_update": calls("mmu_update"),
        "multicall": calls("multicall"),
        "multicall_entries": group("hypercalls_inside_multicall"),
        "mmu_update_requests": group("mmu_update_entries_by_cmd"),
        **{f"pin_l{level}": mmuext.get(f"PIN_L{level}_TABLE", 0) for level in range(1, 5)},
        "unpin": mmuext.get("UNPIN_TABLE", 0),
        "tlb_flush": sum(n for op, n in mmuext.items() if op.startswith(("TLB_FLUSH", "INVLPG"))),
        "ptwr": group("ptwr_emulations_by_transition"),
        "plain_stores": guest_counts["plain_stores"],
        "validated_entries": group("validated_entries"),
        "mask_lookups": guest_counts["mask_lookups"],
    }


def nested(counters: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counters by group, without those that are 0."""
    nested: dict[str, dict[str, int]] = {}
    for (group, key), count in sorted(counters.items()):
        if count:
            nested.setdefault(group, {})[key] = count
    return nested


def stopped(kind: str, explanation: str, time_ns: int) -> dict[str, Any]:
    """The failure part of the record, where no page is to blame."""
    return {
        "kind": kind,
        "vcpu": 0,
        "time_ns": time_ns,
        "mfn": None,
        "pfn": None,
        "console": [],
        "explanation": explanation,
    }
