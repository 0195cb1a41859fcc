"""Console lines back to the messages they were made from.

The formats of :mod:`models.xen.versions.messages` are turned round: each becomes a regular
expression that gives the arguments back. Where a line was printed from tells the version of Xen;
without that, or where the place is not one of the tables', its text alone decides.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from string import Formatter
from typing import NamedTuple

from models.xen.versions.abi import Abi

# After "(XEN) ", and a time in brackets: the place of a gdprintk and the guest it is about.
_PLACE = re.compile(r"(?P<file>[\w./-]+\.[ch]):(?P<line>\d+):(?P<guest>d\S+) (?P<text>.*)")
_GUEST = re.compile(r"(?P<guest>d(?:\d+|\[\w+\])(?:v\d+)?) (?P<text>.*)")
_TIME = re.compile(r"\[[^\]]*\]\s*")
_TEXTS = {"wanted_text", "owner_text"}


class Argument(NamedTuple):
    """What stood in the place of one argument."""

    value: int | str
    raw: str


class Sighting(NamedTuple):
    """A message of one version that a line can be."""

    abi: Abi
    name: str
    arguments: dict[str, Argument]
    """In the order of the line. ``hex_slot`` is called ``slot`` like its elder, and the second
    occurrence of an argument has ``_2`` added."""
    in_place: bool
    """The file and the line number are those of this version, too."""


class ConsoleLine(NamedTuple):
    """A line that is one of Xen's messages."""

    text: str
    """The whole line as it was given."""
    place: str
    """File and line number, empty where it has none."""
    guest: str
    sightings: tuple[Sighting, ...]
    """At least one. If any is in place, all are."""


def recognise(text: str, abis: Sequence[Abi]) -> ConsoleLine | None:
    """The messages of these versions that a line can be, None if it is none."""
    whole = " ".join(text.split()).lstrip("> ")
    line = whole.rpartition("(XEN)")[2].strip()
    line = line[time.end() :] if (time := _TIME.match(line)) else line
    if place := _PLACE.fullmatch(line):
        origin = (place["file"].removeprefix("./"), int(place["line"]))
        sightings = list(_sightings(place["text"], origin, abis))
        found = [s for s in sightings if s.in_place] or sightings
        where, guest = f"{place['file']}:{place['line']}", place["guest"]
    else:
        # A message may itself begin with a domain's name.
        found, where, guest = list(_sightings(line, None, abis)), "", ""
        if not found and (named := _GUEST.fullmatch(line)):
            found, guest = list(_sightings(named["text"], None, abis)), named["guest"]
    return ConsoleLine(whole, where, guest, tuple(found)) if found else None


def recognise_all(lines: Sequence[str], abis: Sequence[Abi]) -> tuple[list[ConsoleLine], list[str]]:
    """The messages in a log, and the lines that are none.

    A message that a mail has wrapped onto the next line is recognised, too.
    """
    found, passed_over = [], []
    rest = iter(range(len(lines)))
    for number in rest:
        line = recognise(lines[number], abis)
        if line is None and "(XEN)" not in (after := "".join(lines[number + 1 : number + 2])):
            line = recognise(f"{lines[number]} {after.lstrip('> ')}", abis) if after else None
            if line is not None:
                next(rest, None)
        if line is not None:
            found.append(line)
        else:
            passed_over.append(lines[number])
    return found, passed_over


def _sightings(
    text: str, origin: tuple[str, int] | None, abis: Sequence[Abi]
) -> Iterator[Sighting]:
    for abi in abis:
        for name, message in abi.text.items():
            match = _expression(message.text).fullmatch(text)
            if match is None:
                continue
            place = ((message.file or abi.source_file).removeprefix("./"), message.line)
            arguments = {
                "slot" if key == "hex_slot" else key: Argument(_value(key, raw, message.text), raw)
                for key, raw in match.groupdict().items()
            }
            yield Sighting(abi, name, arguments, in_place=origin == place)


@cache
def _expression(text: str) -> re.Pattern[str]:
    """What a format's lines look like: a group for each argument."""
    parts, seen = [], set()
    for literal, name, spec, _ in Formatter().parse(text):
        parts.append(re.escape(literal))
        if name is not None:
            group = f"{name}_2" if name in seen else name
            seen.add(name)
            parts.append(f"(?P<{group}>{_argument(name, spec or '')})")
    return re.compile("".join(parts), re.IGNORECASE)


def _argument(name: str, spec: str) -> str:
    """What an argument looks like, padded to the width that the format asks for."""
    if name in _TEXTS:
        return r"\S+"
    if name == "hex_slot" or spec == "#x":
        return "0x[0-9a-f]{1,16}|0"
    if not spec:
        return r"-?\d{1,19}"
    width = int(spec.rstrip("xX") or 1)
    longer = f"|[1-9a-f][0-9a-f]{{{width},15}}" if width < 16 else ""
    return f"[0-9a-f]{{{width}}}{longer}"


def _value(key: str, raw: str, text: str) -> int | str:
    name = key.removesuffix("_2")
    if name in _TEXTS:
        return raw
    is_hexadecimal = name == "hex_slot" or f"{{{name}:" in text
    return int(raw, 16 if is_hexadecimal else 10)
