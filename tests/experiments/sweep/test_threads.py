"""Workers of a sweep share out the CPUs; none of them starts threads for all of these."""

import subprocess
from pathlib import Path

import pytest

from experiments.cells.worker_processes import WorkerProcesses
from experiments.threads import ONE_THREAD


def test_worker_has_one_thread_in_each_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unless the user has asked for more."""
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environments: list[dict[str, str]] = []

    class Started:
        """A process that does nothing."""

        def __init__(self, _: list[str], *, env: dict[str, str], **_others: object) -> None:
            environments.append(env)

        def kill(self) -> None:
            """It is none."""

        def wait(self) -> None:
            """It has ended."""

    monkeypatch.setattr(subprocess, "Popen", Started)
    with WorkerProcesses("tcp://127.0.0.1:1", 2, tmp_path):
        pass

    expected = ONE_THREAD | {"OMP_NUM_THREADS": "3"}
    assert [expected] * 2 == [
        {name: environment[name] for name in ONE_THREAD} for environment in environments
    ]
