"""What the mails of May 2011 could have known: the mapping that no walk reaches can be changed.

The mail of 24 May 2011 takes that mapping for out of reach, as the kernel's walk does not come to
it: a walk needs a path from the top-level table. mmu_update does not: it takes the machine
address of the entry, and the kernel knows which of its tables holds it, for it has just filled it.
``patch-alias`` is the kernel of 2.6.39-rc5 with that one call.

Guests of round sizes, the one of the revert log (Linux 92bdaef7b2c5) and random ones are booted as
``tables-high``, which crashes, as ``reserve-hook``, which 2.6.39 was released with, and as
``patch-alias``. What it rests on is checked against programs recorded on a running Xen
(``unreachable_alias.json``).
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from experiments.conformance.bench import Difference, differences
from experiments.conformance.vectors import Program, load_programs
from experiments.errors import InputError
from experiments.scenario.quantities import format_duration, format_size
from experiments.studies import drawing
from experiments.studies.study import Answer, Study, main

PAGE, MIB, GIB = 1 << 12, 1 << 20, 1 << 30

BUG, RELEASED, PATCHED = "tables-high", "reserve-hook", "patch-alias"
RECORDINGS = Path(__file__).with_name("unreachable_alias.json")
_SEED = 20110524
_RANDOM_GUESTS = 16


class MemoryMap(NamedTuple):
    """What a guest is given; everything in bytes."""

    ranges: tuple[tuple[int, int], ...]
    kernel_end: int
    slack: int = 0


NAMED = {
    "512 MiB": MemoryMap(((0, 512 * MIB),), 44 * MIB),
    "2 GiB": MemoryMap(((0, 2 * GIB),), 44 * MIB),
    "4 GiB": MemoryMap(((0, 4 * GIB),), 44 * MIB),
    # The message of Linux 92bdaef7b2c5; the same guest as the scenario domU-7.5GiB-2011.
    "7.5 GiB, the revert log": MemoryMap(((0, 0x1E0800000),), 0x2C3A000, 8 * MIB),
    "64 GiB": MemoryMap(((0, 64 * GIB),), 44 * MIB),
}


def sweep() -> dict[str, Any]:
    """Named and random guests under the three strategies."""
    return document([*NAMED.values(), *random_maps(_RANDOM_GUESTS, _SEED)])


def document(maps: Sequence[MemoryMap]) -> dict[str, Any]:
    """A sweep over these."""
    return {
        "name": "what-the-thread-could-have-known",
        "machine": {"xen": "4.17", "profile": "nehalem-2011"},
        "guest": {"kind": "domU"},
        "sweep": {
            "zip": [
                {
                    "guest.e820": [
                        [[hex(start), hex(end)] for start, end in guest.ranges] for guest in maps
                    ],
                    "guest.kernel_end": [hex(guest.kernel_end) for guest in maps],
                    "guest.slack": [hex(guest.slack) for guest in maps],
                }
            ],
            "guest.strategy": [BUG, RELEASED, PATCHED],
        },
    }


def random_maps(number: int, seed: int) -> list[MemoryMap]:
    """Guests of 0.5 to 9 GiB, with holes of up to 20,000 pages under the end of their RAM."""
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(number):
        kernel_end = int(rng.integers(20, 201)) * MIB
        end = int(rng.integers(300 * MIB // PAGE + 60_000, 9 * GIB // PAGE)) * PAGE
        hole, above = int(rng.integers(0, 20_000)) * PAGE, int(rng.integers(4, 3000)) * PAGE
        slack = int(rng.choice([0, 8 * MIB]))
        ranges = ((0, end - above - hole), (end - above, end)) if hole else ((0, end),)
        # The toolstack adds its slack on top of what is there.
        *below, (start, top) = ranges
        maps.append(MemoryMap((*below, (start, top + slack)), kernel_end, slack))
    return maps


def answer(frame: pl.DataFrame) -> Answer:
    """How many patches, what they cost, and whether a real Xen takes them."""
    guests = _guests(frame)
    figures = {"patches": _patches(guests), "hypercalls": _hypercalls(guests)}
    sentences = [*_sentences(guests), *recorded()]
    return Answer(sentences, figures, guests)


def _guests(frame: pl.DataFrame) -> pl.DataFrame:
    """A row a guest, from a row for each of the three boots."""
    machine = ["guest.e820", "guest.kernel_end", "guest.slack"]
    of = {
        strategy: {
            tuple(row[key] for key in machine): row
            for row in frame.filter(pl.col("strategy") == strategy).iter_rows(named=True)
        }
        for strategy in (BUG, RELEASED, PATCHED)
    }
    for strategy, found in of.items():
        if not found or found.keys() != of[PATCHED].keys():
            raise InputError(
                f"this study boots every guest under {BUG}, {RELEASED} and {PATCHED}; with "
                f"{strategy} its sweep has others"
            )
    rows = [_row(of[BUG][guest], of[RELEASED][guest], of[PATCHED][guest]) for guest in of[PATCHED]]
    return pl.DataFrame(rows).sort("end_bytes")


def _row(
    bug: Mapping[str, Any], released: Mapping[str, Any], patched: Mapping[str, Any]
) -> dict[str, Any]:
    ranges = tuple(map(tuple, msgspec.json.decode(patched["guest.e820"])))
    guest = MemoryMap(ranges, patched["guest.kernel_end"], patched["guest.slack"])
    name = next((name for name, known in NAMED.items() if known == guest), None)
    return {
        "guest": name,
        "end_bytes": ranges[-1][1],
        "kernel_end_bytes": guest.kernel_end,
        "slack_bytes": guest.slack,
        f"{BUG} outcome": bug["outcome"],
        f"{RELEASED} outcome": released["outcome"],
        f"{PATCHED} outcome": patched["outcome"],
        # The two hook the same tables; what patch-alias updates more are leaves by machine address.
        "patches": patched["counts.mmu_update"] - released["counts.mmu_update"],
        f"{RELEASED} hypercalls": released["counts.traps"],
        f"{PATCHED} hypercalls": patched["counts.traps"],
        f"{RELEASED} time_ns": released["time_ns.total"],
        f"{PATCHED} time_ns": patched["time_ns.total"],
    }


def _sentences(guests: pl.DataFrame) -> list[str]:
    crashed = guests.filter(pl.col(f"{BUG} outcome") != "ok")
    failed = guests.filter(pl.col(f"{PATCHED} outcome") != "ok")
    lines = [
        f"{BUG} crashes on {len(crashed)} of {len(guests)} guests, {PATCHED} on {len(failed)}",
        f"patches in a boot: {_most(guests)} at most",
    ]
    for row in guests.filter(pl.col("guest").is_not_null()).iter_rows(named=True):
        times = [format_duration(row[f"{name} time_ns"]) for name in (PATCHED, RELEASED)]
        lines.append(
            f"{row['guest']}: {row['patches']} patched; hypercalls "
            f"{row[f'{PATCHED} hypercalls']:,} ({RELEASED} {row[f'{RELEASED} hypercalls']:,}), "
            f"time {times[0]} ({times[1]})"
        )
    return lines


def _most(guests: pl.DataFrame) -> int:
    return max(map(int, guests["patches"]))


# -- figures ------------------------------------------------------------------------------------


def _patches(guests: pl.DataFrame) -> Figure:
    crashed = pl.col(f"{BUG} outcome") != "ok"
    failed = guests.filter(pl.col(f"{PATCHED} outcome") != "ok").height
    figure = drawing.titled(
        f"{guests.filter(crashed).height} of {len(guests)} guests crash under {BUG}; "
        f"{_most(guests)} changed entries or fewer let "
        f"{f'all but {failed}' if failed else 'each'} of them boot",
        f"leaves that {PATCHED} changes by machine address in the boot of a guest, over the end of "
        "its RAM",
        width=7.6,
        height=4.8,
    )
    axes = figure.subplots()
    for rows, colour, words in (
        (guests.filter(crashed), drawing.VERMILLION, f"crashes under {BUG}"),
        (guests.filter(~crashed), drawing.BLUE, f"boots under {BUG}"),
    ):
        axes.plot(
            rows["end_bytes"] / GIB,
            rows["patches"],
            linestyle="none",
            marker="o",
            markersize=6,
            color=colour,
            alpha=0.85,
            label=words,
        )
    for row in guests.filter(pl.col("guest").is_not_null() & crashed).iter_rows(named=True):
        axes.annotate(
            f"{row['guest']}: {row['patches']}",
            (row["end_bytes"] / GIB, row["patches"]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=drawing.VERMILLION,
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(drawing.plain_numbers())
    axes.xaxis.set_minor_locator(drawing.no_ticks())
    axes.set_xlabel("end of RAM, GiB")
    axes.set_ylabel("patched leaves")
    axes.margins(x=0.12, y=0.15)
    axes.set_ylim(bottom=min(-1.0, -0.04 * _most(guests)))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.legend(frameon=False, loc="best", handletextpad=0.2)
    return figure


def _hypercalls(guests: pl.DataFrame) -> Figure:
    named = guests.filter(pl.col("guest").is_not_null())
    rows = list((named if len(named) else guests).iter_rows(named=True))
    saved = [row[f"{RELEASED} hypercalls"] - row[f"{PATCHED} hypercalls"] for row in rows]
    fewer = sum(number > 0 for number in saved)
    figure = drawing.titled(
        f"Patching takes fewer hypercalls than {RELEASED}"
        if fewer == len(rows)
        else f"Patching takes fewer hypercalls than {RELEASED} on {fewer} of {len(rows)} guests",
        f"share of the hypercalls of {RELEASED} that {PATCHED} saves: the pages left over, which "
        "it need not give back, less its patches",
        width=7.6,
        height=1.5 + 0.42 * len(rows),
    )
    axes = figure.subplots()
    for place, (row, number) in enumerate(zip(rows, saved, strict=True)):
        before, after = row[f"{RELEASED} hypercalls"], row[f"{PATCHED} hypercalls"]
        share = 100 * number / before
        axes.barh(place, share, color=drawing.BLUE, height=0.6)
        axes.annotate(
            f"{before:,} to {after:,}",
            (max(share, 0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    names = [row["guest"] or format_size(row["end_bytes"]) for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.xaxis.set_major_formatter(drawing.plain_numbers())
    axes.set_xlabel("hypercalls saved, %")
    return figure


# -- what was recorded --------------------------------------------------------------------------


def recorded(path: Path = RECORDINGS) -> list[str]:
    """The recorded programs with their answers, and whether the model gives the same.

    Raises:
        InputError: the file cannot be used.
    """
    lines = []
    for program in load_programs(path):
        vector = program.vector
        found = differences(program)
        told = "the model answers alike" if not found else f"the model differs: {_told(found)}"
        lines.append(f"{vector.name} ({vector.version}; {vector.source}): {told}")
        if vector.version == "4.17":
            lines += _steps(program)
    return lines


def _told(found: Sequence[Difference]) -> str:
    return "; ".join(f"{d.where} {d.what} {d.got}, not {d.expected}" for d in found)


def _steps(program: Program) -> list[str]:
    """What was done, what Xen answered, and the type words that it left."""
    vector = program.vector
    lines = []
    for op, result, words in zip(vector.ops, vector.expect or (), vector.after or (), strict=True):
        left = ", ".join(
            f"{mfn} {word['type_info']}"
            for mfn, word in (words or {}).items()
            if int(word["type_info"], 16)
        )
        told = " ".join(map(_word, op))
        lines.append(f"    {told} gives {result}{f'; {left}' if left else ''}")
    return lines


def _word(part: object) -> str:
    return " ".join(map(str, part)) if isinstance(part, list) else str(part)


STUDY = Study(
    name="what_the_thread_could_have_known",
    question="The mapping that no walk reaches: how often must it be changed by machine address, "
    "what does that cost, and does Xen allow it?",
    sweep=sweep,
    keys=("guest.e820", "guest.kernel_end", "guest.slack", "guest.strategy"),
    answer=answer,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
