"""How the pages read: each says what it is, names the actor, and keeps its sentences short."""

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

from tests.pages.blocks import ROOT, pages
from tests.pages.links import prose
from tests.pages.pages import PAGES, REFERENCE

GENERATED = {REFERENCE / f"{name}.md" for name in PAGES}
WRITTEN = [p for p in pages() if p not in GENERATED and p.name != "CHANGELOG.md"]
KINDS = {
    "guides": "This page is a guide",
    "concepts": "a concept",
    "reference": "a reference",
    "decisions": "This page is a record of decisions",
}
SECTIONS = [
    page for kind in KINDS for page in (ROOT / "docs" / kind).glob("*.md") if page.stem != "index"
]
WORDS_A_SENTENCE = 22

_ITEM = r"(?:[*-]|\d+\.) "


def paragraphs(page: Path) -> Iterator[str]:
    """The paragraphs and items of a page; no headings, tables or pictures."""
    for part in re.split(rf"\n\s*\n|\n(?=\s*{_ITEM})", prose(page)):
        text = re.sub(rf"^{_ITEM}", "", part.strip())
        if text and not text.startswith(("#", "|", "!")):
            yield " ".join(text.split())


def sentences(paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph, where code is one word."""
    words = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", paragraph))
    yield from re.split(r"(?<=[.?!:])[*]*\s+(?=[A-Z*\"\[])", words)


@pytest.mark.parametrize("page", SECTIONS, ids=lambda page: page.stem)
def test_page_says_what_kind_it_is(page: Path) -> None:
    """A guide, a concept, a reference or a record of decisions, as its folder has it."""
    beginning = "\n".join(paragraphs(page))

    assert KINDS[page.parent.name] in beginning


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_only_questions_begin_with_who_or_what(page: Path) -> None:
    """A sentence names its actor."""
    begun = [
        sentence
        for paragraph in paragraphs(page)
        for sentence in sentences(paragraph)
        if re.match(r"\W*(Who|What)\b", sentence) and "?" not in sentence
    ]

    assert [] == begun


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_headings_are_nouns_or_tasks(page: Path) -> None:
    """None begins like a question or a saying."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)

    assert [] == [h for h in headings if re.match(r"(Who|What|How|Where|Which|When|Why)\b", h)]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_sentences_are_short(page: Path) -> None:
    """On average; and no paragraph has more than one semicolon."""
    lengths = [len(s.split()) for text in paragraphs(page) for s in sentences(text)]
    texts = [re.sub(r"`[^`]*`", "code", text) for text in paragraphs(page)]

    assert mean(lengths) <= WORDS_A_SENTENCE
    assert [] == [text for text in texts if text.count(";") > 1]
