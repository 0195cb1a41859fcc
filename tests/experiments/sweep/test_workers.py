"""Sweeps on Dask's workers: the same bytes, and nothing is lost with a worker."""

import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest
from distributed import LocalCluster

from experiments.cells import Cell, carry_out, load_sweep, run_sweep
from experiments.cells.cell import Computed
from experiments.cells.results import files
from experiments.cells.workers import _fetched
from experiments.errors import InputError
from tests.experiments.sweep.small import FAULTY, FOUR, document


def test_two_workers_give_the_bytes_of_one_process_even_if_one_is_killed(tmp_path: Path) -> None:
    """The cells that a killed worker had are computed by another; nothing is left of Dask's."""
    sweep = load_sweep(document(**FOUR, replications=6))
    killed: list[int] = []
    computed_by: set[str] = set()

    def kill_the_first(cell: Cell, computed: Computed) -> None:
        computed_by.add(computed.worker)
        if not killed:
            killed.append(int(computed.worker.rpartition(":")[2]))
            os.kill(killed[0], signal.SIGKILL)

    swept = carry_out(sweep, tmp_path / "workers", jobs=2, watch=kill_the_first)
    run_sweep(sweep, tmp_path / "serial")

    assert (24, 0, []) == (swept.computed, swept.reused, list(swept.failed))
    assert len(computed_by) > 1
    assert str(os.getpid()) not in {worker.rpartition(":")[2] for worker in computed_by}
    serial, workers = files(tmp_path / "serial"), files(tmp_path / "workers")
    assert serial.results.read_bytes() == workers.results.read_bytes()
    assert set(workers) == set((tmp_path / "workers").iterdir())


def test_cell_that_kills_its_workers_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
    """It is told as failed, like one that raises."""
    (tmp_path / "faulty.py").write_text(FAULTY)
    faulty = [f"{tmp_path / 'faulty.py'}:{name}" for name in ("deadly", "raising")]
    sweep = load_sweep(document(strategies=["ro-window", *faulty, "tables-low"]))

    frame = run_sweep(sweep, tmp_path / "out", jobs=2)

    assert ["ok", None, None, "ok"] == frame["outcome"].to_list()
    assert [
        None,
        "KilledWorker: 4 workers died while they computed it",
        "ValueError: no room anywhere",
        None,
    ] == frame["error"].to_list()


def test_workers_of_a_scheduler_elsewhere_are_used(tmp_path: Path) -> None:
    """One that somebody else has started, and that is still there afterwards."""
    sweep = load_sweep(document(**FOUR))
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        local_directory=str(tmp_path / "dask"),
    ) as cluster:
        swept = carry_out(sweep, tmp_path / "cluster", dask=cluster.scheduler_address)
        assert 1 == len(cluster.scheduler_info["workers"])
    run_sweep(sweep, tmp_path / "serial")

    assert 4 == swept.computed
    serial, elsewhere = files(tmp_path / "serial"), files(tmp_path / "cluster")
    assert serial.results.read_bytes() == elsewhere.results.read_bytes()


def test_scheduler_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten seconds in earnest."""
    monkeypatch.setattr("experiments.cells.workers._CONNECT_S", 0.5)

    with pytest.raises(InputError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        run_sweep(load_sweep(document(**FOUR)), tmp_path, dask="tcp://127.0.0.1:9")


def test_workers_that_do_not_start_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last thing they said, in place of starting them for ever."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'cannot start today' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr("experiments.cells.worker_processes.sys.executable", str(script))

    with pytest.raises(InputError, match="workers do not start: cannot start today"):
        run_sweep(load_sweep(document(**FOUR)), tmp_path / "out", jobs=2)


class Lost:
    """A future whose worker has died: there is a result only once another has been started."""

    def __init__(self) -> None:
        self.workers_started = 0

    def start_worker(self) -> None:
        """What looking after the workers does."""
        self.workers_started += 1

    def result(self, timeout: float) -> Computed:
        """Dask waits for as long as it is allowed to."""
        assert timeout > 0
        if not self.workers_started:
            raise TimeoutError
        return Computed(key="a", record=b"{}")


def test_result_that_died_with_its_worker_is_computed_again() -> None:
    """Workers are looked after while a result is waited for, or it would never come."""
    lost = Lost()

    assert b"{}" == _fetched(cast("Any", lost), "a", lost.start_worker).record
    assert 1 == lost.workers_started
