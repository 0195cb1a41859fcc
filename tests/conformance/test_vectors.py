"""What Xen answers, call by call: recorded on a running one, or read from its sources.

The files in ``data/`` hold the schema ``pinlab.conformance/1``: a machine, operations, and what
must come back. Vectors of origin ``real`` were recorded by a small PV guest on Xen 4.17.7; those
of origin ``read`` were derived from the sources of xen-unstable 87e0dc6ea0 (``4.2dev``) and
RELEASE-4.17.0 (``4.17``) through a model of their own, which agrees with every recording.
"""

import gzip
import json
from pathlib import Path

import pytest

from models.xen.abi import profile_names
from tests.conformance.vectors import OutOfScope, Vector, differences

DATA = Path(__file__).parent / "data"

# Vectors that need what is not modelled.
OUT_OF_SCOPE = {
    # mmuext_op in the name of another domain (DOMID_IO, DOMID_XEN, one that does not exist).
    "recorded_15_pin_for_other_domains",
}


def _vectors() -> list[Vector]:
    """Those of the Xen versions that there are, in the order of the files."""
    vectors = [
        vector
        for path in sorted(DATA.glob("*.json.gz"))
        for vector in json.loads(gzip.decompress(path.read_bytes()))["vectors"]
    ]
    return [vector for vector in vectors if vector["version"] in profile_names()]


VECTORS = {f"{vector['name']}-{vector['version']}": vector for vector in _vectors()}
IN_SCOPE = [name for name, vector in VECTORS.items() if vector["name"] not in OUT_OF_SCOPE]


@pytest.mark.parametrize("name", IN_SCOPE)
def test_model_agrees_with_vector(name: str) -> None:
    """Return codes, completed requests, console lines, type words, counts, entries, flushes."""
    assert [] == differences(VECTORS[name])


@pytest.mark.parametrize("name", sorted(VECTORS.keys() - IN_SCOPE))
def test_vector_out_of_scope_is_so_for_an_operation(name: str) -> None:
    """A vector is left out only as long as one of its operations cannot be run at all."""
    with pytest.raises(OutOfScope):
        differences(VECTORS[name])
