"""Run records made up for tests of what is done with records."""

import msgspec

from experiments.record.record import Provenance, Record

MADE = Provenance(pinlab="0", code="0" * 16, settings={}, seed=0, python="3", numpy="2", simpy="4")
"""What made a document that was made up."""

CONSOLE = [
    (
        "mm.c:2466:d0 Bad type (saw 7400000000000001 != exp 1000000000000000) "
        "for mfn b1d89 (pfn bacf7)"
    ),
    "mm.c:3027:d0 Error while pinning mfn b1d89",
]


def made_up_record(strategy: str, outcome: str = "ok", **changes: object) -> Record:
    """A record of ``strategy``; a crash tells of a table page that could not be pinned."""
    failure = {
        "kind": "pin",
        "vcpu": 0,
        "time_ns": 27_301_112,
        "mfn": "0xb1d89",
        "pfn": "0xbacf7",
        "console": CONSOLE,
        "explanation": "The L1 table of region 1494 maps page bacf7 writable.",
    }
    parts = {
        "guest": 14_353_000,
        "hypervisor": 21_530_000,
        "tlb": 7_177_000,
        "lock_wait": 200,
        "steal": 300,
        "idle": 0,
    }
    document = {
        "schema": "pinlab.run/1",
        "scenario": "dom0-2011",
        "scenario_hash": "a9626f90ce89ed2a",
        "strategy": strategy,
        "xen": "4.2dev",
        "profile": "nehalem-2011",
        "seed": 0,
        "replication": 0,
        "outcome": outcome,
        "failure": failure if outcome == "crash" else None,
        "time_ns": {
            "total": 43_060_500,
            **parts,
            "by_vcpu": [parts],
        },
        "counts": {
            "traps": 5_106,
            "update_va_mapping": 1_059,
            "mmuext_op": 3_052,
            "mmu_update": 995,
            "multicall": 3_053,
            "multicall_entries": 3_053,
            "mmu_update_requests": 995,
            "pin_l1": 994,
            "pin_l2": 0,
            "pin_l3": 0,
            "pin_l4": 0,
            "unpin": 0,
            "tlb_flush": 2_058,
            "ptwr": 1_027,
            "plain_stores": 1_018_368,
            "validated_entries": 509_440,
            "mask_lookups": 508_928,
        },
        "pages": {
            "l1": 994,
            "l2": 1,
            "l3": 0,
            "tables": 995,
            "reserved": 1_027,
            "left_over": 32,
            "left_read_only": 0,
        },
        "hazard": {
            "windows": 995,
            "unreachable": 0,
            "open_ns_total": 16_837_000,
            "open_ns_max": 45_958,
        },
        "time_by_cost_ns": {"hypercall_null": 8_000_000, "pin_l1_per_present_pte": 20_000_000},
        "xen_counters": {},
        "buffers": [{"start": "0x7fbfd000", "end": "0x7ffe0000", "top": "0x80000000"}],
        "allocations": {"NODE_DATA": "0x7fffb000"},
        "workload": "boot",
    } | changes
    return msgspec.convert(document, Record)
