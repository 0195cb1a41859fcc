"""What is told and drawn of a failing execution: conflicts, cause, rows, pictures, traces."""

import xml.etree.ElementTree as ET
from collections import Counter
from io import StringIO

import pytest
from rich.console import Console

from experiments.counterexamples.counterexample import Counterexample, looked_at
from experiments.counterexamples.svg import svg
from experiments.counterexamples.terminal import diagram
from experiments.counterexamples.trace import trace
from sim.tape import Diverged, parse_tape
from tests.experiments.counterexamples.toys import Deadlock, PinRace, Unseen

BAD = parse_tape("0/0,1 1/0,1 0/0,1")
"""The pinner asks, the mapper maps, the pinner pins."""
INTERRUPTED = parse_tape("1/0,1 0/0,1 1/0,1 interrupt=1/2 1/0,1*2")


@pytest.fixture
def found() -> Counterexample:
    """The pin race, gone wrong."""
    return looked_at(PinRace(), BAD, stopped=False)


def printed(found: Counterexample, width: int = 100) -> str:
    """The diagram as a terminal shows it."""
    buffer = StringIO()
    Console(file=buffer, width=width).print(diagram(found))
    return buffer.getvalue()


def test_conflict_is_a_word_that_one_changed_and_another_met(found: Counterexample) -> None:
    """What the pinner had read before nobody had changed."""
    [conflict] = found.conflicts

    assert (1, 1) == (conflict.earlier.number, conflict.earlier.vcpu)
    assert (2, 0) == (conflict.later.number, conflict.later.vcpu)
    assert ("page", 0) == conflict.change.word
    assert (0, 1, 1) == (conflict.change.before, conflict.change.after, conflict.met.before)


def test_cause_says_who_changed_what_and_who_met_it(found: Counterexample) -> None:
    """Steps, routines, the words before and after, the window, and the finding."""
    assert (
        "At step 1 (maps) vCPU 1 changed mappings: 0 -> 1; vCPU 1 was left after step 1, and "
        "vCPU 0 met that at step 2 (PinRace.pin in pins), while the window was open: a page was "
        "pinned while it was mapped"
    ) == found.cause


def test_cause_of_a_deadlock_is_who_holds_what_the_others_wait_for() -> None:
    """And since which step."""
    found = looked_at(Deadlock(), parse_tape("0/0,1*2 1/0,1*2"), stopped=False)

    assert (
        "vCPU 0 waits for b, which vCPU 1 has taken at step 3 (inside), and vCPU 1 waits for a, "
        "which vCPU 0 has taken at step 1 (inside): nobody can go on"
    ) == found.cause


def test_what_nobody_records_is_not_claimed() -> None:
    """Then the order is told, and nothing else."""
    found = looked_at(Unseen(), INTERRUPTED, stopped=False)

    assert not found.conflicts
    assert found.cause.startswith("No recorded entry or type is in conflict; what leads here is")
    assert "vCPU 0 up to step 1 (sets), then vCPU 1 up to step 4 (looks)" in found.cause
    assert found.cause.endswith(": the flag was set")


def test_interrupts_are_told_of_where_they_are_sent_and_taken() -> None:
    """In the rows of both."""
    found = looked_at(Unseen(), INTERRUPTED, stopped=False)

    told = [detail.text for row in found.rows for detail in row.details]
    assert ["interrupts vCPU 1", "is interrupted"] == told


def test_terminal_has_two_columns(found: Counterexample) -> None:
    """What is the guest's on the left; the hypervisor on the right, beside who called it."""
    lines = printed(found).splitlines()
    head = next(line for line in lines if "guest" in line and "hypervisor" in line)
    xen = head.index("hypervisor")
    below = lines[lines.index(head) :]
    called = next(line for line in below if "PinRace.pin" in line)

    assert "pins" in called[:xen]
    assert called[xen:].startswith("PinRace.pin")
    assert any("vCPU 1 goes on" in line for line in lines)
    assert 2 == sum("[a] mappings: " in line for line in lines)
    assert "3 steps of 2 vCPUs, 2 switches between them" == lines[0]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_terminal_loses_nothing_when_it_is_narrow(found: Counterexample, width: int) -> None:
    """Long lines are folded."""
    text = printed(found, width)

    assert all(len(line) <= width for line in text.splitlines())
    squeezed = "".join(text.split())
    assert "".join(found.cause.split()) in squeezed
    assert "[a]mappings:0->1" in squeezed


def test_picture_has_a_box_for_each_row_and_an_arc_for_each_conflict(
    found: Counterexample,
) -> None:
    """In the column of its side; all text lies inside the picture."""
    root = ET.fromstring(svg(found))  # noqa: S314 - our own
    shapes = Counter(element.tag.rpartition("}")[2] for element in root)
    texts = [element for element in root if element.tag.endswith("text")]
    said = [element.text or "" for element in texts]

    assert 3 == len(found.rows)
    assert 1 == sum(element.get("stroke-width") == "1.3" for element in root)
    assert shapes["rect"] >= len(found.rows) + 2
    assert [108.0 + 6, 548.0 + 6] == [
        float(element.get("x", 0)) for element in texts if element.text in ("maps", "PinRace.pin")
    ]
    assert 2 == sum("mappings: " in text and not text.startswith("At") for text in said)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for element in texts:
        assert 0 <= float(element.get("y", 0)) <= height
        assert float(element.get("x", 0)) + 6.9 * len(element.text or "") <= width + 7 * 20


def test_picture_is_the_same_twice() -> None:
    """Byte for byte."""
    first, second = (svg(looked_at(PinRace(), BAD, stopped=False)) for _ in range(2))

    assert first == second


def test_trace_has_a_track_for_each_side_and_an_arrow_for_each_conflict(
    found: Counterexample,
) -> None:
    """Steps in their order, a microsecond each."""
    events = trace(found)["traceEvents"]
    tracks = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}
    steps = [event for event in events if event["ph"] == "X"]

    assert {"vCPU 0 guest", "vCPU 0 hypervisor", "vCPU 1 guest", "vCPU 1 hypervisor"} == set(tracks)
    assert [
        (0, tracks["vCPU 0 guest"], "asks"),
        (1, tracks["vCPU 1 guest"], "maps"),
        (2, tracks["vCPU 0 hypervisor"], "PinRace.pin"),
    ] == [(event["ts"], event["tid"], event["name"]) for event in steps]
    assert ["mappings: 1"] == steps[2]["args"]["touches"]
    begin, end = (next(e for e in events if e["ph"] == kind) for kind in "sf")
    assert begin["id"] == end["id"]
    assert (1.5, 2.5) == (begin["ts"], end["ts"])


def test_execution_that_does_not_fail_is_no_counterexample() -> None:
    """Nor is a tape of another program."""
    with pytest.raises(ValueError, match="no finding"):
        looked_at(PinRace(), parse_tape("0/0,1*2 1/1"), stopped=False)
    with pytest.raises(Diverged):
        looked_at(PinRace(), parse_tape("2/0,1,2"), stopped=False)
