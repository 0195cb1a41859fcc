"""Hold the hypervisor against conformance vectors."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from experiments.cli.app import app
from experiments.cli.options import DEFAULTS, Common
from experiments.cli.telling import emit_json, emit_table
from experiments.errors import InputError


@app.command
def conform(*files: Annotated[Path, Parameter(metavar="FILE")], common: Common = DEFAULTS) -> int:
    """Hold the hypervisor against conformance vectors, and show what differs.

    The exit status is 0 if all of them pass, and 1 if not.

    Parameters
    ----------
    files
        Files of the schema pinlab.conformance/1 (docs/reference/conformance-files.md), .json or
        .json.gz.
    """
    from experiments.conformance import report

    if not files:
        raise InputError("conform: name a file of vectors, or several")
    result = report.conform(files)
    if common.json:
        emit_json(report.as_document(result))
    else:
        emit_table(lambda _: report.conform_table(result))
    return 1 if result.failures else 0
