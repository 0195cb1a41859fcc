"""What a worker process does when it starts; Dask imports this module there and calls it."""

import signal


def dask_setup(worker: object) -> None:  # noqa: ARG001 - Dask gives it
    """Leave Ctrl-C to the process that started the worker, which then ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
