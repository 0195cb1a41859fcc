"""A direct map that several vCPUs build together: which strategies stay correct, what is gained.

A what-if, since no kernel does so. Every strategy that boots this guest on one vCPU boots it on
two, four and eight, with equal shares of the RAM. An entry above L1 that two shares need is either
filled under a lock by whoever comes first, or made and entered while it is empty. Pages for tables
come from the one buffer, each taken and mapped under a lock. A boot that comes out well proves
nothing about other orders: those are for exploring (``parallel-boot-tiny``).
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.errors import InputError
from experiments.studies import drawing
from experiments.studies.study import Answer, Study, main

STRATEGIES = (
    "tables-low",
    "tables-high",
    "ro-window",
    "reserve-hook",
    "hook-walk",
    "deferred-ro-early",
    "publish-free",
    "tables-first",
    "patch-alias",
    "mapped-only-3.10",
    "mapped-only-6.1",
)
"""Left out: hook-walk-literal, deferred-ro and alloc-only are refused on one vCPU already,
auto-translated and offline-pin have no ranges to share out, shadow paging is modelled for one vCPU,
ptwr-fill and mapped-only-5.10 take a trap for each leaf, slow to simulate among other vCPUs."""
WAYS = ("lock", "enter-empty")
VCPUS = (1, 2, 4, 8)
LOCKS = ("table pages", "entries above L1", "flush_lock", "page locks")
"""Locks of the guest's, then of the hypervisor's."""

_WAYS = {
    "lock": "filled under a lock",
    "enter-empty": "entered while empty",
    "unlocked": "no precaution",
}
_COLOURS = (drawing.BLUE, drawing.VERMILLION, drawing.GREEN, drawing.PURPLE, drawing.ORANGE,
            drawing.SKY, drawing.BLACK, drawing.GREY)  # fmt: skip
_FAILED = drawing.VERMILLION


class Boot(NamedTuple):
    """One cell."""

    strategy: str
    way: str
    vcpus: int
    verdict: str
    """``ok``, ``latent``, or what kind of crash."""
    time_ns: int
    waits_ns: tuple[int, ...]
    """For each of the kinds of locks."""
    lock_wait_ns: int
    """All waiting of all vCPUs, acknowledgements of flushes included."""
    tlb_ns: int
    """All flushing of all vCPUs."""


def sweep() -> dict[str, Any]:
    """These strategies on each number of vCPUs, both ways of sharing upper tables."""
    return document("2GiB", STRATEGIES, WAYS, VCPUS)


def document(
    ram: str, strategies: Sequence[str], ways: Sequence[str], vcpus: Sequence[int]
) -> dict[str, Any]:
    """A sweep over these on a guest without holes."""
    return {
        "name": "parallel_boot",
        "machine": {"xen": "4.2dev", "profile": "nehalem-2011"},
        "guest": {"kind": "domU", "ram": ram, "kernel_end": "44MiB"},
        "workload": {"kind": "parallel-boot"},
        "sweep": {
            "guest.strategy": list(strategies),
            "workload.shared_tables": list(ways),
            "guest.vcpus": list(vcpus),
        },
    }


def answer(frame: pl.DataFrame) -> Answer:
    """Who boots on how many vCPUs, and how much sooner than on one."""
    boots = [_boot(row) for row in frame.iter_rows(named=True)]
    alone = {(b.strategy, b.way): b.time_ns for b in boots if b.vcpus == 1 and b.verdict == "ok"}
    if not alone or max(boot.vcpus for boot in boots) == 1:
        raise InputError(
            "this study compares boots on several vCPUs with those on one: guest.vcpus must be 1 "
            "and more, and some strategy must boot on one"
        )
    gains = {
        boot: alone[boot.strategy, boot.way] / boot.time_ns
        for boot in boots
        if boot.verdict == "ok" and (boot.strategy, boot.way) in alone
    }
    numbers = pl.DataFrame(
        [
            {
                "strategy": boot.strategy,
                "shared_tables": boot.way,
                "vcpus": boot.vcpus,
                "verdict": boot.verdict,
                "time_ns": boot.time_ns,
                "gain": gains.get(boot),
                "lock_wait_ns": boot.lock_wait_ns,
                "tlb_ns": boot.tlb_ns,
                **{f"{lock}, wait ns": ns for lock, ns in zip(LOCKS, boot.waits_ns, strict=True)},
            }
            for boot in boots
        ]
    )
    figures = {"verdicts": _verdicts(boots, gains), "gain": _gain(boots, gains)}
    ways = list(dict.fromkeys(boot.way for boot in boots))
    lines = [line for way in ways for line in _sentences(way, boots, gains)]
    return Answer(lines, figures, numbers)


def _boot(row: dict[str, Any]) -> Boot:
    verdict = row["outcome"] if row["outcome"] in ("ok", "latent") else row["failure.kind"]
    waits = tuple(row.get(f"parallel.locks.{lock}.wait_ns") or 0 for lock in LOCKS)
    way = str(row["workload.shared_tables"]).strip('"')
    vcpus = int(row["guest.vcpus"])
    return Boot(
        row["strategy"],
        way,
        vcpus,
        str(verdict),
        row["time_ns.total"],
        waits,
        row["time_ns.lock_wait"],
        row["time_ns.tlb"],
    )


def _sentences(way: str, boots: Sequence[Boot], gains: dict[Boot, float]) -> list[str]:
    own = [boot for boot in boots if boot.way == way]
    most = max(boot.vcpus for boot in own)
    lines = []
    for strategy in dict.fromkeys(boot.strategy for boot in own):
        cells = [boot for boot in own if boot.strategy == strategy]
        failed = [f"{boot.verdict} on {boot.vcpus}" for boot in cells if boot.verdict != "ok"]
        if failed:
            told = f"fails ({', '.join(failed)} vCPUs)"
        else:
            last = next(boot for boot in cells if boot.vcpus == most)
            first = min(cells, key=lambda boot: boot.vcpus)
            ns, worst = max(zip(last.waits_ns, LOCKS, strict=True))
            told = (
                f"boots on all; {first.time_ns / 1e6:.1f} ms on {first.vcpus}, "
                f"{last.time_ns / 1e6:.1f} ms on {most} ({gains[last]:.1f} times as fast); "
                f"flushes {first.tlb_ns / 1e6:.1f} and {last.tlb_ns / 1e6:.1f} ms in all"
            )
            if ns:
                told += f"; waits most for {worst}, {ns / 1e6:.2f} ms in all"
        lines.append(f"{_WAYS.get(way, way)}: {strategy} {told}")
    return lines


def _verdicts(boots: Sequence[Boot], gains: dict[Boot, float]) -> Figure:
    """A cell a boot: how much sooner than on one vCPU, or how it fails."""
    strategies = list(dict.fromkeys(boot.strategy for boot in boots))
    ways = list(dict.fromkeys(boot.way for boot in boots))
    counts = sorted({boot.vcpus for boot in boots})
    stay = sum(
        all(boot.verdict == "ok" for boot in boots if boot.strategy == name) for name in strategies
    )
    figure = drawing.titled(
        f"{stay} of {len(strategies)} strategies boot on every number of vCPUs in both ways",
        "how many times as fast as on one vCPU, or how it fails; shared tables above L1 are ...",
        width=1.8 + 2.9 * len(ways),
        height=1.5 + 0.3 * len(strategies),
    )
    grid = figure.subplots(1, len(ways), squeeze=False, sharey=True)
    for axes, way in zip(grid.flat, ways, strict=True):
        for boot in boots:
            if boot.way == way:
                _cell(axes, counts.index(boot.vcpus), strategies.index(boot.strategy), boot, gains)
        axes.set_xlim(-0.5, len(counts) - 0.5)
        axes.set_ylim(len(strategies) - 0.5, -0.5)
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.set_yticks(range(len(strategies)), strategies)
        axes.tick_params(length=0)
        axes.set_title(f"... {_WAYS.get(way, way)}")
        axes.set_xlabel("vCPUs")
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def _cell(axes: Axes, x: int, y: int, boot: Boot, gains: dict[Boot, float]) -> None:
    well = boot.verdict == "ok"
    face = drawing.PALE if well else _FAILED
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="white"))
    text = f"{gains[boot]:.1f}" if boot in gains else boot.verdict
    colour = "#333333" if well else "white"
    axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)


def _gain(boots: Sequence[Boot], gains: dict[Boot, float]) -> Figure:
    """Lines of those that boot on every number of vCPUs."""
    ways = list(dict.fromkeys(boot.way for boot in boots))
    curves: dict[tuple[str, str], list[float]] = {}
    for way, name in dict.fromkeys((boot.way, boot.strategy) for boot in boots):
        own = [boot for boot in boots if (boot.way, boot.strategy) == (way, name)]
        if all(boot in gains for boot in own):
            curves[way, name] = [gains[boot] for boot in sorted(own, key=lambda b: b.vcpus)]
    strategies = list(dict.fromkeys(name for _, name in curves))
    colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(strategies)}
    counts = sorted({boot.vcpus for boot in boots})
    best = max(gains.values())
    figure = drawing.titled(
        f"{counts[-1]} vCPUs build the map up to {best:.1f} times as fast as one",
        "time on one vCPU over time on several, of those that boot on all; dotted: the number "
        "of vCPUs; shared tables above L1 are ...",
        width=0.8 + 4.2 * len(ways),
        height=4.8,
    )
    grid = figure.subplots(1, len(ways), squeeze=False, sharey=True)
    for axes, way in zip(grid.flat, ways, strict=True):
        axes.plot(range(len(counts)), counts, color="#999999", linestyle=":", linewidth=1)
        axes.set_yscale("log", base=2)
        axes.set_ylim(0.9, counts[-1] * 1.1)
        axes.yaxis.set_major_formatter(drawing.plain_numbers())
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.set_xlabel("vCPUs")
        axes.set_title(f"... {_WAYS.get(way, way)}")
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    grid[0][0].set_ylabel("times as fast as on one vCPU")
    for axes, way in zip(grid.flat, ways, strict=True):
        labels = []
        for name in strategies:
            values = curves.get((way, name))
            if values is not None:
                colour = colours[name]
                places = range(len(counts))
                axes.plot(places, values, color=colour, marker="o", markersize=3.5, linewidth=1.3)
                labels.append(drawing.Label(values[-1], name, colour))
        drawing.label_ends(axes, len(counts) - 1, labels)
    return figure


STUDY = Study(
    name="parallel_boot",
    question="Which strategies stay correct if several vCPUs build the direct map? What is gained?",
    sweep=sweep,
    keys=("guest.strategy", "workload.shared_tables", "guest.vcpus"),
    answer=answer,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
