"""The conformance vectors that come with the tests."""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

_DATA = Path(__file__).parents[2] / "conformance" / "data"


@cache
def conformance_vectors() -> list[dict[str, Any]]:
    """Those of origin ``real``."""
    files = [msgspec.json.decode(gzip.decompress(p.read_bytes())) for p in _DATA.glob("*.json.gz")]
    return [vector for file in files for vector in file["vectors"] if vector["origin"] == "real"]
