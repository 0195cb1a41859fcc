"""A key of ``[workload]`` is read by its kind, or refused: none does nothing."""

import pytest

from experiments.cli import main
from experiments.errors import InputError
from experiments.scenario.scenario import load, shipped
from experiments.scenario.workload import KINDS, Workload
from experiments.scenario.workload_keys import READ
from experiments.subjects.clock import pricing_of
from experiments.subjects.kinds import named
from experiments.subjects.on_clock import Asked

KEYS = sorted(set(Workload.__struct_fields__) - {"kind"})
BOOT = "guest-512M"


def test_every_kind_and_every_key_is_spoken_of() -> None:
    """A new kind or key has to say what it reads, or who reads it."""
    assert set(KINDS) == set(READ)
    assert set(KEYS) == {key for keys in READ.values() for key in keys}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", KEYS)
def test_key_of_another_kind_is_refused(kind: str, key: str) -> None:
    """In one line, which names both and whose it is."""
    if key in READ[kind]:
        return
    settings = [f"workload.kind={kind}", f"workload.{key}=1"]
    with pytest.raises(InputError, match=f'workload.{key}: kind "{kind}" does not read it') as no:
        load(BOOT, settings)
    assert "\n" not in str(no.value)


def test_keys_of_shipped_scenarios_are_read() -> None:
    """They load."""
    assert len(shipped()) == len([load(scenario.name) for scenario in shipped()])


@pytest.mark.parametrize(
    ("scenario", "setting", "complaint"),
    [
        ("fork-1", "workload.piece=2MiB", 'kind "fork" does not read it; it is of parallel-boot'),
        ("fork-1", "workload.sise=1MiB", "unknown key workload.sise"),
        ("mtspin-2", "workload.pause=1us", 'kind "mtspin" does not read it'),
        ("fork-1", "workload.kept=2", "give workload.tasks, too"),
        (BOOT, "workload.iterations=3", 'kind "boot" does not read it'),
        (BOOT, "guest.vcpus=2", 'guest.vcpus = 2: a boot is on one vCPU; workload.kind = "parall'),
        (BOOT, "machine.pcpus=2", "machine.pcpus = 2: a boot is on one vCPU"),
        ("fork-2", "machine.scheduler=credit2", "each vCPU has a pCPU of its own"),
        ("fork-2", "machine.scheduler=credit3", "is none of credit1, credit2"),
    ],
)
def test_mistake_is_one_line_and_status_2(
    scenario: str, setting: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It used to be accepted, to change the hash, and to do nothing else."""
    assert 2 == main(["run", scenario, "--set", setting, "--quiet"])
    told = capsys.readouterr().err

    assert complaint in told
    assert 1 == told.count("\n")


@pytest.mark.parametrize("name", ["credit1", "credit2"])
def test_scheduler_is_that_of_the_pcpus(name: str) -> None:
    """Whatever the profile's own is."""
    settings = ("machine.pcpus=1", "machine.profile=modern-2023", f"machine.scheduler={name}")
    machine = load("fork-2", settings).machine
    small = (*settings, "workload.iterations=1", "workload.warmup=0")

    assert name == pricing_of(machine).scheduler
    assert named("fork-2", small).on_clock(Asked()).ok
