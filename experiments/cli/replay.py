"""Make a recorded run again."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from experiments.cli.app import app
from experiments.cli.options import DEFAULT_OUTPUT, Flag, Output
from experiments.cli.telling import complaint, emit_json, emit_table
from experiments.errors import InputError


@app.command
def replay(
    file: Path,
    /,
    *,
    until: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    explain: Flag = False,
    check_determinism: Flag = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Make a recorded run again, step by step.

    The exit status is 0 if it is the recorded run, and 1 if not: the first step that differs is
    told.

    Parameters
    ----------
    file
        A repro.json, or what pinlab run --tape has written.
    until
        Stop after so many steps.
    explain
        Tell of each step of an explored run what the routine is for and what it touches.
    check_determinism
        Make the run twice more, and compare these two.
    """
    from experiments.counterexamples import repro
    from experiments.counterexamples.replay import replay as run_again
    from experiments.counterexamples.replay import replay_document
    from experiments.counterexamples.replay_table import replay_table

    recorded = repro.load(file)
    try:
        done = run_again(recorded, until=until, twice=check_determinism)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    if output.json:
        emit_json(replay_document(done, explain=explain))
    else:
        emit_table(lambda _: replay_table(done, explain=explain))
    if done.difference is not None:
        return complaint(f"{file}: {done.difference}", status=1)
    return 0
