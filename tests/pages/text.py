"""Markdown of generated pages: a head that says what the page is, and lines that fit."""

import re
from textwrap import wrap

COLUMNS = 100


def head(title: str, says: str, made_from: str) -> str:
    """The beginning of a page: its title, what it says, and what it is made from."""
    origin = f"This page is a reference, made from {made_from} by `make pages`."
    return f"# {title}\n\n{paragraph(says)}\n\n{paragraph(origin)}\n"


def paragraph(text: str) -> str:
    """A text of one paragraph or several, in lines that fit."""
    return "\n\n".join("\n".join(_wrapped(part)) for part in text.split("\n\n"))


def item(text: str, level: int = 0) -> str:
    """One item of a list, in lines that fit."""
    return "\n".join(_wrapped(text, "  " * level + "* ", "  " * level + "  "))


def plain(docstring: str) -> str:
    """A docstring as Markdown: its roles and double backticks are code."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", docstring)
    return text.replace("``", "`").replace("<", "&lt;")


def _wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    return wrap(
        " ".join(text.split()),
        COLUMNS,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
