"""What a correct fix costs: hypercalls and time of a boot, and where the time goes.

Every strategy boots guests of 512 MiB to 8 GiB, with a hole of 4 MiB under the end of RAM as a dom0
has one, once for each latency profile. Strategies that crash on any of these are no fix; they are
left out and named. Counts do not depend on the profile. Times are those of one boot, whose draws
are the same for work that strategies share.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.errors import InputError
from experiments.scenario.quantities import format_duration, format_size
from experiments.scenario.strategies import strategy_names
from experiments.studies import drawing
from experiments.studies.study import Answer, Study, main

MIB, GIB = 1 << 20, 1 << 30

SIZES = (512 * MIB, GIB, 2 * GIB, 4 * GIB, 8 * GIB)
PROFILES = ("nehalem-2011", "skylake-2018-xpti", "modern-2023")
_HOLE, _ABOVE_HOLE = 4 * MIB, 64 << 10

_COST = "time_by_cost_ns."

# What the time of a boot is spent on, in words, and the costs of a profile that belong there.
PARTS: Mapping[str, tuple[str, Sequence[str]]] = {
    "into Xen and back": (
        drawing.VERMILLION,
        ("hypercall_null", "multicall_per_entry"),
    ),
    "update_va_mapping": (drawing.ORANGE, ("update_va_mapping_body",)),
    "mmu_update": (drawing.YELLOW, ("mmu_update_per_entry",)),
    "pins, validation": (
        drawing.BLUE,
        (
            "pin_l1_body",
            "pin_l1_per_present_pte",
            "pin_l1_per_absent_pte",
            "unpin_l1_per_present_pte",
            "validate_upper_present_entry",
            "validate_upper_absent_entry",
        ),
    ),
    "faults: ptwr, shadow, EPT": (
        drawing.PURPLE,
        ("ptwr_emulation", "shadow_write_fault", "shadow_rebuild_per_entry", "ept_fault"),
    ),
    "TLB, walks": (
        drawing.SKY,
        ("invlpg", "tlb_flush_local", "type_change_flush", "new_baseptr_body", "walk_2d_extra"),
    ),
    "the guest's own work": (
        drawing.GREEN,
        (
            "pte_write_plain",
            "pte_check_scalar",
            "set_lookup",
            "memblock_search",
            "table_entry_read",
            "multicall_queue_entry",
        ),
    ),
}
REST = "other"


def sweep() -> dict[str, Any]:
    """Every strategy on every size, with every profile."""
    return document(strategy_names(), SIZES, PROFILES)


def document(
    strategies: Sequence[str], sizes: Sequence[int], profiles: Sequence[str]
) -> dict[str, Any]:
    """A sweep over these; a size is where RAM ends, in bytes."""
    return {
        "name": "cost-of-a-fix",
        "machine": {"xen": "4.2dev"},
        "guest": {"kind": "domU", "kernel_end": "44MiB"},
        "sweep": {
            "machine.profile": list(profiles),
            "guest.e820": [
                [["0x0", hex(end - _HOLE)], [hex(end - _ABOVE_HOLE), hex(end)]] for end in sizes
            ],
            "guest.strategy": list(strategies),
        },
    }


def spent(row: Mapping[str, Any]) -> dict[str, int]:
    """The time of a boot by part, in ns; the sum is all that was spent."""
    costs = {
        key.removeprefix(_COST): int(value)
        for key, value in row.items()
        if key.startswith(_COST) and value is not None
    }
    parts = {
        part: sum(costs.pop(cost, 0) for cost in members) for part, (_, members) in PARTS.items()
    }
    return parts | {REST: sum(costs.values())}


def answer(frame: pl.DataFrame) -> Answer:
    """Lines over the sizes, bars at one of them, and who was left out."""
    rows = frame.with_columns(pl.Series("end", map(_end_of_ram, frame["guest.e820"]), pl.Int64))
    failing = rows.filter(pl.col("outcome") != "ok")
    left_out = {
        strategy: format_size(min(failing.filter(pl.col("strategy") == strategy)["end"].to_list()))
        for strategy in failing["strategy"].unique(maintain_order=True)
    }
    fixes = rows.filter(~pl.col("strategy").is_in(list(left_out)))
    if fixes.is_empty():
        raise InputError(
            "every strategy of this sweep crashes; there is no fix to tell the cost of"
        )
    sizes = sorted(fixes["end"].unique().to_list())
    at = 2 * GIB if 2 * GIB in sizes else sizes[-1]
    named = _left_out(left_out)
    figures = {
        "time": _time(fixes, named),
        "breakdown": _breakdown(fixes.filter(pl.col("end") == at), at),
    }
    if fixes["counts.traps"].sum():
        figures["hypercalls"] = _hypercalls(fixes, named)
    numbers = fixes.select(
        "profile",
        "strategy",
        pl.col("end").alias("end_bytes"),
        pl.col("counts.traps").alias("hypercalls"),
        pl.col("counts.ptwr").alias("emulated_stores"),
        pl.col("time_ns.total").alias("time_ns"),
        *(
            pl.Series(f"{part}, ns", [spent(row)[part] for row in fixes.iter_rows(named=True)])
            for part in (*PARTS, REST)
        ),
    )
    return Answer([*_sentences(fixes, at), named], figures, numbers)


def _end_of_ram(e820: str) -> int:
    end: int = msgspec.json.decode(e820)[-1][1]
    return end


def _left_out(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return "every strategy boots on all of these guests"
    told = ", ".join(f"{strategy} (from {size})" for strategy, size in left_out.items())
    return f"left out, because they crash: {told}"


def _sentences(fixes: pl.DataFrame, at: int) -> list[str]:
    lines = []
    for profile in fixes["profile"].unique(maintain_order=True):
        own = fixes.filter((pl.col("profile") == profile) & (pl.col("end") == at))
        told = [
            f"{row['strategy']} {format_duration(row['time_ns.total'])}"
            for row in own.sort("time_ns.total").iter_rows(named=True)
        ]
        lines.append(f"{format_size(at)}, {profile}: {', '.join(told)}")
    first = fixes["profile"][0]
    own = fixes.filter((pl.col("profile") == first) & (pl.col("end") == at))
    counts = [
        f"{row['strategy']} {row['counts.traps']:,}"
        for row in own.sort("counts.traps").iter_rows(named=True)
    ]
    lines.insert(0, f"{format_size(at)}, hypercalls: {', '.join(counts)}")
    return lines


# -- lines over the sizes -------------------------------------------------------------------------


def colour(strategy: str) -> str:
    """Strategies of one kind share a colour; each line has its name beside it."""
    kinds = {
        "mapped-only": drawing.GREEN,
        "offline": drawing.PURPLE,
        "ptwr": drawing.VERMILLION,
        "hook-walk": drawing.ORANGE,
        "ro-window": drawing.SKY,
    }
    return next((shade for kind, shade in kinds.items() if strategy.startswith(kind)), drawing.BLUE)


def _hypercalls(fixes: pl.DataFrame, named: str) -> Figure:
    first = fixes.filter(pl.col("profile") == fixes["profile"][0])
    # What makes none has no place on a logarithmic axis.
    without = first.filter(pl.col("counts.traps") == 0)["strategy"].unique(maintain_order=True)
    first = first.filter(~pl.col("strategy").is_in(without.to_list()))
    if len(without):
        named = f"without any: {', '.join(without)}; {named}"
    least, most = _extremes(first, "counts.traps")
    size = format_size(int(first["end"].to_numpy().max()))
    figure = drawing.titled(
        f"To boot {size} takes between {least} and {most} hypercalls",
        f"hypercalls (traps) of the direct map over the end of RAM; {named}",
        width=8.2,
        height=5.4,
    )
    axes = figure.subplots()
    _lines(axes, first, "counts.traps", 1.0)
    axes.set_ylabel("hypercalls")
    _label([axes], [first], "counts.traps", 1.0)
    return figure


def _time(fixes: pl.DataFrame, named: str) -> Figure:
    profiles = list(fixes["profile"].unique(maintain_order=True))
    own = [fixes.filter(pl.col("profile") == profile) for profile in profiles]
    message = _spread(own)
    below = _far_below(own)
    if below:
        own = [rows.filter(~pl.col("strategy").is_in(list(below))) for rows in own]
        told = ", ".join(
            f"{name} ({format_duration(time)} at most)" for name, time in below.items()
        )
        named = f"far below: {told}; {named}"
    figure = drawing.titled(
        message,
        f"simulated time of the direct map over the end of RAM; {named}",
        width=0.6 + 4.3 * len(profiles),
        height=5.4,
    )
    grid = figure.subplots(1, len(profiles), squeeze=False, sharey=True)
    for axes, rows, profile in zip(grid.flat, own, profiles, strict=True):
        _lines(axes, rows, "time_ns.total", 1e6)
        axes.set_title(profile)
    grid[0][0].set_ylabel("time, ms")
    _label(list(grid.flat), own, "time_ns.total", 1e6)
    return figure


def _far_below(panels: Sequence[pl.DataFrame]) -> dict[str, float]:
    """Strategies whose lines would squeeze all others, with their longest times in ns."""
    shares: dict[str, list[float]] = {}
    longest: dict[str, float] = {}
    for rows in panels:
        times = _at_the_end(rows)
        middle = sorted(times.values())[len(times) // 2]
        for strategy, time in times.items():
            shares.setdefault(strategy, []).append(time / middle)
            longest[strategy] = max(time, longest.get(strategy, 0))
    return {name: longest[name] for name, found in shares.items() if max(found) < 0.02}


def _at_the_end(rows: pl.DataFrame) -> dict[str, int]:
    """The time of each strategy at the largest size, in ns."""
    last = rows.filter(pl.col("end") == rows["end"].max())
    return dict(zip(last["strategy"], last["time_ns.total"], strict=True))


def _spread(panels: Sequence[pl.DataFrame]) -> str:
    """How far apart the times are at the largest size, in whichever profile they are farthest."""
    near, slowest = [], []
    for rows in panels:
        times = _at_the_end(rows)
        middle = sorted(times.values())[len(times) // 2]
        near.append(sum(0.5 <= time / middle <= 2 for time in times.values()))
        name = max(times, key=lambda name: times[name])
        slowest.append((times[name] / middle, name))
    factor, name = max(slowest)
    return (
        f"{min(near)} of {len(times)} fixes take between half and twice the time of the one in the "
        f"middle, {name} up to {factor:.0f} times"
    )


def _extremes(rows: pl.DataFrame, column: str) -> tuple[str, str]:
    """The least and the most of it at the largest size, each with the strategy."""
    last = rows.filter(pl.col("end") == rows["end"].max()).sort(column)
    least, most = last.row(0, named=True), last.row(-1, named=True)
    return (
        f"{least[column]:,} ({least['strategy']})",
        f"{most[column]:,} ({most['strategy']})",
    )


def _lines(axes: Axes, rows: pl.DataFrame, column: str, unit: float) -> None:
    for strategy in rows["strategy"].unique(maintain_order=True):
        own = rows.filter(pl.col("strategy") == strategy).sort("end")
        axes.plot(
            own["end"] / GIB,
            own[column] / unit,
            color=colour(strategy),
            marker="o",
            markersize=3,
            linewidth=1.3,
        )
    sizes = sorted(rows["end"].unique().to_list())
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([size / GIB for size in sizes], [f"{size / GIB:g}" for size in sizes])
    axes.xaxis.set_minor_locator(drawing.no_ticks())
    axes.yaxis.set_major_formatter(drawing.plain_numbers())
    axes.yaxis.set_minor_formatter(drawing.no_labels())
    axes.set_xlabel("end of RAM, GiB")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)


def _label(panels: Sequence[Axes], rows: Sequence[pl.DataFrame], column: str, unit: float) -> None:
    """Names beside the ends of the lines."""
    for axes, own in zip(panels, rows, strict=True):
        last = own.filter(pl.col("end") == own["end"].max())
        drawing.label_ends(
            axes,
            int(last["end"][0]) / GIB,
            [
                drawing.Label(row[column] / unit, row["strategy"], colour(row["strategy"]))
                for row in last.iter_rows(named=True)
            ],
        )


# -- bars at one size -----------------------------------------------------------------------------


def _breakdown(rows: pl.DataFrame, at: int) -> Figure:
    profiles = list(rows["profile"].unique(maintain_order=True))
    first = rows.filter(pl.col("profile") == profiles[0])
    order = first.sort("time_ns.total", descending=True)["strategy"].to_list()
    share = _share(rows, "pins, validation")
    figure = drawing.titled(
        f"Half of the boots spend {share} of their time or more on pins and validation",
        f"simulated time of the direct map of a guest whose RAM ends at {format_size(at)}, by what "
        "it is spent on; a bar that ends in // is cut, its parts are in proportion",
        width=1.9 + 4.0 * len(profiles),
        height=1.7 + 0.31 * len(order),
    )
    grid = figure.subplots(1, len(profiles), squeeze=False, sharey=True)
    for axes, profile in zip(grid.flat, profiles, strict=True):
        own = {
            row["strategy"]: row
            for row in rows.filter(pl.col("profile") == profile).iter_rows(named=True)
        }
        _bars(axes, [own[strategy] for strategy in order])
        axes.set_title(profile)
        axes.set_xlabel("time, ms")
        axes.set_yticks(range(len(order)), order)
    handles = [drawing.swatch(shade, part) for part, (shade, _) in PARTS.items()]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8.5
    )
    return figure


def _bars(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    totals = sorted(row["time_ns.total"] / 1e6 for row in rows)
    # Much longer bars would hide the others: they are cut to the longest that is not.
    whole = max(total for total in totals if total <= 3 * totals[len(totals) // 2])
    for place, row in enumerate(rows):
        total = row["time_ns.total"] / 1e6
        scale = min(1.0, 1.06 * whole / total)
        left = 0.0
        for part, time_ns in spent(row).items():
            shade = PARTS[part][0] if part in PARTS else drawing.GREY
            width = time_ns / 1e6 * scale
            axes.barh(place, width, left=left, color=shade, height=0.74)
            left += width
        text = f"{total:,.0f}" if total >= 10 else f"{total:.2g}"
        text = f"// {text}" if scale < 1 else text
        axes.text(left + whole * 0.012, place, text, va="center", fontsize=7.5, color="#333333")
    axes.set_xlim(0, whole * 1.3)
    axes.xaxis.set_major_formatter(drawing.plain_numbers())


def _share(rows: pl.DataFrame, part: str) -> str:
    """What share of the time half of all boots spend on a part, or more."""
    shares = sorted(
        spent(row)[part] / sum(spent(row).values()) for row in rows.iter_rows(named=True)
    )
    return f"{shares[len(shares) // 2]:.0%}"


STUDY = Study(
    name="cost_of_a_fix",
    question="What does a correct fix cost, in hypercalls and in time, and where does that go?",
    sweep=sweep,
    keys=("machine.profile", "guest.e820", "guest.strategy"),
    answer=answer,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
