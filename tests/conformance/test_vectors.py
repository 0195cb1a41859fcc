"""What Xen answers, call by call: recorded on a running one, or read from its sources.

The files in ``data/`` hold the schema ``pinlab.conformance/1``: a machine, operations, and what
must come back. Vectors of origin ``real`` were recorded by a small PV guest on Xen 4.17.7 and on
c447b7308b (``master``); those of origin ``read`` were derived from the sources of RELEASE-4.1.0,
xen-unstable 87e0dc6ea0 (``4.2dev``), RELEASE-4.17.0 and c447b7308b through a model of their own,
which agrees with every recording.
"""

from pathlib import Path

import pytest

from experiments.conformance.bench import differences
from experiments.conformance.vectors import Program, load_programs

DATA = Path(__file__).parent / "data"


def _programs() -> dict[str, Program]:
    programs = [program for path in sorted(DATA.glob("*.gz")) for program in load_programs(path)]
    return {f"{program.vector.name}-{program.vector.version}": program for program in programs}


PROGRAMS = _programs()


@pytest.mark.parametrize("name", PROGRAMS)
def test_model_agrees_with_vector(name: str) -> None:
    """Return codes, completed requests, console lines, type words, counts, entries, flushes."""
    assert [] == differences(PROGRAMS[name])
