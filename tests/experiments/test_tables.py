"""Tables for people: what they show and how it fits a page."""

import io
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from rich.console import Console, RenderableType

from experiments.record.record import Record
from experiments.show.tables import compare_table, run_table
from tests.experiments.records import CONSOLE, made_up_record

STRATEGIES = [
    "tables-low",
    "tables-high",
    "ro-window",
    "reserve-hook",
    "mapped-only-3.10",
    "mapped-only-6.1",
]


def plain(renderable: RenderableType, width: int = 100) -> list[str]:
    """The lines of what is shown where there are no colours."""
    buffer = io.StringIO()
    Console(file=buffer, width=width).print(renderable, crop=False)
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


def line_of(lines: Sequence[str], label: str) -> list[str]:
    """What stands beside ``label``, by columns."""
    return (
        next(line for line in lines if line.strip().startswith(label)).strip()[len(label) :].split()
    )


@pytest.fixture
def records() -> list[Record]:
    """Six strategies, of which one fails."""
    return [
        made_up_record(strategy, "crash" if strategy == "tables-high" else "ok")
        for strategy in STRATEGIES
    ]


def test_six_strategies_stand_side_by_side_in_100_columns(records: list[Record]) -> None:
    """The default comparison is one table on any page."""
    lines = plain(compare_table(records, 100))

    assert ["ok", "crash", "ok", "ok", "ok", "ok"] == line_of(lines, "verdict")


def test_no_line_of_figures_is_wider_than_the_page(records: list[Record]) -> None:
    """Only what Xen printed may be wider: its lines stay whole."""
    lines = plain(compare_table(records, 100))

    assert [] == [line for line in lines if len(line) > 100 and "(XEN)" not in line]


def test_narrow_terminal_shows_strategies_in_several_tables(
    records: list[Record],
) -> None:
    """What does not fit beside stands below, with its own labels."""
    lines = plain(compare_table(records, 70), width=70)

    verdicts = [line.split()[1:] for line in lines if line.startswith("verdict")]
    assert [["ok", "crash", "ok"], ["ok", "ok", "ok"]] == verdicts


def test_console_lines_are_shown_whole(records: list[Record]) -> None:
    """Xen's lines can be searched for, however long they are."""
    lines = plain(compare_table(records, 100))

    assert [f"(XEN) {line}" for line in CONSOLE] == [line for line in lines if "(XEN)" in line]


def test_failure_is_explained_in_words(records: list[Record]) -> None:
    """Beside Xen's words stands what they mean."""
    assert records[1].failure is not None
    lines = plain(compare_table(records, 100))

    assert records[1].failure.explanation in lines


def test_all_that_a_record_holds_counts(records: list[Record]) -> None:
    """Pins of all levels are one figure."""
    counts = replace(records[0].counts, pin_l1=1000, pin_l2=20, pin_l3=3, pin_l4=1)
    records[0] = replace(records[0], counts=counts)

    assert line_of(plain(compare_table(records, 100)), "pins")[0] == "1,024"


def test_parts_of_the_time_are_shown_in_the_unit_of_the_whole(
    records: list[Record],
) -> None:
    """500 ns of waiting in 43 ms are 0.001 ms, to be compared with the rest."""
    assert line_of(plain(compare_table(records, 100)), "waiting")[0] == "0.001"


def test_single_run_shows_buffers_and_allocations() -> None:
    """Addresses of the boot log can be compared with those of a real one."""
    lines = plain(run_table(made_up_record("reserve-hook")))

    expected = ["table buffer 0x7fbfd000 to 0x80000000, used up to 0x7ffe0000"]
    expected += ["NODE_DATA at 0x7fffb000"]
    assert expected == lines[-2:]


def test_single_run_names_the_dearest_costs_first() -> None:
    """What to look at first when a run is slow."""
    lines = plain(run_table(made_up_record("reserve-hook")))

    expected = "most time on: pin_l1_per_present_pte 20 ms, hypercall_null 8 ms"
    assert expected in lines


def test_markup_in_a_scenario_name_is_text() -> None:
    """A name in brackets is shown as it is, not taken for a style."""
    lines = plain(run_table(made_up_record("reserve-hook", scenario="[red]x")))

    assert lines[0].startswith("[red]x: Xen 4.2dev")
