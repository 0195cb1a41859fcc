"""pinlab litmus: what it reads, what it compares, what it says."""

import json
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.litmus.outcome import Outcome, agrees
from experiments.litmus.recorded import Store
from experiments.litmus.report import judge
from experiments.litmus.search import explore, switches_of
from experiments.litmus.stage import Stage
from sim.explore.execution import InTurn
from sim.explore.searches.random_order import RandomOrder
from sim.tape import TapeReader
from tests.litmus.programs import Plain, plain, read, written

PIN_AGAINST_UNPIN = "pin_vs_unpin"
"""Either the pin is refused, or it comes last: two outcomes of whole operations."""


def _document(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Plain]:
    status = main(["litmus", "--json", *arguments])
    document: Plain = json.loads(capsys.readouterr().out)
    return status, document


# -- reading --------------------------------------------------------------------------------------


def test_setup_of_both_vcpus_comes_before_the_sides(tmp_path: Path) -> None:
    """The machine's, vCPU 1's, the test's own, and what warms vCPU 1's TLB."""
    test = read(tmp_path, plain("ro_hook_vs_store"))

    assert [0, 0, 1, 1] == [vcpu for vcpu, _ in test.setup]
    assert Store(0xFFFFFFFF80160048, 0) == test.setup[-1][1]
    assert "4.17" == test.abi.name
    xen = Stage(test).xen
    assert [0x1ED26] * 2 == [vcpu.cr3 for vcpu in xen.vcpus]
    assert [0, 1] == [len(held) for held in xen.clock.loaded]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xen": "4.3.1"}, "there is no such version of Xen: 4.3.1; there are 4.1, "),
        ({"xen": "4.170"}, "there is no such version of Xen: 4.170"),
        ({"vcpu0": [["ptwr", "0x0", "0x0"]]}, "vcpu0 0: there is no operation 'ptwr'"),
        ({"vcpu1": [["store", "0x0"]]}, "vcpu1 0: ['store', '0x0'] cannot be understood"),
        ({"vcpu1": [["mmuext", ["PIN_L9", "0x0"]]]}, "cannot be understood"),
        ({"vcpu0": []}, "an outcome's rc0 has 1 items for 0 operations"),
        ({"pages": {"A": "77"}}, "frame 77 is not among its pages"),
        ({"setup": [["mmuext", ["UNPIN", "0x1e960"]]]}, "its setup does not succeed: vCPU 0 gets"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Plain, message: str
) -> None:
    """Which test, what is wrong, what would be right; status 2 and nothing on stdout."""
    path = written(tmp_path, plain(PIN_AGAINST_UNPIN) | change)

    assert 2 == main(["litmus", str(path)])
    out, err = capsys.readouterr()
    assert ("", 1) == (out, err.count("\n"))
    assert "test pin_vs_unpin: " in err
    assert message in err


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("final", {"1": {"type_info": "0", "count": 1}}, "frame 1 is not among its pages"),
        ("final", {"1e960": {"type_info": "x", "count": 1}}, "an outcome: invalid literal"),
        ("entries", {"1ed27": {"512": "0"}}, "an outcome: a table has no slot 512"),
        ("done1", [1, 2], "an outcome's done1 has 2 items for 1 operations"),
    ],
)
def test_outcome_that_cannot_be_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, value: object, message: str
) -> None:
    """It names frames and slots there are, and answers each operation."""
    test = plain(PIN_AGAINST_UNPIN)
    test["outcomes"][0][field] = value

    assert 2 == main(["litmus", str(written(tmp_path, test))])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no file of litmus tests"),
        (b'{"schema": "pinlab.conformance/1", "tests": []}', "it should be 'pinlab.litmus/1'"),
        (b'{"schema": "pinlab.litmus/1", "tests": [{"name": "x"}]}', "missing required field"),
        (b"\xff", "is no file of litmus tests"),
    ],
)
def test_file_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    """One line with its path."""
    path = tmp_path / "some.json"
    path.write_bytes(content)

    assert 2 == main(["litmus", str(path)])
    err = capsys.readouterr().err
    assert err.startswith(f"pinlab: {path}: ")
    assert message in err


def test_no_file_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or one that is not there."""
    assert 2 == main(["litmus"])
    assert "name a file of litmus tests" in capsys.readouterr().err
    assert 2 == main(["litmus", str(tmp_path / "none.json")])
    assert "cannot be read: No such file" in capsys.readouterr().err


# -- comparing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rc0", [-16]),
        ("rc1", ["#PF"]),
        ("final", {"1e960": {"type_info": "2c00000000000001", "count": 7}}),
        ("final", {"1e960": {"type_info": "2c00000000000002", "count": 3}}),
        ("entries", {"1ed27": {"352": "001000001e960067"}}),
        ("faults", [0, 1]),
    ],
)
def test_every_field_of_an_outcome_is_compared(tmp_path: Path, field: str, value: object) -> None:
    """One that cannot be is told as missing, and nothing else is."""
    record = plain(PIN_AGAINST_UNPIN)
    record["outcomes"][0][field] = value
    test = read(tmp_path, record)
    judged = judge(test, explore(test))

    assert not judged.covered
    assert [False] == [missing["messages_only"] for missing in judged.missing]
    assert 1 == len(judged.unobserved)


def test_messages_are_compared_last(tmp_path: Path) -> None:
    """An outcome without its kinds of lines is covered, but not strictly."""
    record = plain(PIN_AGAINST_UNPIN)
    record["outcomes"][0]["messages0"] = ["bad_type"]
    test = read(tmp_path, record)
    judged = judge(test, explore(test))

    assert judged.covered
    assert [True] == [missing["messages_only"] for missing in judged.missing]
    (unobserved,) = judged.unobserved
    assert "only in the kinds of lines" in unobserved["explanation"]


def test_completed_requests_are_compared_where_they_are_given(tmp_path: Path) -> None:
    """Null is no batch, and matches whatever there is."""
    record = plain("pin_batches_opposite_order")
    test = read(tmp_path, record)
    reached: list[Outcome] = list(explore(test).outcomes)
    for observed in test.record.outcomes:
        assert any(agrees(outcome, observed, strictly=True) for outcome in reached)
    for outcome in record["outcomes"]:
        outcome["done0"] = [7]
    test = read(tmp_path, record)
    assert not any(
        agrees(o, seen, strictly=False) for o in reached for seen in test.record.outcomes
    )
    for outcome in record["outcomes"]:
        outcome["done0"] = [None]
    test = read(tmp_path, record)
    for observed in test.record.outcomes:
        assert any(agrees(outcome, observed, strictly=True) for outcome in reached)


def test_each_outcome_has_a_tape_that_leads_there(tmp_path: Path) -> None:
    """Whatever the search found can be made again from it."""
    test = read(tmp_path, plain("linear_l4_both_ways"))
    stage = Stage(test)

    for outcome, tape in explore(test).outcomes.items():
        reader = TapeReader(tape)
        execution = stage.program.run(reader)
        reader.end()
        assert outcome == stage.outcome(execution)


@pytest.mark.parametrize("name", ["ro_pin_vs_store_self_rw", "linear_l4_both_ways", "rw_ro_vs_pin"])
def test_orders_drawn_at_random_find_nothing_else(tmp_path: Path, name: str) -> None:
    """One order of each class comes to all that there is."""
    test = read(tmp_path, plain(name))
    stage = Stage(test)
    drawn = {stage.outcome(stage.program.run(RandomOrder(seed))) for seed in range(150)}

    assert drawn <= explore(test).outcomes.keys()


def test_whole_operations_do_not_suffice(tmp_path: Path) -> None:
    """The store by machine address and the pin can be in each other's way: both are refused."""
    test = read(tmp_path, plain("raw_mmu_vs_pin"))
    explored = explore(test)

    assert {0} == {switches_of(explored.outcomes[outcome]) for outcome in explored.whole}
    between = explored.outcomes.keys() - explored.whole
    assert between
    assert all(switches_of(explored.outcomes[outcome]) for outcome in between)


# -- stores ---------------------------------------------------------------------------------------


def test_store_can_land_after_its_mapping_is_gone(tmp_path: Path) -> None:
    """A CPU walks and then stores; without a flush nothing waits for it.

    The page is cleared in between, which shows that the store came later.
    """
    record = plain("ro_hook_vs_store") | {
        "warm_vcpu1": [],
        "vcpu0": [
            ["update_va_mapping", "0xffffffff80160000", "0x1e960061", "0x0"],
            ["mmuext", ["CLEAR_PAGE", "0x1e960"]],
        ],
    }
    test = read(tmp_path, record)
    explored = explore(test)
    landed = {
        outcome
        for outcome in explored.outcomes
        if outcome.answers == ((0, 0), (0,))
        and ("1e960", "5", "000000001e961067") in outcome.entries
    }

    assert landed
    assert not landed & explored.whole
    flushed = plain("ro_hook_vs_store") | {"warm_vcpu1": []}
    flushed["vcpu0"] = [[*record["vcpu0"][0][:3], "0x6"], record["vcpu0"][1]]
    test = read(tmp_path, flushed)
    assert not landed & explore(test).outcomes.keys()


# -- reporting ------------------------------------------------------------------------------------


def test_report_is_the_same_whatever_the_number_of_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several tests at once, in the order of the file."""
    names = [PIN_AGAINST_UNPIN, "unpin_twice", "mmu_same_entry"]
    path = str(written(tmp_path, *map(plain, names)))
    status, document = _document(capsys, path, "--jobs", "2")

    assert 0 == status
    assert (3, 3, 3) == (document["tests"], document["covered"], document["covered_strict"])
    assert ([], []) == (document["missing"], document["unobserved"])
    assert names == [explored["name"] for explored in document["explored"]]
    assert (0, document) == _document(capsys, path, "--jobs", "1")


def test_missing_outcome_is_told_by_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the file has it; and what was reached in its place, with the way there."""
    test = plain(PIN_AGAINST_UNPIN)
    test["outcomes"][0]["rc0"] = [-16]
    status, document = _document(capsys, str(written(tmp_path, test)))

    assert 1 == status
    assert (1, 0, 0) == (document["tests"], document["covered"], document["covered_strict"])
    (missing,) = document["missing"]
    assert (PIN_AGAINST_UNPIN, test["outcomes"][0]) == (missing["name"], missing["outcome"])
    (unobserved,) = document["unobserved"]
    assert ([-22], [0]) == (unobserved["outcome"]["rc0"], unobserved["outcome"]["rc1"])
    assert ["vCPU 0: PIN_L1_TABLE A", "vCPU 1: UNPIN_TABLE A"] == unobserved["schedule"]
    assert "An order of whole operations gives it" in unobserved["explanation"]


def test_table_shows_what_was_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each test, the missing outcome, the order that leads elsewhere, and a count."""
    test = plain(PIN_AGAINST_UNPIN)
    test["outcomes"][0]["rc0"] = [-16]

    assert 1 == main(["litmus", str(written(tmp_path, test))])
    shown = capsys.readouterr().out
    assert "pin_vs_unpin: recorded and not reached\n  -16 | 0; " in shown
    assert "pin_vs_unpin: not recorded\n  -22 | 0; " in shown
    assert "1 tests, 0 covered, 0 with their messages" in shown


def test_gap_is_described_by_what_is_touched_on_both_sides_of_it(tmp_path: Path) -> None:
    """The explanation says between which steps the other vCPU has to come."""
    record = plain("raw_mmu_vs_pin")
    record["outcomes"] = [seen for seen in record["outcomes"] if seen["rc0"] == seen["rc1"]]
    test = read(tmp_path, record)
    told = [unobserved["explanation"] for unobserved in judge(test, explore(test)).unobserved]

    assert told
    assert all("is inside" in text and "a real hypervisor can show it" in text for text in told)


def test_stale_translation_is_named_and_xpti_with_it(tmp_path: Path) -> None:
    """The vCPU has been in the hypervisor since it loaded the translation."""
    record = plain("mp_ro_invlpg_all_vs_store")
    record["vcpu0"][0][3] = "0x0"
    record["outcomes"] = [seen for seen in record["outcomes"] if seen["rc1"] == [0, "#PF"]]
    test = read(tmp_path, record)
    unobserved = [
        outcome
        for outcome in judge(test, explore(test)).unobserved
        if outcome["outcome"]["rc1"] == (0, 0)
    ]

    assert unobserved
    assert all("with XPTI it does not" in outcome["explanation"] for outcome in unobserved)
    assert any("through a stale translation" in line for line in unobserved[0]["schedule"])


def test_search_that_was_cut_short_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then orders with few switches and random ones are added, which the seed decides."""
    path = str(written(tmp_path, plain("pin_l1_vs_pin_l2")))
    _, document = _document(capsys, path, "--most", "2", "--seed", "3")

    (explored,) = document["explored"]
    assert not explored["complete"]
    assert explored["orders"] > 2
    assert 1 == document["covered_strict"]


def test_side_that_crashes_the_hypervisor_is_no_outcome_of_it(tmp_path: Path) -> None:
    """Nothing is claimed of a real one then."""
    test = read(tmp_path, plain(PIN_AGAINST_UNPIN) | {"vcpu0": [["mmuext", ["SET_LDT", "0x0"]]]})
    judged = judge(test, explore(test))

    assert not judged.covered
    assert all("NotModelled" in outcome["outcome"]["end"] for outcome in judged.unobserved)
    assert all("nothing is claimed" in outcome["explanation"] for outcome in judged.unobserved)


def test_world_is_put_back_for_each_order(tmp_path: Path) -> None:
    """The same order comes to the same outcome, whatever came before."""
    stage = Stage(read(tmp_path, plain("unpin_rw_store_vs_repin")))
    first = stage.outcome(stage.program.run(InTurn()))
    stage.program.run(RandomOrder(1))

    assert first == stage.outcome(stage.program.run(InTurn()))
