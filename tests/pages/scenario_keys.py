"""The keys of scenario files and the settings of races, from their records."""

from collections.abc import Iterator
from typing import Any

import msgspec

from experiments.scenario.scenario import Scenario
from experiments.subjects.race_settings import Settings
from models.strategies.recombine import PARTS, WAYS
from tests.pages.structs import Struct, is_tagged_union, keys, keys_by_kind, meanings
from tests.pages.text import head, item, paragraph

_SAYS = """A scenario file is TOML. These are all of its keys; [describing a
machine](../guides/describing-a-machine.md) shows how one is written.

Sizes and addresses are strings, as `"2GiB"`, `"44MiB"` or `"0x5000"` (bytes). A range is a
half-open pair of them, `["0x0", "0x9f000"]`. Durations are strings, as `"30ns"` or `"1.5us"`. Page
numbers are whole numbers or hexadecimal strings. `--set section.key=value` changes a key."""

_SECTIONS = ("machine", "guest", "workload", "expect")
EXPLAINED_BY_THEIR_KEYS = set(_SECTIONS)
"""Sections of a scenario file, each with keys of its own."""


def scenario_keys_page() -> str:
    """The page, as docs/reference/scenario-keys.md has it."""
    return "\n".join([head("Scenario keys", _SAYS, "the typed records of a scenario"), *_body()])


def _body() -> Iterator[str]:
    fields = {field.name: field for field in msgspec.structs.fields(Scenario)}
    yield "## The file\n"
    for key in keys(Scenario):
        if key.name not in (*EXPLAINED_BY_THEIR_KEYS, "strategy", "sweep"):
            yield from key.lines()
    for name in _SECTIONS:
        yield f"\n## `[{name}]`\n"
        yield from _section_lines(fields[name].type)
    yield "\n## `[strategy]`\n"
    yield paragraph(meanings(Scenario)["strategy"]) + "\n"
    for part, means in PARTS.items():
        words = ", ".join(f"`{word}`" for word in WAYS[part])
        number = ", or a number of entries" if part == "batching" else ""
        yield item(f"`{part}` ({words}{number}): {means}.")
    yield "\n## `[sweep]`\n"
    yield paragraph(
        "Its keys are those of the sections above, with the values over which they vary; see "
        "[sweeping](../guides/sweeping.md)."
    )
    yield "\n## Settings of a race\n"
    yield paragraph("These are the keys of `--set` and `--vary` where a race is run.") + "\n"
    for key in keys(Settings):
        yield from key.lines()
    yield ""


def _section(annotation: Any) -> object:
    """What a section is a record of: a struct or a union of them; None if it is neither."""
    is_struct = isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)
    if is_struct or is_tagged_union(annotation):
        return annotation
    optional = [part for part in getattr(annotation, "__args__", ()) if part is not type(None)]
    return _section(optional[0]) if len(optional) == 1 else None


def _section_lines(annotation: Any) -> Iterator[str]:
    section: Any = _section(annotation)
    if not is_tagged_union(section):
        struct: Struct = section
        for key in keys(struct):
            yield from key.lines()
        return
    tags = [str(struct.__struct_config__.tag) for struct in section.__args__]
    yield item(f"`kind` ({' or '.join(f'`{tag}`' for tag in tags)}): decides which keys there are.")
    for key, kinds in keys_by_kind(section):
        of = "" if len(kinds) == len(tags) else f" Of {', '.join(f'`{kind}`' for kind in kinds)}."
        yield from key.lines(of=of)
