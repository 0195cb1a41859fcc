"""What a study is, and the command that runs one.

The sweep is carried out in a folder of the study's own, with a ledger: stopped by whatever means
and called again, it goes on where it was. Figures, numbers and sentences are made anew each time.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from experiments.errors import InputError

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from experiments.cells import Sweep


class Answer(NamedTuple):
    """What a study found."""

    sentences: Sequence[str]
    """The answer with its numbers, a sentence or a table line each."""
    figures: "Mapping[str, Figure]"
    """By file name without suffix."""
    numbers: "pl.DataFrame"
    """What the figures show."""


class Study(NamedTuple):
    """One question."""

    name: str
    """That of its module, and of its folder below ``studies``."""
    question: str
    sweep: Callable[[], Mapping[str, Any]]
    """Makes the document of the sweep (``experiments.cells``)."""
    keys: Sequence[str]
    """What must vary in a sweep that is to answer it."""
    answer: "Callable[[pl.DataFrame], Answer]"
    """From the table of all cells (``experiments.cells.results``), each of which has a record."""


def main(study: Study, arguments: Sequence[str] | None = None) -> int:
    """Run a study's command line, ``sys.argv`` by default, and return the exit status."""
    app = study_app(study.name, study.question)

    @app.default
    def command(
        *,
        out: Path | None = None,
        jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
        sweep: str | None = None,
    ) -> None:
        """Carry out the sweep, draw the figures, and print the answer.

        Parameters
        ----------
        out
            The folder for the ledger, the figures and the numbers; by default studies/NAME.
        jobs
            Compute with so many processes of this machine.
        sweep
            Answer it on another grid: a sweep file in which the same keys vary
            (docs/guides/sweeping.md).
        """
        from experiments.cells import load_sweep

        folder = Path("studies", study.name) if out is None else out
        carried = load_sweep(study.sweep() if sweep is None else sweep)
        for sentence in carry_out(study, carried, folder, jobs).sentences:
            sys.stdout.write(f"{sentence}\n")

    return run_app(app, study.name, arguments)


def study_app(name: str, question: str) -> App:
    """The command line of a study, still without its command."""
    return App(
        name=f"python -m experiments.studies.{name}",
        help=question,
        help_format="plaintext",
        version_flags=(),
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )


def run_app(app: App, name: str, arguments: Sequence[str] | None) -> int:
    """Run a study's command, ``sys.argv`` by default, and return the exit status."""
    try:
        app(arguments)
    except (InputError, CycloptsError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted\n")
        return 130
    return 0


def carry_out(study: Study, sweep: "Sweep", folder: Path, jobs: int = 1) -> Answer:
    """Carry out a study's sweep in a folder, and write its figures and numbers there.

    Raises:
        InputError: the sweep does not vary what the study asks about, a cell could not be
            computed, or the folder cannot be used.
    """
    from experiments.cells import carry_out as carry_out_sweep
    from experiments.cells.execute import left_to_do
    from experiments.cells.progress import watching
    from experiments.cells.results import replace
    from experiments.studies import drawing

    varied = {key for axis in sweep.axes for key in axis.keys}
    missing = [key for key in study.keys if key not in varied]
    if missing:
        raise InputError(f"{sweep.origin}: {', '.join(missing)} must vary in this study's sweep")
    if sys.stderr.isatty():
        with watching(left_to_do(sweep, folder), None) as watch:
            swept = carry_out_sweep(sweep, folder, jobs=jobs, watch=watch)
    else:
        swept = carry_out_sweep(sweep, folder, jobs=jobs)
    if swept.failed:
        first = swept.failed[0]
        raise InputError(f"{first.cell} could not be computed: {first.error}")
    with drawing.style():
        answer = study.answer(swept.frame)
        for name, figure in answer.figures.items():
            drawing.save(figure, folder / name)
    replace(folder / "numbers.csv", answer.numbers.write_csv().encode())
    return answer
