"""What made a document: the code, what was asked of it, and the versions of what it rests on."""

import hashlib
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from experiments.code_version import code_version
from experiments.record.record import Provenance


def provenance(settings: object, *modules: str, seed: int | None = None) -> Provenance:
    """What makes a document that these modules decide, by default those of a run.

    ``settings``: what was asked for, as plain data, in its full spelling. ``seed``: None where
    nothing is drawn. Nothing of it depends on the clock or the machine.
    """
    return Provenance(
        pinlab=version("pinlab"),
        code=code_version(*modules),
        settings=settings,
        seed=seed,
        python=platform.python_version(),
        numpy=version("numpy"),
        simpy=version("simpy"),
    )


def contents(files: Iterable[Path]) -> list[dict[str, str]]:
    """The files that a command was given, by name and by a hash of what they hold."""
    return [
        {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in files
    ]
