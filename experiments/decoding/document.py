"""What a word, a console line or a pasted log means: the document of ``pinlab decode``."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from experiments.decoding.console_lines import ConsoleLine, Sighting, recognise, recognise_all
from experiments.decoding.explanations import BAD_TYPES, EXPLANATIONS, Explanation
from experiments.decoding.line_values import Told, tell, word_readings
from experiments.decoding.words import Reading, read_count_info, read_type_info, readings, type_name
from experiments.errors import InputError
from models.xen.versions.abi import Abi, find_abi, profile_names

Document = dict[str, Any]

_WORD = re.compile(r"(?:0[xX])?([0-9a-fA-F]+)")
_BITS = 64
_SHOWN = 60

# What a message calls differently in different versions has one name in explanations.
_ALIASES = {
    "entry_va": "slot",
    "wanted_text": "wanted",
    "domain_va": "wanted",
    "owner_text": "owner",
}


def decode(arguments: Sequence[str], *, xen: str | None, count_info: bool) -> Document:
    """The document about words and lines, each argument one of them, or ``-`` for stdin.

    Args:
        arguments: words of hexadecimal digits, and texts of one or more console lines. A single
            line may be spread over several arguments, as an unquoted one is.
        xen: the version that they come from, if it is known.
        count_info: words are ``count_info`` words, not ``type_info``.

    Raises:
        InputError: nothing in it can be decoded.
    """
    if not arguments:
        raise InputError("nothing to decode: give a word, a console line in quotes, or - for stdin")
    abis = _versions(xen)
    items: list[Document] = []
    passed_over: list[str] = []
    unquoted = " ".join(arguments)
    if all(_is_single(argument) for argument in arguments) and recognise(unquoted, abis):
        arguments = [unquoted]
    for argument in arguments:
        if argument != "-" and _is_single(argument):
            items.append(_about_word(_word(argument), abis, count_info=count_info))
            continue
        # The lines of a log are decoded beside each other; a mail may have wrapped them.
        lines = (_stdin() if argument == "-" else argument).splitlines()
        found, rest = recognise_all([line for line in lines if line.strip()], abis)
        items += [_about_line(line) for line in found]
        passed_over += rest
    if not items:
        raise InputError(_nothing_found(passed_over, xen))
    return {
        "schema": "pinlab.decode/1",
        "items": _repeated_once(items),
        "passed_over": len(passed_over),
    }


def _versions(xen: str | None) -> list[Abi]:
    known = profile_names()
    if xen is None:
        return [find_abi(name) for name in known]
    if xen not in known:
        raise InputError(f"no Xen version {xen!r}; there are {', '.join(known)}")
    return [find_abi(xen)]


def _stdin() -> str:
    """A log may hold anything; what is no text in it is not what is looked for."""
    return sys.stdin.buffer.read().decode(errors="replace")


def _is_single(argument: str) -> bool:
    return len(argument.split()) == 1


def _word(text: str) -> int:
    match = _WORD.fullmatch(text.strip())
    if text.startswith("-"):
        raise InputError(f"Unknown option: {text}; see pinlab decode --help")
    if match is None:
        raise InputError(
            f"{_shortened(text)!r} is neither a word of hexadecimal digits nor a console line"
        )
    word = int(match[1], 16)
    if word >> _BITS:
        raise InputError(f"{_shortened(text)} has more than 64 bits")
    return word


def _nothing_found(lines: Sequence[str], xen: str | None) -> str:
    """Why nothing was decoded, for the user."""
    if not lines:
        return "there is no line to decode"
    source = f"Xen {xen}" if xen else f"Xen {', '.join(profile_names())}"
    known, _ = recognise_all(lines, _versions(None))
    elsewhere = {sighting.abi.name for line in known for sighting in line.sightings}
    told = f"; it is known from Xen {', '.join(n for n in profile_names() if n in elsewhere)}"
    subject = repr(_shortened(lines[0])) if len(lines) == 1 else f"none of the {len(lines)} lines"
    negated = "is no" if len(lines) == 1 else "is a"
    return f"{subject} {negated} line that the MMU of {source} prints{told if elsewhere else ''}"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _repeated_once(items: Iterable[Document]) -> list[Document]:
    """Items that are the same become one, with how often it came."""
    times: dict[str, Document] = {}
    for item in items:
        seen = times.setdefault(item.get("line") or item["word"], item | {"times": 0})
        seen["times"] += 1
    return list(times.values())


def _about_word(word: int, abis: Sequence[Abi], *, count_info: bool) -> Document:
    """One word: what it says in the versions that could hold it; in all, if none could."""
    read = read_count_info if count_info else read_type_info
    everywhere = readings(read, _versions(None), word)
    sensible = [reading for reading in everywhere if not reading.doubts]
    asked = {abi.name for abi in abis}
    is_telling = len(sensible) == 1 < len(everywhere) and not asked <= set(sensible[0].xen)
    found = readings(read, abis, word)
    return {
        "kind": "word",
        "word": f"{word:016x}",
        "as": "count_info" if count_info else "type_info",
        "only_in": list(sensible[0].xen) if is_telling else None,
        "readings": [
            _about_reading(reading)
            for reading in [reading for reading in found if not reading.doubts] or found
        ],
    }


def _about_reading(reading: Reading) -> Document:
    fields = dict(reading.fields)
    if "kind" in fields:
        fields["kind"] = f"{fields['kind']:016x}"
    return {
        "xen": list(reading.xen),
        **fields,
        "flags": list(reading.flags),
        "state": reading.state,
        "meaning": reading.meaning,
        "trouble": reading.trouble,
        "doubts": list(reading.doubts),
    }


def _about_line(line: ConsoleLine) -> Document:
    """One console line: who printed it, what its arguments say, why, and what to do."""
    sightings, identified_by = _narrowed(line)
    first = sightings[0]
    abis = list({sighting.abi.name: sighting.abi for sighting in sightings}.values())
    names = list(dict.fromkeys(sighting.name for sighting in sightings))
    told = {
        name: tell(name, argument, abis, _level(first.name))
        for name, argument in first.arguments.items()
    }
    phrases = {_ALIASES.get(name, name): value.phrase for name, value in told.items()}
    explained = [(name, _explanation(name, first, abis)) for name in names]
    return {
        "kind": "line",
        "line": line.text,
        "place": line.place or None,
        "guest": line.guest or None,
        "xen": [abi.name for abi in abis],
        "identified_by": identified_by,
        "values": [
            _about_value(name, first.arguments[name].raw, value) for name, value in told.items()
        ],
        "explanations": [
            {
                "message": name,
                "function": explanation.function,
                "says": explanation.says.format_map(phrases),
                "cause": explanation.cause,
                "remedy": explanation.remedy,
            }
            for name, explanation in explained
        ],
    }


def _about_value(name: str, raw: str, told: Told) -> Document:
    value: Document = {"name": name, "value": raw, "meaning": told.meaning}
    if told.readings:
        value["readings"] = [_about_reading(reading) for reading in told.readings]
    return value


def _narrowed(line: ConsoleLine) -> tuple[Sequence[Sighting], str]:
    """The messages that a line can be, less those in whose version its words make no sense."""
    sightings = line.sightings
    if sightings[0].in_place:
        return sightings, "place"
    sensible = [sighting for sighting in sightings if not any(_doubts(sighting))]
    if sensible and len(sensible) < len(sightings):
        return sensible, "text and words"
    return sightings, "text"


def _doubts(sighting: Sighting) -> Iterator[str]:
    for name, (value, _) in sighting.arguments.items():
        if isinstance(value, int):
            for reading in word_readings(name, value, [sighting.abi]):
                yield from reading.doubts


def _level(name: str) -> int:
    """The level of table that a message is about."""
    return int(name[-1]) if name[-1].isdigit() else 1


def _explanation(name: str, sighting: Sighting, abis: Iterable[Abi]) -> Explanation:
    """The text about a message; "Bad type" has one for each pair of types."""
    explanation = EXPLANATIONS[name]
    if "saw" in sighting.arguments:
        saw, want = (int(sighting.arguments[key].value) for key in ("saw", "want"))
        pairs = {(_sort(abi, saw), _sort(abi, want)) for abi in abis}
        pair = pairs.pop()
        if not pairs and pair in BAD_TYPES:
            cause, remedy = BAD_TYPES[pair]
            return explanation._replace(cause=cause, remedy=remedy)
    return explanation


def _sort(abi: Abi, word: int) -> str:
    return "table" if abi.level(word) else type_name(abi, word)
