"""The folder of a sweep, which one sweep at a time works in."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.errors import InputError

SCRATCH_PREFIX = ".dask-"
"""Folders with such names are Dask's and go with the sweep."""


@contextmanager
def owned_folder(path: Path) -> Iterator[None]:
    """Make the folder and keep other sweeps out of it; what a killed one left of Dask's goes.

    Raises:
        InputError: it cannot be made, or another sweep is at work in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"cannot use the folder {path}: {error.strerror}") from error
    try:
        # The lock is on the folder itself: it leaves no file, and ends with the process.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise InputError(
            f"another sweep is at work in {path}; wait for it, or give this one another --out"
        ) from error
    except OSError:
        # Some network file systems lock no folders. Two sweeps then do the same work twice, and
        # the ledger takes the first record of each cell.
        pass
    else:
        for left in path.glob(f"{SCRATCH_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
    try:
        yield
    finally:
        os.close(handle)
