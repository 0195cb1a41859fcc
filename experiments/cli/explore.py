"""Try the orders of a program."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from experiments.cli.app import app
from experiments.cli.options import DEFAULTS, Common, Flag, Settings
from experiments.cli.telling import emit_json, emit_table, run_log


@app.command
def explore(  # noqa: PLR0913 - each option of the command is one
    scenario: str,
    /,
    *,
    strategy: str | None = None,
    settings: Settings = (),
    bound: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 60.0,
    executions: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    all_findings: Flag = False,
    check_footprints: Flag = False,
    orders_only: Flag = False,
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Try all interleavings of a race or of a boot on several vCPUs, or as many as may be.

    The exit status is 1 if one of them fails. Where not all can be tried within the budget, those
    with few switches are, and some by chance; what is claimed is what was tried.

    Parameters
    ----------
    scenario
        A race (see: pinlab list races) as R1 or races/R1; parallel-boot, for a machine that is
        small enough; or a scenario of that kind, or its file.
    strategy
        Of a parallel boot, in place of the scenario's own.
    settings
        Change a setting of the race, as fix=off or vcpus=3, or a key of the scenario. May be
        repeated.
    bound
        Only orders that take a vCPU off so often, at most, while it could go on.
    seconds
        Stop after so long.
    executions
        Stop after so many executions.
    all_findings
        Go on behind a failure, and count all of them.
    check_footprints
        Make each execution once more in another order that ought to be equivalent, and see whether
        it is.
    orders_only
        Do not look whether a race's failure comes about on the clock.
    jobs
        Use so many processes; by default one for each CPU.
    out
        The folder for the record, the failures, and a checkpoint with which the same command goes
        on after it was stopped.
    """
    from experiments.counterexamples.folder import check_folder
    from experiments.exploring.explore import Asked
    from experiments.exploring.explore import explore as search
    from experiments.exploring.programs import program_named
    from experiments.exploring.telling import outcome_table, telling

    program = program_named(scenario, strategy, settings)
    if out is not None:
        check_folder(out)
    asked = Asked(
        seconds=seconds,
        executions=executions,
        every_finding=all_findings,
        jobs=jobs or len(os.sched_getaffinity(0)),
        seed=common.seed,
        out=out,
        switches=bound,
        rechecks=check_footprints,
        on_the_clock=not orders_only,
    )
    logger = run_log(common).bind(program=program.title)
    shows_line = sys.stderr.isatty() and not common.quiet
    with telling(None if shows_line else logger) as tell:
        outcome = search(program, asked, tell)
    if common.json:
        emit_json(outcome.record())
    else:
        emit_table(lambda _: outcome_table(outcome))
    return 1 if outcome.counterexamples else 0
