"""What pages say of a record: its keys as the code has them, also those of single kinds."""

from typing import Annotated, Literal

import msgspec
import pytest

from experiments.record.events import Row
from experiments.scenario.guest import AfterMapping, BrkTables, Guest, P2mExtent
from experiments.scenario.quantities import Bytes, Nanoseconds
from experiments.scenario.scenario import Expect, Machine, Scenario
from experiments.subjects.race_settings import Settings
from tests.pages.scenario_keys import EXPLAINED_BY_THEIR_KEYS, _section_lines
from tests.pages.structs import Struct, is_tagged_union, keys, keys_by_kind, meanings


class Part(msgspec.Struct):
    """What a list is made of."""

    name: str
    """For people."""


class Common(msgspec.Struct, tag_field="kind"):
    """What all kinds have."""

    often: Annotated[int, msgspec.Meta(ge=1)] = 20
    """How often it is
    done."""


class Walks(Common, tag="walks"):
    """One kind."""

    size: Bytes = Bytes(1 << 20)
    """How far."""


class Rests(Common, tag="rests"):
    """Another kind."""

    pause: Nanoseconds = Nanoseconds(1500)
    parts: tuple[Part, ...] = ()
    """Made of these."""
    mode: Literal["deep", "light"] | None = None
    """Of sleep."""


Doing = Walks | Rests


def lines(struct: Struct) -> list[str]:
    """The keys of a record as a page has them."""
    return [line for key in keys(struct) for line in key.lines()]


def test_key_has_its_bounds_its_default_and_the_literal_below_it() -> None:
    """Inherited ones first; a key without a literal has no meaning."""
    assert [
        "* `often` (whole number from 1 on; `20` if absent): How often it is done.",
        "* `pause` (duration; `1.5 us` if absent)",
        "* `parts` (list of tables; none if absent): Made of these.",
        "  * `name` (text; required): For people.",
        "* `mode` (`deep` or `light`): Of sleep.",
    ] == lines(Rests)


def test_what_is_written_says_where_it_can_be_null() -> None:
    """And not which keys have to be there: all are."""
    often, _, _, mode = keys(Rests, written_by_users=False)

    assert ("whole number from 1 on", "") == (often.takes, often.absent)
    assert "`deep` or `light` or null" == mode.takes


def test_key_that_kinds_share_is_told_once() -> None:
    """With the kinds that have it."""
    kinds = {key.name: tags for key, tags in keys_by_kind(Doing)}

    assert {
        "often": ("walks", "rests"),
        "size": ("walks",),
        "pause": ("rests",),
        "parts": ("rests",),
        "mode": ("rests",),
    } == kinds


def test_section_of_kinds_says_which_kinds_a_key_is_of() -> None:
    """Unless it is of all."""
    told = list(_section_lines(Doing))

    assert "* `kind` (`walks` or `rests`): decides which keys there are." == told[0]
    assert "* `often` (whole number from 1 on; `20` if absent): How often it is done." == told[1]
    assert "* `size` (size or address; `1 MiB` if absent): How far. Of `walks`." == told[2]


def test_union_is_told_from_a_choice() -> None:
    """Only structs with a tag make a section with kinds."""
    assert is_tagged_union(Doing)
    assert not is_tagged_union(Part | None)
    assert not is_tagged_union(Part)


@pytest.mark.parametrize(
    "struct", [AfterMapping, BrkTables, Expect, Guest, Machine, P2mExtent, Row, Scenario, Settings]
)
def test_every_key_says_what_it_means(struct: Struct) -> None:
    """But for sections, whose keys say it."""
    names = {field.name for field in msgspec.structs.fields(struct)}

    assert names - EXPLAINED_BY_THEIR_KEYS == set(meanings(struct)) - EXPLAINED_BY_THEIR_KEYS
