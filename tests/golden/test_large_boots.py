"""Large guests count what the arithmetic of their tables says."""

import pytest

from tests.boots import record_of
from tests.golden.large_boots import expected_counts
from tests.golden.test_published_counts import LONG, MAPPED_ONLY, RESERVE_HOOK, XEN

STRATEGIES = ["reserve-hook", "mapped-only-6.1", "mapped-only-5.10"]


@pytest.mark.parametrize("strategy", STRATEGIES)
# 513 GiB take a second L3, whose tables are entered into a table that is not hooked itself.
@pytest.mark.parametrize("gib", [1, 5, pytest.param(513, marks=LONG)])
def test_large_guest(strategy: str, gib: int) -> None:
    """Tables by level, hypercalls by kind, stores, pages set aside."""
    record = record_of("guest-64G", strategy, f"guest.ram={gib}GiB", XEN)

    found = record["pages"] | record["counts"]
    expected = expected_counts(strategy, gib)
    assert ("ok", expected) == (record["outcome"], {key: found[key] for key in expected})


def test_arithmetic_gives_the_published_counts_of_64_gib() -> None:
    """It is the counting models' arithmetic."""
    hook = expected_counts("reserve-hook", 64)
    keys = ("ptwr", "update_va_mapping", "pin_l1", "mmu_update", "tlb_flush", "plain_stores")

    assert RESERVE_HOOK["64 GiB"][4:10] == tuple(hook[key] for key in keys)
    for version in ("5.10", "6.1"):
        expected = expected_counts(f"mapped-only-{version}", 64)
        assert MAPPED_ONLY[version, "64 GiB"][-1] == expected["traps"]
