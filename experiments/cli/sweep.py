"""Boot guests over many settings."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from experiments.cli.app import app
from experiments.cli.options import DEFAULT_OUTPUT, Flag, Output
from experiments.cli.telling import complaint, emit_json, emit_table, run_log
from experiments.errors import InputError


@app.command
def sweep(
    file: str,
    /,
    *,
    out: Path | None = None,
    jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    dask: str | None = None,
    dry_run: Flag = False,
    seed: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Boot guests over many settings, and keep what was computed.

    Stopped by whatever means, the same command goes on where it was. The exit status is 0 if every
    cell was computed, whatever its outcome, and 1 if not.

    Parameters
    ----------
    file
        A scenario file with a section [sweep] (docs/guides/sweeping.md), or the name of one that is
        shipped.
    out
        The folder for the ledger and results.parquet; by default the file's name with .sweep.
    jobs
        Compute with so many processes of this machine.
    dask
        Compute on the workers of the Dask scheduler at this address, as tcp://10.0.0.1:8786.
    dry_run
        Check everything, tell what would be computed, and write nothing.
    seed
        Decides every random draw; by default the file's own, or else 0.
    """
    from experiments.cells import carry_out, load_sweep, results
    from experiments.cells.execute import left_to_do, of_other_code
    from experiments.cells.progress import watching
    from experiments.show import sweep_tables as tables

    if dask is not None and jobs != 1:
        raise InputError("sweep: --jobs is for this machine and --dask for others; give one")
    plan = load_sweep(file, seed=seed)
    folder = Path(f"{Path(file).stem}.sweep") if out is None else out
    missing = left_to_do(plan, folder)
    if other := of_other_code(plan, folder):
        complaint(
            f"{folder}: the ledger was filled by other code ({other}, this is {plan.code}); its "
            "records stay there and are not used: each cell is computed anew",
            status=0,
        )
    if dry_run:
        if output.json:
            emit_json(tables.plan_document(plan, missing))
        else:
            emit_table(lambda _: tables.plan_table(plan, missing))
        return 0
    logger = run_log(output).bind(sweep=plan.name)
    shows_bar = sys.stderr.isatty() and not output.quiet
    with watching(missing, None if shows_bar else logger) as watch:
        swept = carry_out(plan, folder, jobs=jobs, dask=dask, watch=watch)
    rows = results.read(plan, folder)
    where = str(results.files(folder).results)
    if output.json:
        emit_json(tables.sweep_document(plan, swept, rows, where))
    else:
        emit_table(lambda _: tables.sweep_table(plan, swept, rows, where))
    for row in swept.failed:
        complaint(f"{row.cell} could not be computed: {row.error}", status=1)
    return 1 if swept.failed else 0
