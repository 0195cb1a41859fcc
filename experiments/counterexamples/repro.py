"""``repro.json``: a program, the tape of one of its runs, and what came of it."""

import base64
import binascii
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec

from experiments.code_version import code_version
from experiments.counterexamples.counterexample import Counterexample
from experiments.errors import InputError
from experiments.subjects.orders import EXPLORED, TIMED, module_of
from sim.explore.program import Finding
from sim.recording import Recording, read_lines
from sim.streams import VERSION as STREAMS_VERSION
from sim.tape import VERSION, Tape, TapeError, parse_tape

SCHEMA: Literal["pinlab.repro/1"] = "pinlab.repro/1"
FILE = "repro.json"


class Found(msgspec.Struct, frozen=True):
    """What a run ended with that ought not to be."""

    kind: str
    message: str


class Repro(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run that can be made again."""

    schema: Literal["pinlab.repro/1"]
    mode: Literal["explored", "timed"]
    """Without delays, each step decided by the tape; or on the clock."""
    program: dict[str, Any]
    """A ``kind``, and what that needs to make the program again."""
    tape_version: int
    tape: str
    """The answers (:mod:`sim.tape`)."""
    streams_version: int | None = None
    """What a seed meant to a run on the clock (:mod:`sim.streams`): its durations are drawn. Files
    of version 1 do not say; an explored run draws none."""
    stopped: bool = False
    """The run was ended after the tape's last step, where others could have gone on."""
    finding: Found | None = None
    cause: str = ""
    versions: dict[str, str] = {}
    steps: int
    lines: tuple[str, ...] = ()
    """The steps of an explored run ..."""
    packed_lines: str = ""
    """... or of one on the clock: text, by zlib, in base64."""

    def read_tape(self) -> Tape:
        """The tape.

        Raises:
            InputError: its text is none.
        """
        try:
            return parse_tape(self.tape)
        except TapeError as error:
            raise InputError(f"tape: {error}") from error

    def read_lines(self) -> Iterator[str]:
        """The steps that were recorded.

        Raises:
            InputError: they are damaged.
        """
        if self.mode == "explored":
            return iter(self.lines)
        try:
            return read_lines(base64.b64decode(self.packed_lines, validate=True))
        except (ValueError, binascii.Error) as error:
            raise InputError(f"packed_lines: {error}") from error


def of_counterexample(found: Counterexample) -> Repro:
    """The file of an explored execution."""
    return Repro(
        schema=SCHEMA,
        mode="explored",
        program=found.explored.document,
        tape_version=VERSION,
        tape=str(found.tape),
        stopped=found.stopped,
        finding=Found(*found.finding),
        cause=found.cause,
        versions=versions(found.explored.document, EXPLORED),
        steps=found.size.steps,
        lines=found.observed.lines,
    )


def of_recording(
    document: Mapping[str, Any], recording: Recording, finding: Finding | None
) -> Repro:
    """The file of a run on the clock."""
    return Repro(
        schema=SCHEMA,
        mode="timed",
        program=dict(document),
        tape_version=VERSION,
        tape=str(recording.tape),
        streams_version=STREAMS_VERSION,
        finding=None if finding is None else Found(*finding),
        versions=versions(document, TIMED),
        steps=recording.steps,
        packed_lines=base64.b64encode(recording.lines()).decode(),
    )


def versions(document: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, str]:
    """What a run of a program depends on beside it; ``code`` is a hash of the sources."""
    return {
        "pinlab": version("pinlab"),
        "code": code_version(module_of(document, kinds)),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "simpy": version("simpy"),
    }


def as_json(repro: Repro) -> bytes:
    """The text of the file."""
    return msgspec.json.format(msgspec.json.encode(repro)) + b"\n"


def load(path: Path) -> Repro:
    """Read a file.

    Raises:
        InputError: it cannot be read, or is none of these.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        repro = msgspec.json.decode(text, type=Repro)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no {SCHEMA}: {error}") from error
    if repro.tape_version != VERSION:
        raise InputError(
            f"{path}: tape_version = {repro.tape_version}: this PinLab reads version {VERSION}"
        )
    drawn_as = repro.streams_version or 1
    if repro.mode == "timed" and drawn_as != STREAMS_VERSION:
        age = "an older" if drawn_as < STREAMS_VERSION else "a newer"
        raise InputError(
            f"{path}: streams_version = {drawn_as}: {age} PinLab recorded this run, and its seeds "
            f"meant other times; this one reads version {STREAMS_VERSION}; record the run again"
        )
    return repro
