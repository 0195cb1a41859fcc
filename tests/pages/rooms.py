"""The map of the rooms: every package with what it holds, every module with its first sentence."""

import ast
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from tests.pages.text import head

ROOT = Path(__file__).parents[2]
PACKAGES = ("sim", "models", "experiments", "pinlab")
_SAYS = """These are all rooms with what each holds; [architecture](../concepts/architecture.md)
tells how they work together. Every module says so in its first line."""


def rooms_page() -> str:
    """The page, as docs/reference/rooms.md has it."""
    made = head("Rooms", _SAYS, "the first lines of the modules")
    return "\n".join([made, *(line for name in PACKAGES for line in _room(ROOT / name))]) + "\n"


def _room(folder: Path) -> Iterator[str]:
    title = folder.relative_to(ROOT).as_posix()
    yield f"## {title}/\n"
    yield _first_line(folder / "__init__.py") + "\n"
    modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    for path in modules:
        yield from wrap(f"* `{path.stem}`: {_first_line(path)}", 100, subsequent_indent="  ")
    if modules:
        yield ""
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").is_file():
            yield from _room(inner)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if docstring is None:
        raise ValueError(f"{path} does not say what it holds")
    return docstring.splitlines()[0]
