"""Which code makes the records: a hash that changes when anything changes that a run depends on.

That is the source of ``sim`` and ``models`` with their tables of latencies, of ``experiments`` the
modules that a run imports, and the versions of the two libraries that it computes and orders
events with. An edited table or report leaves the version, and so a ledger, as it is.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from experiments.scenario.strategies import source_file

_ENGINE_AND_MODELS = ("sim", "models")
_ENTRY = "experiments.subjects.kinds"
# Draws are the same with every numpy (sim.bits), but what else it does to a record nobody promises.
_LIBRARIES = ("numpy", "simpy")


@cache
def code_version(*entries: str) -> str:
    """16 hex digits for the code as it was when this process first asked.

    ``entries``: the modules that make what is to be dated; by default the one of runs.
    """
    digest = hashlib.sha256()
    for name, path in sorted(sources(*entries)):
        _add(digest, name.encode(), path.read_bytes())
    for library in _LIBRARIES:
        _add(digest, library.encode(), version(library).encode())
    return digest.hexdigest()[:16]


@cache
def strategy_version(name: str) -> str:
    """A hash of the file that a user's own strategy comes from; empty for one of PinLab's."""
    path = source_file(name)
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def sources(*entries: str) -> Iterator[tuple[str, Path]]:
    """Every file of PinLab's that a run depends on, with its name in the packages."""
    for package in _ENGINE_AND_MODELS:
        root = _origin(package).parent
        for path in root.rglob("*"):
            if path.suffix in {".py", ".toml"}:
                yield f"{package}/{path.relative_to(root).as_posix()}", path
    for module, path in _imported_by(entries or (_ENTRY,)).items():
        yield module, path


def _imported_by(entries: Iterable[str]) -> dict[str, Path]:
    """The modules of ``experiments`` that these import, also indirectly or in a function."""
    found: dict[str, Path] = {}
    waiting = [*entries]
    while waiting:
        module = waiting.pop()
        if module in found or not module.startswith("experiments."):
            continue
        found[module] = _origin(module)
        waiting.append(module.rpartition(".")[0])
        for node in ast.walk(ast.parse(found[module].read_bytes())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting.append(node.module)
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                waiting += [name for name in inner if _is_module(name)]
    return found


def _is_module(name: str) -> bool:
    """Is it one, or something defined in one?"""
    return name.startswith("experiments.") and _file(name) is not None


def _origin(module: str) -> Path:
    found = _file(module)
    if found is None:
        raise FileNotFoundError(f"the source of {module} is not installed")
    return found


def _file(module: str) -> Path | None:
    """Where a module's source is, found without importing any."""
    top, *inner = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*inner)
    return next(
        (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None
    )


def _add(digest: "hashlib._Hash", *parts: bytes) -> None:
    """Each part with its length, so that no two lists of parts give the same bytes."""
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
