"""Files of a failing run, written together: each is whole or is not there."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from experiments.counterexamples import repro
from experiments.counterexamples.counterexample import Counterexample
from experiments.counterexamples.repro import Repro
from experiments.counterexamples.svg import svg
from experiments.counterexamples.trace import trace
from experiments.errors import InputError
from sim.explore.program import Finding
from sim.recording import Recording


def write_counterexample(folder: Path, found: Counterexample) -> list[Path]:
    """``repro.json``, ``diagram.svg`` and ``trace.json``, in a folder that is made if need be.

    Raises:
        InputError: they cannot be written.
    """
    return write_all(folder, repro.of_counterexample(found), svg(found), trace(found))


def write_all(folder: Path, kept: Repro, picture: str, events: Mapping[str, Any]) -> list[Path]:
    """The three files of a failing run.

    Raises:
        InputError: they cannot be written.
    """
    return write_files(
        folder,
        {
            repro.FILE: repro.as_json(kept),
            "diagram.svg": picture.encode(),
            "trace.json": msgspec.json.encode(events) + b"\n",
        },
    )


def write_recording(
    path: Path, document: Mapping[str, Any], recording: Recording, finding: Finding | None
) -> list[Path]:
    """A run on the clock, in one file.

    Raises:
        InputError: it cannot be written.
    """
    kept = repro.of_recording(document, recording, finding)
    return write_files(path.parent, {path.name: repro.as_json(kept)})


def check_folder(folder: Path) -> None:
    """Raise InputError where files cannot be written into a folder; it may not exist yet."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"cannot write to {folder}: {existing} is no directory")
    if not os.access(existing, os.W_OK):
        raise InputError(f"cannot write to {folder}: {existing} is write-protected")


def write_files(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files into a folder; their paths.

    Raises:
        InputError: that fails.
    """
    written = []
    partial = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            path = folder / name
            partial = path.with_name(f".{name}.{os.getpid()}")
            partial.write_bytes(content)
            partial.replace(path)
            written.append(path)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    finally:
        if partial != folder:
            with suppress(OSError):
                partial.unlink()
    return written
