"""Try the orders of two vCPUs, and compare with what was seen."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from experiments.cli.app import app
from experiments.cli.options import DEFAULTS, Common
from experiments.cli.telling import emit_json, emit_table
from experiments.errors import InputError


@app.command
def litmus(
    *files: Annotated[Path, Parameter(metavar="FILE")],
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    most: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    common: Common = DEFAULTS,
) -> int:
    """Try the orders of two vCPUs' steps, and look for what a real Xen was seen to do.

    The exit status is 0 if every recorded outcome is reached, and 1 if not.

    Parameters
    ----------
    files
        Files of the schema pinlab.litmus/1 (docs/reference/litmus-files.md).
    jobs
        Explore with so many processes; one for each CPU by default.
    most
        Try so many classes of orders of a test at most, and then some orders drawn at random;
        20,000 by default.
    """
    from experiments.litmus import report

    if not files:
        raise InputError("litmus: name a file of litmus tests, or several")
    processes = len(os.sched_getaffinity(0)) if jobs is None else jobs
    tests = report.litmus(files, jobs=processes, most=most, seed=common.seed)
    if common.json:
        emit_json(report.document(tests, report.made_of(files, most=most, seed=common.seed)))
    else:
        emit_table(lambda _: report.litmus_table(tests))
    return 1 if any(test.missing for test in tests) else 0
