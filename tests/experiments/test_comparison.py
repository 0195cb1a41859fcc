"""Comparisons by one process or several: the same answer, told as it comes, and a clean end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_cli import PINLAB, pinlab

STRATEGIES = "tables-high,reserve-hook,mapped-only-6.1"

OWN = '''
import os
import time
from dataclasses import replace
from pathlib import Path

from models.strategies.reserve_hook import reserve_hook


class Peculiar(Exception):
    """It cannot be made again from its arguments."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def ending(name, action):
    """reserve-hook, at whose end something is done."""

    def finish(guest):
        action()
        yield from ()

    return replace(reserve_hook, name=name, finish=finish)


def wait():
    Path("pid").write_text(str(os.getpid()))
    while not Path("go").exists():
        time.sleep(0.01)


def fail():
    raise Peculiar("this", "that")


def count():
    Path("threads").write_text(str(len(os.listdir("/proc/self/task"))))


plain = ending("plain", lambda: None)
waits = ending("waits", wait)
dies = ending("dies", lambda: os._exit(3))
fails = ending("fails", fail)
counts = ending("counts", count)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with strategies in own.py."""
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A comparison of guest-512M that goes on, in a process group of its own."""
    return subprocess.Popen(
        [PINLAB, "compare", "guest-512M", *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def waited_for(path: Path) -> str:
    """What somebody writes into a file."""
    for _ in range(6000):
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.01)
    raise AssertionError(f"{path} is not written")


def alive(pid: int) -> bool:
    """Is there such a process, other than one that has ended and is not yet reaped?"""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_number_of_processes_does_not_show(tmp_path: Path) -> None:
    """Neither in the records nor in the estimates over replications, nor in what is robust."""
    arguments = (
        *("compare", "guest-512M", "--strategies", STRATEGIES, "--replications", "2"),
        *("--robust", "--json", "--quiet", "--seed", "3"),
    )
    documents = [pinlab(tmp_path, *arguments, "--jobs", jobs) for jobs in ("1", "2", "3")]

    assert [(0, "")] * 3 == [(each.returncode, each.stderr) for each in documents]
    assert 1 == len({each.stdout for each in documents})
    assert STRATEGIES.split(",") == [
        row["strategy"] for row in json.loads(documents[0].stdout)["rows"]
    ]


def test_line_of_a_strategy_comes_while_others_are_at_work(folder: Path) -> None:
    """It does not wait for the last one."""
    process = started(
        folder, "--quiet", "--jobs", "2", "--strategies", "reserve-hook,./own.py:waits"
    )
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        line = next(line for line in lines if line.startswith("reserve-hook"))
        assert "ok" == line.split()[1]
        assert not (folder / "go").exists()
        assert process.poll() is None
    finally:
        (folder / "go").touch()
        rest, complaint = process.communicate()
    assert (0, "") == (process.returncode, complaint)
    assert rest.startswith("waits")


def test_lines_stand_in_the_order_of_the_list_and_once(folder: Path) -> None:
    """Though the first one is done last."""
    names = "./own.py:waits,tables-high,reserve-hook"
    process = started(folder, "--quiet", "--jobs", "2", "--strategies", names)
    waited_for(folder / "pid")
    (folder / "go").touch()
    output, _ = process.communicate()

    overview = output.partition("\n\n")[2].partition("\n\n")[0].splitlines()
    assert ["verdict", "hypercalls", "time", "(ms)"] == overview[0].split()
    assert ["waits", "tables-high", "reserve-hook"] == [line.split()[0] for line in overview[1:]]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupt_leaves_no_process(folder: Path, jobs: str) -> None:
    """Ctrl-C reaches all processes of a terminal; one line tells of it."""
    names = "./own.py:waits,tables-high"
    process = started(folder, "--quiet", "--jobs", jobs, "--strategies", names)
    worker = int(waited_for(folder / "pid"))
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate()

    assert (130, "pinlab: interrupted\n") == (process.returncode, complaint)
    assert not alive(worker)


def test_worker_that_dies_is_told_on_one_line(folder: Path) -> None:
    """With the way out: one process needs no workers."""
    names = "tables-high,./own.py:dies,reserve-hook"
    process = started(folder, "--quiet", "--jobs", "2", "--strategies", names)
    _, complaint = process.communicate()

    assert 2 == process.returncode
    assert ["pinlab: a process that did part of the work has died; --jobs 1 does without them"] == (
        complaint.splitlines()
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_fault_of_a_strategy_is_told_as_its_own(folder: Path, jobs: str) -> None:
    """Not as the death of a process, even if its exception cannot be sent."""
    names = "./own.py:plain,./own.py:fails"
    process = started(folder, "--quiet", "--jobs", jobs, "--strategies", names)
    output, complaint = process.communicate()

    assert 1 == process.returncode
    assert "Peculiar: this and that" in complaint
    assert "has died" not in complaint
    assert [line for line in output.splitlines() if line.startswith("plain")]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_process_that_boots_has_no_second_thread(folder: Path, jobs: str) -> None:
    """Libraries start none, wherever the boot is made."""
    names = "./own.py:counts,./own.py:plain"
    process = started(folder, "--quiet", "--jobs", jobs, "--strategies", names)
    process.communicate()

    assert "1" == (folder / "threads").read_text()


def test_log_tells_of_each_boot(tmp_path: Path) -> None:
    """Whichever process makes it."""
    process = pinlab(
        tmp_path, "compare", "guest-512M", "--strategies", STRATEGIES, "--jobs", "2", "--json"
    )

    lines = [json.loads(line) for line in process.stderr.splitlines()]
    told = {(line["strategy"], line["event"]) for line in lines}
    assert told == {
        (strategy, event)
        for strategy in STRATEGIES.split(",")
        for event in ("run started", "run finished")
    }


SCRIPT = """
import os, threading, time
from experiments.processes import in_order

def threads(_):
    import numpy as np
    assert (np.ones((600, 600)) @ np.ones((600, 600))).all()
    return len(os.listdir("/proc/self/task"))

if __name__ == "__main__":
    threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
    with in_order(2) as over:
        counts = list(over(threads, range(2)))
    print(*counts, "OPENBLAS_NUM_THREADS" in os.environ)
"""


def test_worker_of_a_script_with_threads_has_no_pool(tmp_path: Path) -> None:
    """It is started anew, as a fork would not be safe; what the script sees stays as it was."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    process = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )

    assert ["1", "1", "False"] == process.stdout.split()
