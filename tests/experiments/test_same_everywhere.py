"""The same bytes on every CPU: numpy picks its loops by what that can do, and here it may not."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module

import msgspec
import pytest

from experiments.scenario.scenario import load
from sim.distributions import Constant, Distribution, Exponential, Lognormal, Uniform
from sim.streams import Streams
from tests.boots import run

DRAWN: list[Distribution] = [
    Constant(0.3),
    Exponential(20_000.0),
    Uniform(0.0, 7.0),
    *(Lognormal(40.0, sigma) for sigma in (0.05, 0.12, 0.3, 0.42, 1.2)),
]
BOOTS = [("guest-512M", "64MiB", strategy) for strategy in ("reserve-hook", "mapped-only-6.1")]
LARGER = ("guest-512M", "512MiB", "tables-low")


def fingerprints() -> Iterator[str]:
    """A hash of each distribution's draws and durations, and of records of boots and of a race."""
    for distribution in DRAWN:
        values = Streams(7).values(distribution, "a")
        durations = Streams(7).durations(distribution, "a")
        drawn = [values.next().hex() for _ in range(5000)]
        drawn += [str(durations.total(n)) for n in (1, 1, 1, 500, 9000) * 20]
        yield f"{distribution} {_hash(' '.join(drawn).encode())}"
    for name, ram, strategy in (*BOOTS, LARGER):
        scenario = load(name, [f"guest.ram={ram}"])
        for seed in range(4):
            record = run(scenario, strategy, seed=seed)
            yield f"{ram} {strategy} {seed} {_hash(msgspec.json.encode(record))}"
    workload = load("fork-2")
    yield f"fork-2 {_hash(msgspec.json.encode(run(workload, workload.guest.strategy)))}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def features() -> list[str]:
    """What numpy has loops for beside its baseline and this CPU can do."""
    loops = import_module("numpy._core._multiarray_umath")
    return [name for name in loops.__cpu_dispatch__ if loops.__cpu_features__.get(name)]


def said(code: str, disabled: list[str]) -> list[str]:
    """What a process prints whose numpy may not use these features."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import *\n{code}"],
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(disabled)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def test_draws_and_records_do_not_depend_on_the_cpu() -> None:
    """Of each distribution, and of boots and a workload."""
    able = features()
    if not able:
        pytest.skip("numpy has nothing on this CPU that could be switched off")

    assert list(fingerprints()) == said("print(*fingerprints(), sep='\\n')", able)


def test_features_are_really_switched_off() -> None:
    """Or the test above would compare a run with itself."""
    assert ["[]"] == said("print(features())", features())
