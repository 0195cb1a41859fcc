"""How a command tells its answer: on stdout as JSON or as a table, and on stderr what is wrong."""

import io
import os
import sys
from typing import TYPE_CHECKING

from experiments.cli.options import Output
from experiments.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from experiments.run_log import RunLog

PLAIN_WIDTH = 100
"""Columns of a table that does not go to a terminal."""


def run_log(output: Output) -> "RunLog":
    """For records of whole runs."""
    from experiments.run_log import RunLog

    return RunLog(quiet=output.quiet)


def emit_json(document: object) -> None:
    """Write one JSON document.

    Raises:
        InputError: stdout cannot be written to.
    """
    import msgspec

    _emit(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


def emit_table(render: "Callable[[int], RenderableType]") -> None:
    """Write what ``render`` makes of the number of columns.

    Raises:
        InputError: stdout cannot be written to.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal,
        width=None if terminal else PLAIN_WIDTH,
        highlight=False,
    )
    console.print(render(console.width), crop=False)
    _emit("".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines()))


def _emit(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes stdout once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A reader that has seen enough (`pinlab list ... | head -1`) is no error.
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot write to stdout: {error.strerror}") from error


def complaint(message: str, status: int) -> int:
    """Say on one line of stderr what is wrong, and return the exit status."""
    sys.stderr.write(f"pinlab: {' '.join(message.split())}\n")
    return status
