"""Files of recorded programs: read, unpacked and decoded, or one clear line that says why not."""

import gzip
import zlib
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from experiments.errors import InputError


class _File(Protocol):
    schema: str


F = TypeVar("F", bound=_File)


def load_file(path: Path, kind: type[F], schema: str, of: str) -> F:
    """The document in a file (.json, or .json.gz) of things that ``of`` names.

    Raises:
        InputError: the file cannot be read, or is no such document.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        file = msgspec.json.decode(content, type=kind)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zlib.error, EOFError) as error:
        raise InputError(f"{path}: is damaged: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no file of {of}: {error}") from error
    if file.schema != schema:
        raise InputError(f"{path}: has the schema {file.schema!r}; it should be {schema!r}")
    return file
