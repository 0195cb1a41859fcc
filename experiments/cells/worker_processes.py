"""Dask workers as processes of this machine, which are started again when they die."""

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from experiments.errors import InputError
from experiments.threads import ONE_THREAD

_MOST_FALSE_STARTS = 3
"""So many starts one after the other that lead to nothing, and there is something wrong."""


class WorkerProcesses:
    """So many workers of a scheduler, with one thread each, from ``with`` to its end."""

    def __init__(self, scheduler: str, number: int, folder: Path) -> None:
        """``folder`` takes their temporary files and what they say."""
        self._scheduler = scheduler
        self._number = number
        self._folder = folder
        self._started = 0
        self._false_starts = 0
        self._seen: set[str] = set()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        for _ in range(self._number):
            self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # They hold nothing that anybody still wants.
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def restart_dead(self, known: Collection[str]) -> None:
        """Start a worker in place of each that has died; ``known``: whom the scheduler knows.

        Raises:
            InputError: they die before the scheduler gets to know them.
        """
        self._seen.update(known)
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            del self._processes[name]
            self._false_starts = 0 if name in self._seen else self._false_starts + 1
            if self._false_starts >= _MOST_FALSE_STARTS * self._number:
                raise InputError(f"workers do not start: {self._last_words(name)}")
            self._start()

    def _start(self) -> None:
        self._started += 1
        name = f"worker-{self._started}"
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - dask's own command
                [
                    # -P: a folder that the user stands in hides none of the packages.
                    *(sys.executable, "-P", "-m", "distributed.cli.dask_worker", self._scheduler),
                    *("--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"),
                    *("--host", "127.0.0.1", "--memory-limit", "0", "--death-timeout", "60"),
                    *("--local-directory", str(self._folder)),
                ],
                env=ONE_THREAD
                | os.environ
                | {
                    # What this process imports, a worker finds as well.
                    "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path),
                    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for this process alone, which then ends its workers.
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _last_words(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "they say nothing")
