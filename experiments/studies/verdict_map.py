"""What fails where: strategies over the end of RAM and over what lies under it unused.

Tables that lie in what is to be mapped go to the top of RAM; a hole there, or a reservation, pushes
them down. Each panel is a strategy, each cell the boot of one guest. Its memory map has a hole of
some size and above it 64 KiB of RAM, too little for the tables: as a PC's map has, and as
the dom0 of 2011 must have had one. Nothing is mapped early after the direct map, and the next thing
that the kernel allocates and writes to is NODE_DATA, as on the AMD machines of 2011.

The close-up boots ``tables-high`` on guests that end anywhere in a region of 2 MiB.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import msgspec
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.studies import drawing
from experiments.studies.study import Answer, Study, main

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

PANELS = (
    ("tables-low", "none"),
    ("tables-high", "none"),
    ("tables-high", 32),
    ("ro-window", "none"),
    ("reserve-hook", "none"),
    ("hook-walk-literal", "none"),
    ("hook-walk", "none"),
    ("deferred-ro", "none"),
    ("deferred-ro-early", "none"),
    ("alloc-only", "none"),
    ("patch-alias", "none"),
    ("mapped-only-6.1", "none"),
)
"""Strategies, and the entries of the multicall buffer into which their updates are put off."""

ENDS = (
    256 * MIB,
    512 * MIB,
    GIB,
    1090 * MIB,
    2 * GIB,
    2100 * MIB + 32 * KIB,
    5 * GIB + 8 * MIB,
    9 * GIB,
)
UNDER = (0, MIB, 2 * MIB, 20 * MIB)
"""Bytes under the end of RAM that the tables cannot use: a hole and what lies above it."""

CLOSE_ENDS = range(1040 * MIB + 256 * KIB, 1042 * MIB + 1, 256 * KIB)
CLOSE_UNDER = (0, *range(192 * KIB, 2304 * KIB, 128 * KIB))
_ABOVE_HOLE = 64 * KIB

# What became of a guest: how a cell is painted, and what is written in it.
_LOOKS = {
    "ok": (drawing.PALE, drawing.GREY),
    "pin": (drawing.VERMILLION, "white"),
    "hook": (drawing.ORANGE, "black"),
    "oops": (drawing.BLUE, "white"),
    "latent": (drawing.YELLOW, "black"),
}
_OTHER = (drawing.BLACK, "white")
_WORDS = {
    "pin": "crash: a pin is refused",
    "hook": "crash: entering a table is refused",
    "oops": "crash: a store faults",
    "latent": "up, with entries missing",
}


def sweep() -> dict[str, Any]:
    """The sweep: all strategies on the machines of the map, one on those of the close-up."""
    cells = [
        *product(PANELS, product(ENDS, UNDER)),
        *product([("tables-high", "none")], product(CLOSE_ENDS, CLOSE_UNDER)),
    ]
    return document((*panel, *machine) for panel, machine in cells)


def document(cells: Iterable[tuple[str, str | int, int, int]]) -> dict[str, Any]:
    """A sweep over these: strategy, batching, end of RAM and bytes under it, in bytes."""
    strategies, batching, ends, under = zip(*cells, strict=True)
    return {
        "name": "verdict-map",
        "machine": {"xen": "4.2dev", "profile": "nehalem-2011"},
        "guest": {
            "kind": "domU",
            "kernel_end": "20MiB",
            "early_mapping_after": False,
            "after_mapping": [{"alloc": "NODE_DATA", "size": "0x5000"}],
        },
        "sweep": {
            "zip": [
                {
                    "guest.strategy": list(strategies),
                    "strategy.batching": list(batching),
                    "guest.e820": [memory_map(*at) for at in zip(ends, under, strict=True)],
                }
            ]
        },
    }


def memory_map(end: int, under: int) -> list[list[str]]:
    """RAM up to ``end``, with a hole so that ``under`` bytes below it are no place for tables."""
    if not under:
        return [["0x0", hex(end)]]
    return [["0x0", hex(end - under)], [hex(end - _ABOVE_HOLE), hex(end)]]


class Boot(NamedTuple):
    """A cell of the map."""

    panel: str
    end: int
    under: int
    verdict: str
    """``ok``, ``latent``, or the kind of the crash."""


def boots(frame: pl.DataFrame) -> list[Boot]:
    """The cells of a sweep over ``guest.e820``."""
    return [_boot(row) for row in frame.iter_rows(named=True)]


def _boot(row: Mapping[str, Any]) -> Boot:
    ranges: list[tuple[int, int]] = msgspec.json.decode(row["guest.e820"])
    # A column of words and numbers holds JSON.
    entries = str(row.get("strategy.batching", "none")).strip('"')
    panel = row["strategy"] if entries == "none" else f"{row['strategy']}, batches of {entries}"
    verdict = row["outcome"] if row["outcome"] == "ok" else row["failure.kind"]
    end = ranges[-1][1]
    # As far as a hole reaches down; holes that other maps have further below do not count.
    under = end - ranges[-2][1] if len(ranges) > 1 else 0
    return Boot(panel, end, under, verdict)


def answer(frame: pl.DataFrame) -> Answer:
    """The map of what all strategies met, and the close-up of what only one did."""
    found = boots(frame)
    panels = list(dict.fromkeys(boot.panel for boot in found))
    met: dict[tuple[int, int], set[str]] = {}
    for boot in found:
        met.setdefault((boot.end, boot.under), set()).add(boot.panel)
    shared = [boot for boot in found if len(met[boot.end, boot.under]) == len(panels)]
    by_itself = [boot for boot in found if len(met[boot.end, boot.under]) == 1 < len(panels)]
    alone = [boot for boot in by_itself if boot.panel == by_itself[0].panel]
    figures = {"verdict_map": _map(shared)} if shared else {}
    if any(boot.verdict != "ok" for boot in alone):
        figures["verdict_boundary"] = _close_up(alone)
    numbers = pl.DataFrame(
        [boot._asdict() for boot in found],
        schema={"panel": pl.String, "end": pl.Int64, "under": pl.Int64, "verdict": pl.String},
    ).rename({"end": "end_bytes", "under": "under_bytes"})
    return Answer([*_tally(shared, panels), *_boundary(alone)], figures, numbers)


def _tally(shared: Sequence[Boot], panels: Sequence[str]) -> list[str]:
    """A sentence a strategy."""
    lines = []
    for panel in panels:
        verdicts = [boot.verdict for boot in shared if boot.panel == panel]
        kinds = [kind for kind in dict.fromkeys(verdicts) if kind != "ok"]
        failed = ", ".join(f"{kind} {verdicts.count(kind)}" for kind in kinds)
        lines.append(
            f"{panel}: boots {verdicts.count('ok')} of {len(verdicts)}"
            f"{f' ({failed})' if failed else ''}"
        )
    return lines


def _boundary(alone: Sequence[Boot]) -> list[str]:
    """Where the crashes of the close-up begin, for each end of RAM."""
    lines = []
    for end in sorted({boot.end for boot in alone}):
        failing = [b.under for b in alone if b.end == end and b.verdict != "ok"]
        begins = f"from {min(failing) // KIB:,} KiB" if failing else "nowhere"
        within = end % (2 * MIB) or 2 * MIB
        lines.append(
            f"{alone[0].panel}, {within // KIB:,} KiB in the last region: crashes {begins} under "
            "the end of RAM"
        )
    return lines


def _map(shared: Sequence[Boot]) -> Figure:
    panels = list(dict.fromkeys(boot.panel for boot in shared))
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    kinds = [kind for kind in _WORDS if any(boot.verdict == kind for boot in shared)]
    told = ["pale: the guest boots", *(f"{kind}: {_WORDS[kind]}" for kind in kinds)]
    figure = drawing.titled(
        _message(shared, panels),
        "; ".join(told),
        width=0.4 + 2.7 * columns,
        height=1.4 + 1.6 * rows,
    )
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        own = [boot for boot in shared if boot.panel == panel]
        _cells(axes, own)
        failures = sum(boot.verdict != "ok" for boot in own)
        axes.set_title(panel, fontweight="bold" if failures else "normal")
    figure.supxlabel("end of RAM", fontsize=9)
    figure.supylabel("hole under the end of RAM, with the 64 KiB above it, MiB", fontsize=9)
    return figure


def _message(shared: Sequence[Boot], panels: Sequence[str]) -> str:
    booted = [[boot.verdict == "ok" for boot in shared if boot.panel == panel] for panel in panels]
    always, never = sum(map(all, booted)), sum(not any(own) for own in booted)
    return (
        f"Of {len(panels)} ways to publish page tables, {always} boot on every memory map, "
        f"{never} on none, and {len(panels) - always - never} where the map lets them"
    )


def _cells(axes: Axes, own: Sequence[Boot]) -> None:
    ends = sorted({boot.end for boot in own})
    unders = sorted({boot.under for boot in own})
    for boot in own:
        x, y = ends.index(boot.end), unders.index(boot.under)
        face, ink = _LOOKS.get(boot.verdict, _OTHER)
        axes.add_patch(_cell(x, y, face))
        if boot.verdict != "ok":
            axes.text(
                x, y, boot.verdict, ha="center", va="center", color=ink, fontsize=6, clip_on=True
            )
    axes.set_xlim(-0.5, len(ends) - 0.5)
    axes.set_ylim(-0.5, len(unders) - 0.5)
    axes.set_xticks(range(len(ends)), [_size(end) for end in ends], rotation=90, fontsize=7)
    axes.set_yticks(range(len(unders)), [f"{under / MIB:g}" for under in unders], fontsize=7)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cell(x: int, y: int, face: str) -> Rectangle:
    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=1)


def _size(size: int) -> str:
    """An end of RAM, short: with what it has beyond whole MiB."""
    if size % GIB == 0:
        return f"{size // GIB} GiB"
    whole, rest = divmod(size, MIB)
    if whole > 4096 and not rest:
        return f"{whole // 1024} GiB+{whole % 1024} MiB"
    return f"{whole} MiB" + (f"+{rest // KIB} KiB" if rest else "")


def _close_up(alone: Sequence[Boot]) -> Figure:
    panel = alone[0].panel
    figure = drawing.titled(
        f"{panel} crashes once the tables end below the last region of 2 MiB",
        "each cell the boot of a guest; of what is reserved below the hole, the last pages are "
        "left over",
        width=7.4,
        height=5.2,
    )
    axes = figure.subplots()
    ends = sorted({boot.end for boot in alone})
    unders = sorted({boot.under for boot in alone})
    for boot in alone:
        face, _ = _LOOKS.get(boot.verdict, _OTHER)
        axes.add_patch(_cell(ends.index(boot.end), unders.index(boot.under), face))
    axes.set_xlim(-0.5, len(ends) - 0.5)
    axes.set_ylim(-0.5, len(unders) - 0.5)
    axes.set_aspect("auto")
    within = [f"{(end % (2 * MIB) or 2 * MIB) // KIB:,}" for end in ends]
    axes.set_xticks(range(len(ends)), within)
    axes.set_yticks(range(len(unders)), [f"{under // KIB:,}" for under in unders])
    axes.tick_params(length=0)
    axes.set_xlabel(f"RAM in its last region of 2 MiB, KiB (all guests end near {_size(ends[0])})")
    axes.set_ylabel("hole under the end of RAM, with the 64 KiB above it, KiB")
    for verdict, (face, ink) in _LOOKS.items():
        places = [(ends.index(b.end), unders.index(b.under)) for b in alone if b.verdict == verdict]
        if places:
            x, y = _middle(places)
            words = _WORDS.get(verdict, "boots")
            axes.text(
                x,
                y,
                words,
                ha="center",
                va="center",
                fontsize=11,
                color="#333333" if verdict == "ok" else ink,
                bbox={"facecolor": face, "edgecolor": "none", "pad": 3},
            )
    return figure


def _middle(places: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The middle of a region's cells."""
    return (
        sum(x for x, _ in places) / len(places),
        sum(y for _, y in places) / len(places),
    )


STUDY = Study(
    name="verdict_map",
    question="Which way of publishing page tables fails on which memory map?",
    sweep=sweep,
    keys=("guest.strategy", "guest.e820"),
    answer=answer,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
