"""The blocks of code on the project's pages, and what their languages promise.

* ``python`` is run, unless its first line says "# A fragment:" and why it is none by itself.
  Where "It prints:" and a ``text`` block follow, that is what it prints.
* ``console`` is commands behind ``$`` with what they print; a line ``...`` stands for any lines.
  ``console long`` takes more than two seconds.
* ``shell`` is commands that are not run: they are parsed.
* ``toml`` with a section ``[guest]`` is a scenario or a sweep.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FRAGMENT = "# A fragment: "

_FENCED = re.compile(r"^```([\w ]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    """The words behind the fence."""
    code: str
    prints: str | None = None
    """What the page says that it prints."""

    @property
    def is_fragment(self) -> bool:
        """Does it say that it cannot be run by itself?"""
        return self.code.startswith(FRAGMENT)

    def __str__(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All pages that are written or made for readers."""
    at_the_top = (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))
    return [*at_the_top, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    for fence in _FENCED.finditer(text):
        behind = text[fence.end() :].removeprefix("\n\nIt prints:\n\n")
        printed = _FENCED.match(behind) if behind != text[fence.end() :] else None
        line = text.count("\n", 0, fence.start()) + 1
        yield Block(page, line, fence[1].strip(), fence[2], printed[2] if printed else None)


def all_blocks(*languages: str) -> list[Block]:
    """Those of all pages in one of these languages."""
    return [block for page in pages() for block in blocks(page) if block.language in languages]


def commands(code: str) -> list[str]:
    """The command lines of a ``shell`` block, without comments."""
    lines = code.replace("\\\n", " ").splitlines()
    return [bare for line in lines if (bare := re.sub(r"\s+# .*$", "", line).strip())]


def exchanges(code: str) -> Iterator[tuple[str, str]]:
    """The commands of a ``console`` block, each with what it prints."""
    for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


def matches(told: str, printed: str) -> bool:
    """Is this what was printed, where a line ``...`` stands for any lines?"""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "...\n" else re.escape(line)
        for line in told.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, printed) is not None
