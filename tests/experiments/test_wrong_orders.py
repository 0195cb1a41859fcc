"""The eight orders that stay wrong, each a shipped scenario: how it fails, and what repairs it."""

from typing import NamedTuple

import pytest

from experiments.cli import main
from experiments.scenario.scenario import load, shipped
from tests.boots import record_of, run

SCENARIOS = [
    scenario.name
    for scenario in shipped()
    if scenario.name[0] == "w" and scenario.name[1].isdigit()
]


class Failure(NamedTuple):
    """How an order comes out."""

    outcome: str
    kind: str
    saw: str
    """The word that Xen saw, and the one that it expected, of its first complaint."""
    explained: str


LATENT = "the boot went on, but mmu_update of"
KNOWN = {
    # A validated L1 with one reference, which a leaf maps writable.
    "w1-alias-after-hook": Failure(
        "latent", "latent", "saw 1400000000000001 != exp 7000000000000000",
        "maps pfn 1fefe writable, and nobody had looked for that page",
    ),
    # A writable page that is to be an L1.
    "w2-unhooked-sibling": Failure(
        "crash", "pin", "saw 7400000000000001 != exp 1000000000000000",
        "that table is not hooked yet, so the kernel's walk found no way to it",
    ),
    # An L1 that is being validated, which one of its own leaves maps writable.
    "w3-self-map": Failure(
        "latent", "latent", "saw 1000000000000001 != exp 7000000000000000",
        "the table pfn 1ffe1 maps itself writable",
    ),
    # An L2 that is being validated, which a leaf below maps writable.
    "w4-parent-alias": Failure(
        "latent", "latent", "saw 2000000000000001 != exp 7000000000000000",
        "maps pfn 7fddf, its own root, writable",
    ),
    # A page mapped by the GiB before that is to be the L2 of the next.
    "w5-beyond-512g": Failure(
        "latent", "latent", "saw 7400000000000001 != exp 2000000000000000",
        "pages 8000000 to 809ffff stay without a map",
    ),
    # The walk's own mapping makes the page writable.
    "w6-walker-mapping": Failure(
        "latent", "latent", "saw 7400000000000001 != exp 1000000000000000",
        "still mapped writable at a temporary address",
    ),
    # The live L3, which a temporary mapping would make writable.
    "w7-writable-slot": Failure(
        "crash", "oops", "saw 3400000000000001 != exp 7000000000000000",
        "is a live page table, and the entry 8000000101e02063 would make it writable",
    ),
    # As w2, but nobody stops there.
    "w8-only-a-warning": Failure(
        "latent", "latent", "saw 7400000000000001 != exp 1000000000000000",
        "PIN_L1_TABLE of pfn 7f7dc gave -22",
    ),
}  # fmt: skip

# The words that repair each order: one step put back.
REPAIRED = {
    "w1-alias-after-hook": ("strategy.hook=walk-leaves", "strategy.publish=alloc"),
    "w2-unhooked-sibling": ("strategy.hook=walk-leaves",),
    "w3-self-map": ("strategy.publish=alloc",),
    "w4-parent-alias": ("strategy.hook=walk-leaves",),
    "w5-beyond-512g": ("strategy.hook=walk-leaves",),
    "w6-walker-mapping": ("strategy.hook=walk-leaves",),
    "w7-writable-slot": ("strategy.early=last-page",),
    "w8-only-a-warning": ("strategy.mask=top", "strategy.release=each"),
}


def test_there_are_eight() -> None:
    """W1 to W8, in this order."""
    assert list(KNOWN) == SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_wrong_order_fails_as_told(scenario: str) -> None:
    """Xen's first complaint and the explanation name what the scenario is about."""
    expected = KNOWN[scenario]
    record = record_of(scenario, load(scenario).guest.strategy)
    failure = record["failure"]

    assert (expected.outcome, expected.kind) == (record["outcome"], failure["kind"])
    assert expected.saw in failure["console"][0]
    assert expected.explained in failure["explanation"]
    assert failure["pfn"] is not None


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_step_that_was_left_out_repairs_the_order(scenario: str) -> None:
    """On the same machine; no table is left that can be written, and all counts are right."""
    record = record_of(scenario, load(scenario).guest.strategy, *REPAIRED[scenario])

    assert ("ok", None) == (record["outcome"], record["failure"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_repaired_walk_boots_every_one_of_these_machines(scenario: str) -> None:
    """hook-walk as it is: the geometry is not what kills."""
    record = record_of(scenario, "hook-walk", "strategy={}")

    assert ({}, "ok") == (record["recombined"], record["outcome"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_expects_its_outcome(scenario: str) -> None:
    """So that `pinlab run` of it has status 0."""
    expect = load(scenario).expect

    assert expect is not None
    assert KNOWN[scenario].outcome == expect.outcome


def test_run_shows_the_failure_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """In Xen's words and then in plain ones."""
    assert 0 == main(["run", "w3-self-map", "--quiet"])

    text = capsys.readouterr().out
    assert "Bad type (saw 1000000000000001 != exp 7000000000000000) for mfn 11ffe1" in text
    assert "maps\nitself writable" in text or "maps itself writable" in " ".join(text.split())


# An order that bites only where its geometry is: the scenario, and a machine that survives it.
HARMLESS = [
    # In one GiB whose L2 is live every leaf is found.
    ("w2-unhooked-sibling", ("guest.ram=1016MiB",)),
    ("w8-only-a-warning", ("guest.ram=1016MiB",)),
    # Below 512 GiB the L3 is live: each L2 goes into a live table.
    ("w5-beyond-512g", ('guest.e820=[["0x0", "0xc0000000"]]',)),
]


@pytest.mark.parametrize(("scenario", "settings"), HARMLESS)
def test_wrong_order_is_harmless_on_another_machine(
    scenario: str, settings: tuple[str, ...]
) -> None:
    """The order is judged by what it does to the tables, not by its name."""
    assert "ok" == record_of(scenario, load(scenario).guest.strategy, *settings)["outcome"]


def test_refused_hook_kills_at_the_first_touch() -> None:
    """W8 with an allocation from the top, which lies in the GiB that stayed without a map."""
    allocation = 'guest.after_mapping=[{alloc="NODE_DATA", size="0x5000"}]'
    failure = record_of("w8-only-a-warning", "tables-high", allocation)["failure"]

    assert "oops" == failure["kind"]
    assert "the page is not mapped. It was to be mapped, but PIN_L1_TABLE" in failure["explanation"]
    assert "Oops: 0002 [#1] SMP" == failure["guest_console"][1]


def test_same_refusal_without_multicalls_stops_the_kernel_at_once() -> None:
    """W8 is W2 with a warning in place of the BUG: the same page, the same first line."""
    direct = record_of("w8-only-a-warning", "tables-high", "strategy.batching=none")
    put_off = record_of("w8-only-a-warning", "tables-high")

    assert ("crash", "pin") == (direct["outcome"], direct["failure"]["kind"])
    assert direct["failure"]["console"] == put_off["failure"]["console"][:2]
    assert direct["failure"]["pfn"] == put_off["failure"]["pfn"]


def test_gib_whose_l2_was_refused_has_no_map() -> None:
    """W4: a walk of the live tables finds the first GiB, and nothing in the second."""
    found: list[bool] = []
    run(
        load("w4-parent-alias"),
        "hook-walk",
        at_end=lambda guest: found.extend(
            guest.lookup_address(guest.va(pfn)) is not None for pfn in (0x3FFFF, 0x40000, 0x7FFFF)
        ),
    )

    assert [True, False, False] == found
