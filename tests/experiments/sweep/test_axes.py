"""The [sweep] section: what varies, and one line for each mistake in it."""

import tomllib
from typing import Any

import pytest

from experiments.cells.axes import Axis, read_section
from experiments.errors import InputError
from experiments.scenario.quantities import parse_duration, parse_size


def read(text: str, seed: int | None = None) -> tuple[Axis, ...]:
    """The axes of a section."""
    return read_section(tomllib.loads(text), seed).axes


def values(axis: Axis, key: str) -> list[Any]:
    """What a key takes along an axis."""
    return [point[axis.keys.index(key)] for point in axis.points]


def test_each_list_is_an_axis_in_the_order_of_the_file() -> None:
    """The values stay as they are written."""
    axes = read('"machine.pcpus" = [1, 2]\n"guest.ram" = ["1GiB"]')

    assert (
        Axis("list", ("machine.pcpus",), ((1,), (2,))),
        Axis("list", ("guest.ram",), (("1GiB",),)),
    ) == axes


def test_quotes_may_be_left_out() -> None:
    """TOML then makes tables of the key, which mean the same."""
    assert read('"guest.ram" = ["1GiB"]') == read('guest.ram = ["1GiB"]')


def test_strategies_are_a_key_like_any_other() -> None:
    """The word is short for guest.strategy."""
    assert read('"guest.strategy" = ["a", "b"]') == read('strategies = ["a", "b"]')


def test_lists_of_a_zip_change_together() -> None:
    """Each zip is an axis of its own."""
    axes = read(
        '[[zip]]\nmachine.xen = ["4.1", "4.17"]\nmachine.pcpus = [1, 2]\n[[zip]]\nguest.vcpus=[3]'
    )

    assert (
        Axis("zip", ("machine.xen", "machine.pcpus"), (("4.1", 1), ("4.17", 2))),
        Axis("zip", ("guest.vcpus",), ((3,),)),
    ) == axes


def test_hypercube_has_one_point_in_each_slice_of_each_range() -> None:
    """That is what makes it Latin: eight points fall into eight slices."""
    (axis,) = read(
        "[latin_hypercube]\nsamples = 8\n"
        'machine.latency.a = {low = "100ns", high = "900ns"}\n'
        'machine.latency.b = {low = "1ns", high = "256ns", scale = "log"}\n'
    )

    linear = sorted(parse_duration(value) for value in values(axis, "machine.latency.a"))
    assert list(range(8)) == [int((value - 100) // 100) for value in linear]
    log = sorted(parse_duration(value) for value in values(axis, "machine.latency.b"))
    assert list(range(8)) == [len(f"{int(value):b}") - 1 for value in log]


def test_hypercube_of_sizes_is_in_whole_pages() -> None:
    """A guest has no half pages."""
    (axis,) = read(
        '[latin_hypercube]\nsamples = 20\nguest.ram = {low = "96MiB", high = "128MiB"}\n'
    )

    sizes = [parse_size(value) for value in values(axis, "guest.ram")]
    assert {0} == {size % 4096 for size in sizes}
    assert 96 << 20 <= min(sizes) < max(sizes) <= 128 << 20


def test_hypercube_of_numbers_reaches_both_ends_equally_often() -> None:
    """Four numbers share eight points: two each."""
    (axis,) = read("[latin_hypercube]\nsamples = 8\nguest.vcpus = {low = 1, high = 4}\n")

    assert [1, 1, 2, 2, 3, 3, 4, 4] == sorted(values(axis, "guest.vcpus"))


def test_hypercube_follows_the_seed() -> None:
    """The same seed gives the same points, and the command line's goes before the file's."""
    text = "{}[latin_hypercube]\nsamples = 9\nmachine.latency.a = {{low = '1ns', high = '2ns'}}\n"

    assert read(text.format("")) == read(text.format("seed = 0\n"))
    assert read(text.format("seed = 1\n")) != read(text.format("seed = 0\n"))
    assert read(text.format("seed = 1\n")) == read(text.format(""), seed=1)


RANGE = "[latin_hypercube]\nsamples = 2\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", '[sweep] is empty; write for instance "guest.ram" = ["512MiB", "2GiB"]'),
        ("guest.ram = []", "sweep.guest.ram is an empty list; name a value, or leave the key out"),
        ('guest.ram = "1GiB"', 'sweep.guest.ram = "1GiB" is no list; write ["1GiB", ...]'),
        (
            "ram = [1]",
            (
                "sweep.ram: no key of a scenario, such as guest.ram, and no word of a sweep; "
                "there are replications, seed, strategies, zip, latin_hypercube"
            ),
        ),
        (
            "replication = [2]",
            (
                "sweep.replication: no key of a scenario, such as guest.ram, and no word of a "
                "sweep; did you mean replications?"
            ),
        ),
        ('"guest..ram" = [1]', "sweep.guest..ram: no key of a scenario, such as guest.ram"),
        ("replications = 0", "sweep.replications = 0: write a whole number, 1 or more"),
        ('seed = "1"', 'sweep.seed = "1": write a whole number, 0 or more'),
        ("zip = 3", "sweep.zip = 3: write tables, [[sweep.zip]]"),
        ("[[zip]]", "sweep.zip[0] is empty; name keys whose values change together"),
        (
            "[[zip]]\nguest.a = [1]\nguest.b = [1, 2]",
            (
                "sweep.zip[0]: its lists must have the same number of values; guest.a has 1, "
                "guest.b has 2"
            ),
        ),
        ("[[zip]]\nguest.a = []", "sweep.zip[0].guest.a is an empty list"),
        ("guest.a = [1]\n[[zip]]\nguest.a = [2]", "sweep: guest.a varies twice; name it once"),
        ("latin_hypercube = 1", "sweep.latin_hypercube = 1: write a table"),
        ("[latin_hypercube]\nguest.a = {low = 1, high = 2}", "samples is missing"),
        ("[latin_hypercube]\nsamples = 0", "samples = 0: write a whole number, 1 or more"),
        (RANGE, "sweep.latin_hypercube has no range"),
        (f"{RANGE}guest.a = [1, 2]", "guest.a = [1,2] is no range"),
        (f"{RANGE}guest.a = {{low = 1}}", "sweep.latin_hypercube.guest.a.high is missing"),
        (f"{RANGE}guest.a = {{low = 2, high = 1}}", "low = 2 is not below high = 1"),
        (f"{RANGE}guest.a = {{low = 0, high = 1, scale = 'log'}}", "a log scale begins above 0"),
        (f"{RANGE}guest.a = {{low = 0, high = 1, scale = 'x'}}", 'scale = "x" is none of linear'),
        (f"{RANGE}guest.a = {{low = 0, high = 1, step = 1}}", "unknown key"),
        (f"{RANGE}guest.a = {{low = '1ns', high = '2MiB'}}", "are not two durations"),
        (f"{RANGE}guest.a = {{low = '1', high = '2'}}", "are not two durations"),
    ],
)
def test_mistake_is_one_line_with_the_key(text: str, complaint: str) -> None:
    """What is wrong, where, and what would be right."""
    with pytest.raises(InputError) as raised:
        read(text)

    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_file_without_the_section_is_no_sweep() -> None:
    """A scenario alone is for `pinlab run`."""
    with pytest.raises(InputError, match=r"describes no sweep, for it has no section \[sweep\]"):
        read_section(None)
