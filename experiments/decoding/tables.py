"""The document of ``pinlab decode`` for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Item = Mapping[str, Any]

_BY = {
    "place": "by the file and line number",
    "text": "by the text",
    "text and words": "by the text and by the words in it",
}

# What Xen calls some values on its console.
_LABELS = {
    "want": "wanted type",
    "count_info": "caf",
    "type_info": "taf",
    "wanted_text": "rd",
    "domain_va": "rd",
    "owner_text": "od",
    "entry_va": "address",
    "va": "cr2",
    "va_2": "addr",
    "owner": "l1e_owner",
    "other": "domain",
    "domid": "domain",
    "number": "vCPU",
}


def decode_table(document: Item) -> RenderableType:
    """All items below each other; what has been explained once is not explained again."""
    parts: list[RenderableType] = []
    explained: set[tuple[str, str]] = set()
    for item in document["items"]:
        parts += [_word(item) if item["kind"] == "word" else _line(item, explained), ""]
    if passed_over := document["passed_over"]:
        parts.append(Text(f"{passed_over:,} other line{_s(passed_over)} passed over", style="dim"))
    return Group(*(parts if passed_over else parts[:-1]))


def _word(item: Item) -> RenderableType:
    """A word: each way of reading it, with its fields, and what follows."""
    head = Text(f"{item['as']} {item['word']}{_repeated(item)}", style="bold")
    parts: list[RenderableType] = [head]
    if item["only_in"]:
        parts.append(Text(f"It makes sense in the word layout of {_xen(item['only_in'])} only."))
    for reading in item["readings"]:
        fields = _grid()
        title = Text(f"  {_xen(reading['xen'])}: ", style="dim")
        parts.append(title.append(reading["state"], style="not dim bold"))
        for name, value in _fields(reading):
            fields.add_row(name, Text(value))
        for label, key in (("means", "meaning"), ("expect", "trouble")):
            fields.add_row(label, Text(reading[key]))
        if reading["doubts"]:
            fields.add_row("doubtful", Text("; ".join(reading["doubts"]), style="yellow"))
        parts.append(Padding(fields, (0, 0, 0, 4)))
    return Group(*parts)


def _fields(reading: Item) -> list[tuple[str, str]]:
    """The fields of a word that are not told otherwise."""
    rows = [("type", f"{reading['type']} ({reading['kind']})")] if "type" in reading else []
    rows.append(("flags", ", ".join(reading["flags"]) or "none"))
    rows.append(("count", f"{reading['count']:,}"))
    if caching := reading.get("cache_attributes"):
        bits = ("PWT", "PCD", "PAT")
        rows.append(("caching", " ".join(b for n, b in enumerate(bits) if caching >> n & 1)))
    return rows


def _line(item: Item, explained: set[tuple[str, str]]) -> RenderableType:
    """A console line: its versions, what it says, its values, why, and what to do."""
    texts = item["explanations"]
    functions = _either([text["function"] for text in texts])
    values = _grid()
    for value in item["values"]:
        label = _LABELS.get(value["name"], value["name"])
        values.add_row(label, Text(value["value"]), Text(value["meaning"]))
    # Unwrapped, so that the line can be searched for.
    head = Text(item["line"], style="red", no_wrap=True, overflow="ignore")
    by = _BY[item["identified_by"]]
    if item["place"] and item["identified_by"] != "place":
        by += f", though none prints it at {item['place']}"
    source = f"{_xen(item['xen'])} ({by}); printed by {functions}"
    if item["guest"]:
        source += f", about {item['guest']}"
    source += _repeated(item)
    parts: list[RenderableType] = [
        Text(source, style="dim"),
        Text("\nor: ".join(dict.fromkeys(text["says"] for text in texts)), style="bold"),
        *([values] if item["values"] else []),
    ]
    reasons = dict.fromkeys((text["cause"], text["remedy"]) for text in texts)
    for reason in reasons:
        if reason in explained:
            parts.append(Text("cause and remedy: as above", style="dim"))
            continue
        explained.add(reason)
        why = _grid()
        why.add_row("cause", Text(reason[0]))
        why.add_row("remedy", Text(reason[1]))
        parts.append(why)
    return Group(head, Padding(Group(*parts), (0, 0, 0, 2)))


def _grid() -> Table:
    return Table.grid(padding=(0, 2, 0, 0))


def _xen(names: Sequence[str]) -> str:
    return f"Xen {', '.join(names)}"


def _either(names: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(names))


def _repeated(item: Item) -> str:
    return f"; {item['times']:,} times" if item["times"] > 1 else ""


def _s(number: int) -> str:
    return "" if number == 1 else "s"
