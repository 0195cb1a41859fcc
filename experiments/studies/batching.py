"""What batching buys: traps and time against the size of the kernel's multicall buffer.

The updates of the direct map are put off into a multicall buffer of 1 to 64 entries
(``strategy.batching``; Linux has 32), with 16 bytes for arguments to each entry. Lazy MMU mode
was off while 2.6.39 built its direct map, so this is what it could have been.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.errors import InputError
from experiments.studies import drawing
from experiments.studies.study import Answer, Study, main

STRATEGIES = ("reserve-hook", "tables-low", "mapped-only-6.1")
PROFILES = ("nehalem-2011", "skylake-2018-xpti", "modern-2023")
SIZES = (1, 2, 4, 8, 16, 32, 64)
LINUX_ENTRIES = 32
# Room for arguments by entry, and what an mmuext operation and an mmu_update request take of it
# (Linux 2.6.39 arch/x86/xen/multicalls.c; struct mmuext_op, struct mmu_update).
_ARGUMENT_BYTES, _OPERATION_BYTES, _REQUEST_BYTES = 16, 24, 16

_COLOURS = (drawing.BLUE, drawing.VERMILLION, drawing.GREEN, drawing.PURPLE, drawing.ORANGE)
_NONE = "none"


def sweep() -> dict[str, Any]:
    """These strategies without a buffer and with each size of it, for each profile."""
    return document("2GiB", STRATEGIES, PROFILES, SIZES)


def document(
    ram: str, strategies: Sequence[str], profiles: Sequence[str], sizes: Sequence[int]
) -> dict[str, Any]:
    """A sweep over these on a guest without holes."""
    return {
        "name": "batching",
        "machine": {"xen": "4.2dev"},
        "guest": {"kind": "domU", "ram": ram, "kernel_end": "44MiB"},
        "sweep": {
            "machine.profile": list(profiles),
            "guest.strategy": list(strategies),
            "strategy.batching": [_NONE, *sizes],
        },
    }


def answer(frame: pl.DataFrame) -> Answer:
    """Traps against the size, and how much of the time that saves."""
    rows = frame.with_columns(
        pl.Series("entries", map(_entries, frame["strategy.batching"]), pl.Int64)
    )
    crashed = rows.filter(pl.col("outcome") != "ok")["strategy"].unique(maintain_order=True)
    fixes = rows.filter(~pl.col("strategy").is_in(crashed.to_list()))
    with_buffer = pl.col("entries") > 0
    if fixes.filter(with_buffer).is_empty() or fixes.filter(~with_buffer).is_empty():
        raise InputError(
            "this study compares boots with and without a buffer: strategy.batching must be "
            '"none" and a number or more, and some strategy must boot with all of them'
        )
    numbers = fixes.select(
        "profile",
        "strategy",
        pl.col("entries").alias("buffer_entries"),
        pl.col("counts.traps").alias("traps"),
        pl.col("counts.multicall").alias("multicalls"),
        pl.col("counts.multicall_entries").alias("multicall_entries"),
        pl.col("time_ns.total").alias("time_ns"),
    )
    figures = {"traps": _traps(numbers), "time": _time(numbers)}
    lines = [_sentence(numbers, strategy) for strategy in _in_order(numbers, "strategy")]
    lines += _fill(fixes)
    if len(crashed):
        lines.append(f"left out, because they fail: {', '.join(crashed)}")
    return Answer(lines, figures, numbers)


def _entries(written: str | int) -> int:
    """Entries of the buffer; 0 for none."""
    word = str(written).strip('"')
    return 0 if word == _NONE else int(word)


def _in_order(rows: pl.DataFrame, column: str) -> list[str]:
    return rows[column].unique(maintain_order=True).to_list()


def _traps_by_size(numbers: pl.DataFrame, strategy: str) -> dict[int, int]:
    own = numbers.filter(
        (pl.col("strategy") == strategy) & (pl.col("profile") == numbers["profile"][0])
    ).sort("buffer_entries")
    return dict(zip(own["buffer_entries"], own["traps"], strict=True))


def _saved(numbers: pl.DataFrame, strategy: str, profile: str) -> dict[int, float]:
    """By size of the buffer, the share of the time that is saved."""
    own = numbers.filter((pl.col("strategy") == strategy) & (pl.col("profile") == profile))
    times = dict(zip(own["buffer_entries"], own["time_ns"], strict=True))
    return {entries: 1 - time / times[0] for entries, time in sorted(times.items()) if entries}


def _linux_or_largest(sizes: Mapping[int, Any]) -> int:
    return LINUX_ENTRIES if LINUX_ENTRIES in sizes else max(sizes)


def _sentence(numbers: pl.DataFrame, strategy: str) -> str:
    traps = _traps_by_size(numbers, strategy)
    at = _linux_or_largest(traps)
    saved = ", ".join(
        f"{_saved(numbers, strategy, profile)[at]:.1%} ({profile})"
        for profile in _in_order(numbers, "profile")
    )
    return (
        f"{strategy}: a buffer of {at} entries makes {traps[at]:,} traps of {traps[0]:,}, one of "
        f"{traps[0] / traps[at]:.0f}, and saves of the time {saved}"
    )


def _fill(frame: pl.DataFrame) -> list[str]:
    """What a trap carries: updates, and the bytes of their arguments."""
    first = frame.filter((pl.col("entries") > 0) & (pl.col("profile") == frame["profile"][0]))
    at = _linux_or_largest(dict.fromkeys(first["entries"].to_list()))
    lines = []
    for row in first.filter(pl.col("entries") == at).iter_rows(named=True):
        operations, requests = row["counts.mmuext_op"], row["counts.mmu_update_requests"]
        updates = row["counts.update_va_mapping"] + operations + requests
        arguments = _OPERATION_BYTES * operations + _REQUEST_BYTES * requests
        lines.append(
            f"{row['strategy']}: a trap then carries {updates / row['counts.traps']:.1f} updates "
            f"and {arguments / row['counts.traps']:.0f} of {at * _ARGUMENT_BYTES} bytes of "
            "arguments"
        )
    return lines


def _colours(numbers: pl.DataFrame) -> dict[str, str]:
    strategies = _in_order(numbers, "strategy")
    return {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(strategies)}


def _traps(numbers: pl.DataFrame) -> Figure:
    strategies = _in_order(numbers, "strategy")
    traps = {strategy: _traps_by_size(numbers, strategy) for strategy in strategies}
    first = traps[strategies[0]]
    at = _linux_or_largest(first)
    figure = drawing.titled(
        f"A buffer of {at} entries makes one trap of {first[0] / first[at]:.0f}",
        "traps into Xen while the direct map is built, against the size of the multicall buffer",
        width=7.4,
        height=4.6,
    )
    axes = figure.subplots()
    colours = _colours(numbers)
    for strategy, by_size in traps.items():
        _line(axes, list(by_size), list(by_size.values()), colours[strategy])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(drawing.plain_numbers())
    axes.yaxis.set_minor_formatter(drawing.no_labels())
    axes.set_ylabel("traps")
    _sizes(axes, list(first))
    last = max(first)
    drawing.label_ends(
        axes,
        _place(last),
        [drawing.Label(by_size[last], name, colours[name]) for name, by_size in traps.items()],
    )
    return figure


def _time(numbers: pl.DataFrame) -> Figure:
    profiles = _in_order(numbers, "profile")
    strategies = _in_order(numbers, "strategy")
    saved = {
        profile: {strategy: _saved(numbers, strategy, profile) for strategy in strategies}
        for profile in profiles
    }
    at = _linux_or_largest(saved[profiles[0]][strategies[0]])
    traps = _traps_by_size(numbers, strategies[0])
    least, most = (
        pick(saved[profile][strategies[0]][at] for profile in profiles) for pick in (min, max)
    )
    figure = drawing.titled(
        f"{1 - traps[at] / traps[0]:.0%} fewer traps save {least:.0%} to {most:.0%} of the time "
        f"({strategies[0]}, {at} entries)",
        "time of the direct map that a multicall buffer saves, against its size",
        width=0.6 + 3.9 * len(profiles),
        height=4.4,
    )
    grid = figure.subplots(1, len(profiles), squeeze=False, sharey=True)
    colours = _colours(numbers)
    for axes, profile in zip(grid.flat, profiles, strict=True):
        for strategy, by_size in saved[profile].items():
            shares = [100 * share for share in by_size.values()]
            _line(axes, list(by_size), shares, colours[strategy])
        axes.axhline(0, color="#555555", linewidth=0.8)
        axes.set_title(profile)
        _sizes(axes, list(saved[profile][strategies[0]]))
    grid[0][0].set_ylabel("time saved, % of the boot without a buffer")
    for axes, profile in zip(grid.flat, profiles, strict=True):
        drawing.label_ends(
            axes,
            _place(max(saved[profile][strategies[0]])),
            [
                drawing.Label(100 * by_size[max(by_size)], name, colours[name])
                for name, by_size in saved[profile].items()
            ],
        )
    return figure


def _place(entries: int) -> float:
    """Where a size stands: each doubling a step, and no buffer two steps before 1."""
    return entries.bit_length() + 1 if entries else 0


def _line(axes: Axes, sizes: Sequence[int], values: Sequence[float], colour: str) -> None:
    places = [_place(size) for size in sizes]
    axes.plot(places, values, color=colour, marker="o", markersize=4, linewidth=1.4)


def _sizes(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xticks(
        [_place(size) for size in sizes], [str(size) if size else "none" for size in sizes]
    )
    axes.set_xlabel("entries of the multicall buffer")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)


STUDY = Study(
    name="batching",
    question="What does it save to put page-table updates off into multicalls?",
    sweep=sweep,
    keys=("machine.profile", "guest.strategy", "strategy.batching"),
    answer=answer,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
