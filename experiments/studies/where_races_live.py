"""Where races live: their odds against vCPUs per pCPU, and against what a hypercall costs.

Every race of two vCPUs is sampled without its fix, with a pCPU for each and with busy vCPUs of
another domain beside them on the same two pCPUs; and with hypercalls from the cheapest to the
dearest that the latency profile's range has. All cells of a race have the same seeds, so
differences are taken between runs that drew the same numbers.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from experiments.errors import InputError
from experiments.studies.study import Answer, run_app, study_app

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.odds.estimate import Over

NAME = "where_races_live"
QUESTION = "Where do races live: how do their odds move with shared pCPUs and dearer hypercalls?"

RUNS: Mapping[str, int] = {
    "R1": 60, "R2": 60, "R3": 60, "R4": 200, "R5": 60, "R6": 24, "R8": 40, "R13": 64, "R16": 200,
}  # fmt: skip
"""How often each is run for a point: what takes some seconds of CPU."""
LOADS = (0, 2, 4)
"""Busy vCPUs of another domain beside the guest's two."""
PCPUS = 2
PROFILE = "modern-2023"
HYPERCALL_NS = (90, 140, 300)
"""The range of the profile's null hypercall; 140 is its own."""
_OWN_NS = 140
_CONTAIN_A_HYPERCALL = ("update_va_mapping", "pin_l1_fixed", "new_baseptr")

Row = Mapping[str, Any]
Tell = Callable[[str], object]


class Cell(NamedTuple):
    """One point: a race under some settings."""

    race: str
    load: int
    hypercall_ns: int
    runs: int


def cells(runs: Mapping[str, int] = RUNS) -> list[Cell]:
    """Every race with each load, and with each cost of a hypercall."""
    return [
        Cell(race, load, hypercall_ns, number)
        for race, number in runs.items()
        for load, hypercall_ns in (
            *((load, _OWN_NS) for load in LOADS),
            *((0, ns) for ns in HYPERCALL_NS if ns != _OWN_NS),
        )
    ]


def settings(cell: Cell) -> list[str]:
    """The same as ``--set`` would have it."""
    from models.profiles.catalogue import load_profile

    costs = load_profile(PROFILE).costs
    more_ns = cell.hypercall_ns - costs["hypercall_null"].value_ns
    written = [f"profile={PROFILE}", "fix=off", f"pcpus={PCPUS}", f"load={cell.load}"]
    if more_ns:
        written.append(f"latency.hypercall_null={cell.hypercall_ns}ns")
        # These costs hold the way into Xen as well.
        written += [
            f"latency.{cost}={costs[cost].value_ns + more_ns:g}ns" for cost in _CONTAIN_A_HYPERCALL
        ]
    return written


def computed(wanted: Sequence[Cell], folder: Path, jobs: int, tell: Tell) -> list[dict[str, Any]]:
    """A row for each cell: those that the folder has, and those that were missing.

    Raises:
        InputError: the folder cannot be used, or a process has died.
    """
    from experiments.code_version import code_version
    from experiments.odds.workers import over

    code = code_version("experiments.odds.race_odds")
    ledger = folder / "cells.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = _read(ledger, code)
        with over(jobs) as many, ledger.open("a") as file:
            for number, cell in enumerate(wanted, 1):
                if cell in known:
                    continue
                row = known[cell] = _compute(cell, many)
                line = {"cell": cell, "code": code, "row": row}
                file.write(msgspec.json.encode(line).decode() + "\n")
                file.flush()
                tell(f"{number} of {len(wanted)}: {cell.race}, {row['hits']} hits\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be used: {error.strerror}") from error
    return [known[cell] for cell in wanted]


def _read(ledger: Path, code: str) -> dict[Cell, dict[str, Any]]:
    """What was computed by this code; a line that was torn off is left out."""
    known = {}
    for line in ledger.read_bytes().splitlines() if ledger.exists() else ():
        try:
            entry = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if entry["code"] == code:
            known[Cell(*entry["cell"])] = entry["row"]
    return known


def _compute(cell: Cell, many: "Over") -> dict[str, Any]:
    """The odds at one point, and what differences are taken from: hits and opportunities by run."""
    from experiments.odds.estimate import parse_precision
    from experiments.odds.race_odds import race_odds
    from experiments.subjects.race_settings import race_named, settings_of

    race = race_named(cell.race)
    record, trials = race_odds(
        race,
        settings_of(race, settings(cell)),
        # No precision is asked for: every point has the same number of runs.
        precision=parse_precision("1e-9"),
        most=cell.runs,
        seed=0,
        over=many,
    )
    return {
        "race": cell.race,
        "title": record["title"],
        "vcpus_per_pcpu": (2 + cell.load) / PCPUS,
        "hypercall_ns": cell.hypercall_ns,
        "runs": record["runs"],
        "hits": record["hits"],
        "opportunities": record["opportunities"],
        **{f"per_opportunity_{key}": value for key, value in record["per_opportunity"].items()},
        **{f"per_hour_{key}": value for key, value in record["per_hour"].items()},
        "mean_window_ns": None if record["window"] is None else record["window"]["mean_ns"],
        "longest_window_ns": None if record["window"] is None else record["window"]["max_ns"],
        "by_run": [[int(trial.hit), trial.opportunities] for trial in trials],
    }


# -- the answer --------------------------------------------------------------------------------


class Trend(NamedTuple):
    """How a race's odds move from the first point of an axis to its last."""

    race: str
    rows: Sequence[Row]
    low: float
    high: float

    @property
    def word(self) -> str:
        """What can be said of it."""
        if not any(row["hits"] for row in self.rows):
            return "not seen"
        if self.low > 0:
            return "more probable"
        return "less probable" if self.high < 0 else "open"


def trend(rows: Sequence[Row]) -> Trend:
    """From rows of one race along one axis, in order."""
    from sim.estimate.paired import difference_of_ratios

    first, last = (
        tuple(list(column) for column in zip(*row["by_run"], strict=True))
        for row in (rows[0], rows[-1])
    )
    moved = difference_of_ratios((first[0], first[1]), (last[0], last[1])).difference
    return Trend(rows[0]["race"], rows, moved.low, moved.high)


def answer(rows: Sequence[Row]) -> Answer:
    """Sentences, a figure for each axis, and the numbers."""
    import polars as pl

    races = list(dict.fromkeys(row["race"] for row in rows))
    shared, dearer = (
        [
            trend(sorted((row for row in kept if row["race"] == race), key=lambda row: row[axis]))
            for race in races
        ]
        for axis, kept in (
            ("vcpus_per_pcpu", [row for row in rows if row["hypercall_ns"] == _OWN_NS]),
            ("hypercall_ns", [row for row in rows if row["vcpus_per_pcpu"] == 1]),
        )
    )
    lines = [
        *_said(shared, "vcpus_per_pcpu", "vCPUs per pCPU"),
        *_said(dearer, "hypercall_ns", "ns a hypercall"),
    ]
    only = [each.race for each in shared if not each.rows[0]["hits"] and each.word != "not seen"]
    if only:
        lines.append(f"seen only where vCPUs share pCPUs: {', '.join(only)}")
    numbers = pl.DataFrame([{key: row[key] for key in row if key != "by_run"} for row in rows])
    figures = {
        "shared_pcpus": _figure(
            shared,
            "vcpus_per_pcpu",
            "vCPUs per pCPU",
            _message(shared, "on shared pCPUs", only),
            f"probability of a hit per opportunity without the fix; two vCPUs of the guest on "
            f"{PCPUS} pCPUs beside 0, 2 and 4 busy vCPUs of another domain (credit2, {PROFILE})",
        ),
        "hypercall_cost": _figure(
            dearer,
            "hypercall_ns",
            "cost of a hypercall, ns",
            _message(dearer, "with dearer hypercalls", []),
            f"probability of a hit per opportunity without the fix; a pCPU for each of two vCPUs; "
            f"the whole range of {PROFILE}",
        ),
    }
    return Answer(lines, figures, numbers)


def _said(trends: Sequence[Trend], axis: str, unit: str) -> list[str]:
    """A line for each race."""
    lines = []
    for each in trends:
        points = ", ".join(f"{_value(row)} at {row[axis]:g}" for row in each.rows)
        lines.append(f"{each.race}, hits per opportunity by {unit}: {points} ({each.word})")
    return lines


def _value(row: Row) -> str:
    if row["hits"]:
        return f"{row['per_opportunity_mean']:.2g}"
    return f"below {row['per_opportunity_high']:.1g}"


def _message(trends: Sequence[Trend], where: str, only: Sequence[str]) -> str:
    words = [each.word for each in trends]
    less, more = words.count("less probable"), words.count("more probable")
    if not (less or more):
        return f"None of {len(words)} races is measurably more or less probable {where}"
    said = f"{less} of {len(words)} races are less probable {where}, {more} more"
    return f"{said}; {', '.join(only)} only there" if only else said


def _figure(trends: Sequence[Trend], axis: str, label: str, title: str, subtitle: str) -> "Figure":
    from textwrap import fill

    from experiments.studies import drawing

    columns = min(3, len(trends))
    lines = -(-len(trends) // columns)
    figure = drawing.titled(title, subtitle, width=3.1 * columns, height=0.9 + 2.1 * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    colours = {
        "more probable": drawing.VERMILLION,
        "less probable": drawing.BLUE,
        "open": drawing.GREY,
        "not seen": drawing.GREY,
    }
    for axes in list(grid.flat)[len(trends) :]:
        axes.set_visible(False)
    for axes, each in zip(grid.flat, trends, strict=False):
        _points(axes, each, axis, colours[each.word])
        title = fill(each.rows[0]["title"], 34)
        axes.set_title(f"{each.race}: {each.word}\n{title}", fontsize=8)
        axes.set_xticks([row[axis] for row in each.rows])
        axes.xaxis.set_major_formatter(drawing.plain_numbers())
    grid[0][0].set_ylim(bottom=grid[0][0].get_ylim()[0] / 10)
    for axes in grid[-1]:
        axes.set_xlabel(label)
    for line in grid:
        line[0].set_ylabel("per opportunity")
    return figure


def _points(axes: "Axes", each: Trend, axis: str, colour: str) -> None:
    """Means with their intervals; an arrow down from the bound where nothing was seen."""
    seen = [row for row in each.rows if row["hits"]]
    axes.set_yscale("log")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    if seen:
        places = [row[axis] for row in seen]
        means = [row["per_opportunity_mean"] for row in seen]
        ends = [
            [row["per_opportunity_mean"] - row["per_opportunity_low"] for row in seen],
            [row["per_opportunity_high"] - row["per_opportunity_mean"] for row in seen],
        ]
        axes.errorbar(
            places, means, yerr=ends, color=colour, marker="o", markersize=4, linewidth=1.4,
            elinewidth=1, capsize=3,
        )  # fmt: skip
    for row in each.rows:
        if not row["hits"]:
            bound = row["per_opportunity_high"]
            axes.plot([row[axis]], [bound], marker="_", color=colour, markersize=9)
            axes.annotate(
                "", (row[axis], bound / 5), (row[axis], bound),
                arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1},
            )  # fmt: skip
            if row is not each.rows[-1] and not any(other["hits"] for other in each.rows):
                continue  # one bound for all, or nearly so
            axes.annotate(
                f"< {bound:.0e}", (row[axis], bound), xytext=(4, 3), textcoords="offset points",
                fontsize=7, color="#333333",
            )  # fmt: skip
    margin = 0.15 * (each.rows[-1][axis] - each.rows[0][axis])
    axes.set_xlim(each.rows[0][axis] - margin, each.rows[-1][axis] + 2 * margin)


# -- its command ---------------------------------------------------------------------------------


def carry_out(wanted: Sequence[Cell], folder: Path, jobs: int = 1, tell: Tell = str) -> Answer:
    """Compute what is missing, and write the figures and ``numbers.csv``. Raises InputError."""
    from experiments.cells.results import replace
    from experiments.studies import drawing

    rows = computed(wanted, folder, jobs, tell)
    with drawing.style():
        found = answer(rows)
        for name, figure in found.figures.items():
            drawing.save(figure, folder / name)
    replace(folder / "numbers.csv", found.numbers.write_csv().encode())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study's command line, ``sys.argv`` by default, and return the exit status."""
    app = study_app(NAME, QUESTION)

    @app.default
    def command(
        *,
        out: Path | None = None,
        jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    ) -> None:
        """Run the trials, draw the figures, and print the answer.

        Parameters
        ----------
        out
            The folder for the cells, the figures and the numbers; by default studies/NAME.
        jobs
            Compute with so many processes of this machine.
        """
        folder = Path("studies", NAME) if out is None else out
        tell: Tell = sys.stderr.write if sys.stderr.isatty() else str
        for sentence in carry_out(cells(), folder, jobs, tell).sentences:
            sys.stdout.write(f"{sentence}\n")

    return run_app(app, NAME, arguments)


if __name__ == "__main__":
    sys.exit(main())
