"""Where the links of the pages lead."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.pages.blocks import ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_MENTION = re.compile(r"(?<![\w/.-])(?:docs|tests)/[\w./-]*\.md")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_ELSEWHERE = ("http://", "https://")


def broken_links(page: Path) -> Iterator[str]:
    """The links within the project that lead nowhere: to no file, or to no heading of one."""
    for target in _LINK.findall(prose(page)):
        if target.startswith(_ELSEWHERE):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.is_file() or (heading and heading not in anchors(file)):
            yield target


def broken_mentions(source: Path) -> Iterator[str]:
    """The pages that a source names by a path from the top, and that are not there."""
    named = _MENTION.findall(source.read_text(encoding="utf-8"))
    yield from (path for path in named if not (ROOT / path).is_file())


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))
