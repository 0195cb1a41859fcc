"""A second opinion on R1 and R3: models of the two in Promela, which Spin searches completely.

The models (promela/*.pml) share no code with the simulator. That is searched with one forced
switch; Spin goes through every order of somewhat coarser steps.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.races.catalogue.index import RACES
from models.races.stages.stage import fresh
from models.races.verdict import judge
from models.xen.words import COUNT
from sim.explore.execution import InTurn, execute
from tests.models.races.searches import detectors_of_orders

MODELS = {
    "R1": Path(__file__).parent / "promela" / "r01_pin_vs_rmap.pml",
    "R3": Path(__file__).parent / "promela" / "r03_sync_vs_pin.pml",
}
FAILURES = {
    "R1": ("D1", "D2", "UNSEEN"),
    "R3": ("D1", "D2_PIN", "D2_UPDATE", "UNSEEN"),
}
MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
needs_spin = pytest.mark.skipif(
    bool(MISSING),
    reason=f"{' and '.join(MISSING)} not found; `make test-full` installs the Debian packages",
)


def said_by_spin(model: Path, folder: Path, *macros: str) -> list[str]:
    """What Spin finds wrong in a model with these macros: one line, or none.

    Raises:
        AssertionError: it could not search everything.
    """
    defined = [f"-D{macro}" for macro in macros]
    for command in (
        ["spin", "-a", *defined, str(model)],
        ["gcc", "-DSAFETY", "-o", "pan", "pan.c"],
    ):
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert 0 == made.returncode, made.stdout + made.stderr
    pan = [str(folder / "pan"), "-n"]
    searched = subprocess.run(pan, cwd=folder, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"^pan:1: (.*) \(at depth \d+\)$", searched, re.MULTILINE)
    errors = re.search(r"errors: (\d+)$", searched, re.MULTILINE)
    assert errors is not None, searched
    assert len(found) == int(errors[1]), searched
    assert "max search depth too small" not in searched
    return found


def failures_by_spin(race: str, folder: Path, *macros: str) -> set[str]:
    """All failures that some order has, each looked for by its own assertion.

    ``D5`` where the CPUs can wait for each other; whatever else Spin says as it says it.
    """
    if not said_by_spin(MODELS[race], folder, *macros):
        return set()
    seen = set()
    for failure in FAILURES[race]:
        for said in said_by_spin(MODELS[race], folder, f"LOOK_FOR={failure}", *macros):
            if re.fullmatch(r"assertion violated\s+!\(\(failure==\d+\)\)", said):
                seen.add(failure)
            else:
                seen.add("D5" if said == "invalid end state" else said)
    return seen


@needs_spin
@pytest.mark.parametrize("fix", [False, True])
@pytest.mark.parametrize("race", ["R1", "R3"])
def test_both_checkers_see_the_same(race: str, fix: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """The same detectors without the fix; none, and no deadlock, with it."""
    by_spin = {failure[:2] for failure in failures_by_spin(race, tmp_path, f"FIX={fix:d}")}

    assert detectors_of_orders(race, fix=fix, switches=1) == by_spin
    assert by_spin == (set() if fix else set(RACES[race].detectors))


@needs_spin
@pytest.mark.parametrize(
    ("race", "failures"), [("R1", {"D1"}), ("R3", {"D1", "D2_PIN", "D2_UPDATE"})]
)
def test_more_cpus_see_no_other_failure(race: str, failures: set[str], tmp_path: Path) -> None:
    """A third vCPU that reclaims, or that pins a pgd of its own; with the fix also a fourth."""
    assert failures == failures_by_spin(race, tmp_path, "FIX=0", "VCPUS=3")
    for vcpus in (3, 4):
        assert [] == said_by_spin(MODELS[race], tmp_path, "FIX=1", f"VCPUS={vcpus}")


@pytest.mark.parametrize(
    ("course", "refused", "saw", "wanted"),
    [
        ([(0, 0), (1, 1)], "PIN_L4_TABLE of", "e400000000000001", "8000000000000000"),
        ([(0, 0), (0, 1), (1, None)], "mmu_update of", "8000000000000001", "e000000000000000"),
    ],
    ids=["D2_PIN", "D2_UPDATE"],
)
def test_simulator_refuses_what_spin_shows(
    course: list[tuple[int, int | None]], refused: str, saw: str, wanted: str
) -> None:
    """R3, both kinds of D2: the pgd loses its writable use, and is taken as something at once.

    In one order the update takes it as writable for a moment, and then comes the pin; in the other
    one the pin has taken it, but not looked through it yet, and then comes the update.
    """
    race = RACES["R3"]
    stage = fresh(race, fix=False, vcpus=2, xen="4.17")
    words = stage.kernel.frames.type_info
    index = stage.kernel.frames.index(stage.mms["new"].pgd)
    left = [*course, (0, None)]  # which vCPU goes on until the page has so many uses

    class AsTold(InTurn):
        """Follows the course."""

        def pick(self, ready: Sequence[int]) -> int:
            while words[index] & COUNT == left[0][1]:
                del left[0]
            return left[0][0] if left[0][0] in ready else ready[0]

    execution = execute(race.actors_on(stage), AsTold(), preempts=False)
    verdict = judge(race, stage, execution.failure)

    assert "D2" == verdict.detector
    assert refused in verdict.explanation
    assert f"Bad type (saw {saw} != exp {wanted})" in verdict.console[0]


@needs_spin
@pytest.mark.parametrize(("race", "fix"), [("R1", 1), ("R3", 0)])
def test_store_past_a_missing_flush_is_seen(race: str, fix: int, tmp_path: Path) -> None:
    """The models can fail where the races do not: a Xen that forgets its flush is found out."""
    for flushes, said in ((1, 0), (0, 1)):
        macros = f"FIX={fix}", f"XEN_FLUSHES={flushes}", "LOOK_FOR=UNSEEN"
        assert said == len(said_by_spin(MODELS[race], tmp_path, *macros))


@needs_spin
@pytest.mark.parametrize(
    ("race", "release"),
    [("R1", "give(ptl)  /* the batch's callback */"), ("R3", "give(pgd[me].page_table_lock)")],
)
def test_lock_that_is_kept_is_a_deadlock(race: str, release: str, tmp_path: Path) -> None:
    """With the fix the others wait for that lock: Spin says so if pinning does not give it back."""
    text = MODELS[race].read_text()
    assert 1 == text.count(release)
    spoilt = tmp_path / "spoilt.pml"
    spoilt.write_text(text.replace(release, "skip"))

    assert ["invalid end state"] == said_by_spin(spoilt, tmp_path, "FIX=1")
    if race == "R3":
        assert [] == said_by_spin(spoilt, tmp_path, "FIX=0", "LOOK_FOR=UNSEEN")
