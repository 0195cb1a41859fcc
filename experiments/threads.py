"""How many threads numerical libraries start: one, unless the user has said otherwise.

Nothing here has matrices large enough for more. A library reads its variable when it is first
imported, and its other threads are started then, whether they get work or not.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}
"""For a process that is one of several which share out the work."""


def one_blas_thread() -> None:
    """Let numpy's linear algebra be in the calling thread; to be called before numpy is imported.

    Only a command calls this: who imports PinLab decides for himself.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", ONE_THREAD["OPENBLAS_NUM_THREADS"])


@contextmanager
def one_thread_in_children() -> Iterator[None]:
    """Processes that are started meanwhile have no pools of threads; this one stays as it is."""
    added = [name for name in ONE_THREAD if name not in os.environ]
    for name in added:
        os.environ[name] = ONE_THREAD[name]
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
