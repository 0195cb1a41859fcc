"""What a command imports: a plain one does not wait for what it does not use."""

import os
import subprocess
import sys

import pytest

from experiments.cli import main

RUN = ("run", "guest-512M", "--quiet", "--json")
NOBODY_NEEDS = [
    *("asyncio", "concurrent.futures", "dask", "distributed", "matplotlib", "multiprocessing"),
    *("polars", "scipy", "structlog"),
]
"""Neither help nor a quiet run."""


def imported(*arguments: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    program = (
        "import sys; from experiments.cli import main; main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments], text=True, capture_output=True, check=True
    )
    return set(process.stderr.splitlines()[-1].split())


def test_help_knows_no_model() -> None:
    """It is the command line's own."""
    modules = imported("--help")

    assert set() == modules & {"numpy", "simpy", "msgspec", "models", "sim", *NOBODY_NEEDS}


@pytest.mark.parametrize(
    "unused",
    [
        *NOBODY_NEEDS,
        "rich",
        "experiments.subjects.parallel_boot",
        "experiments.subjects.processes",
        "models.linux.boot.crew",
        "models.linux.run.process",
        "models.linux.run.kernel",
        "models.linux.run.vmalloc",
        "models.linux.run.workloads.driver",
        "models.races",
        "models.strategies.offline_pin",
        "models.xen.checks.invariants",
        "sim.explore",
        "sim.recording",
    ],
)
def test_plain_boot_goes_without(boot: set[str], unused: str) -> None:
    """A boot on one vCPU that is neither recorded nor checked, and tells nothing but its record."""
    assert unused not in boot


def test_plain_boot_is_made_of_the_models(boot: set[str]) -> None:
    """Else the names above could be misspelt."""
    assert {"models.linux.boot.guest", "models.xen.gate", "sim.timed"} <= boot


@pytest.fixture(scope="module")
def boot() -> set[str]:
    """What a plain boot has imported."""
    return imported(*RUN)


@pytest.mark.parametrize(
    ("arguments", "used"),
    [
        (("run", "guest-512M"), {"structlog", "rich"}),
        ((*RUN, "--check"), {"models.xen.checks.invariants", "sim.stepwise"}),
        (("run", "parallel-boot", "--quiet", "--json"), {"models.linux.boot.crew"}),
        (
            ("run", "fork-1", "--quiet", "--json"),
            {"models.linux.run.process", "models.linux.run.workloads.driver"},
        ),
        ((*RUN, "--strategy", "offline-pin"), {"models.strategies.offline_pin"}),
    ],
)
def test_what_a_run_uses_is_imported(arguments: tuple[str, ...], used: set[str]) -> None:
    """Here, and not in a plain boot."""
    assert used <= imported(*arguments)


@pytest.mark.parametrize(("given", "seen"), [(None, "1"), ("2", "2")])
def test_command_asks_for_one_thread_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None, seen: str
) -> None:
    """What the user has set stands."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    assert 0 == main(["list", "profiles", "--json"])

    assert seen == os.environ["OPENBLAS_NUM_THREADS"]
