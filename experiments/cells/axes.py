"""The ``[sweep]`` section of a file: what varies, along which axes.

    [sweep]
    replications = 3                                # each with other draws
    seed = 7                                        # of all draws, and of the Latin hypercube
    "guest.ram" = ["512MiB", "2GiB"]                # an axis; every axis is crossed with all others
    "guest.strategy" = ["ro-window", "reserve-hook"]

    [[sweep.zip]]                                   # an axis along which several keys change
    "machine.xen" = ["4.2dev", "4.17"]
    "machine.profile" = ["nehalem-2011", "modern-2023"]

    [sweep.latin_hypercube]                         # an axis of points spread over all ranges
    samples = 16
    "machine.latency.hypercall_null" = {low = "80ns", high = "350ns", scale = "log"}

Keys may also be written without quotes; ``strategies`` is short for ``"guest.strategy"``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.errors import InputError, offer
from experiments.scenario.quantities import as_written, parse_duration, parse_size

Kind = Literal["list", "zip", "latin hypercube"]

_WORDS = ("replications", "seed", "strategies", "zip", "latin_hypercube")
_SCALES = ("linear", "log")
_RANGE = ("low", "high", "scale")
_PAGE = 4096


class Axis(NamedTuple):
    """Keys that change together: a point gives each of them a value."""

    kind: Kind
    keys: tuple[str, ...]
    """Dotted, as ``guest.ram``."""
    points: tuple[tuple[Any, ...], ...]
    """Values as a scenario file has them."""


class Section(NamedTuple):
    """What a ``[sweep]`` section says."""

    axes: tuple[Axis, ...]
    """In the order of the file; the first changes slowest."""
    replications: int
    seed: int


def read_section(section: object, seed: int | None = None) -> Section:
    """Check a ``[sweep]`` section, None if there is none; ``seed`` goes before its own.

    Raises InputError, which names the key.
    """
    if section is None:
        raise InputError("describes no sweep, for it has no section [sweep]")
    if not isinstance(section, dict):
        raise InputError(f"sweep = {as_written(section)}: write a table, [sweep]")
    if not section:
        raise InputError('[sweep] is empty; write for instance "guest.ram" = ["512MiB", "2GiB"]')
    own_seed = _number(section, "seed", default=0, least=0)
    seed = own_seed if seed is None else seed
    axes: list[Axis] = []
    for key, value in section.items():
        if key == "zip":
            axes += _zips(value)
        elif key == "latin_hypercube":
            axes.append(_latin_hypercube(value, seed))
        elif key == "strategies":
            axes.append(_list("sweep.strategies", "guest.strategy", value))
        elif key not in _WORDS:
            axes += [_list(f"sweep.{key}", key, values) for key, values in _leaves({key: value})]
    _check_keys(axes)
    return Section(tuple(axes), _number(section, "replications", default=1, least=1), seed)


def _check_keys(axes: Sequence[Axis]) -> None:
    seen: set[str] = set()
    for key in (key for axis in axes for key in axis.keys):
        if "." not in key:
            raise InputError(
                f"sweep.{key}: no key of a scenario, such as guest.ram, and no word of a sweep; "
                f"{offer(key, _WORDS)}"
            )
        if not all(key.split(".")) or key.startswith("sweep."):
            raise InputError(f"sweep.{key}: no key of a scenario, such as guest.ram")
        if key in seen:
            raise InputError(f"sweep: {key} varies twice; name it once")
        seen.add(key)


def _leaves(table: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """Dotted keys with their values; TOML makes tables of a dotted key without quotes.

    A table with a ``low`` or a ``high`` is a range and so a value.
    """
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, dict) and value and not {"low", "high"} & value.keys():
            found += _leaves(value, key)
        else:
            found.append((key, value))
    return found


def _list(where: str, key: str, values: object) -> Axis:
    return Axis("list", (key,), tuple((value,) for value in _values(where, values)))


def _values(where: str, values: object) -> list[Any]:
    if not isinstance(values, list):
        raise InputError(
            f"{where} = {as_written(values)} is no list; write [{as_written(values)}, ...]"
        )
    if not values:
        raise InputError(f"{where} is an empty list; name a value, or leave the key out")
    return values


def _zips(tables: object) -> list[Axis]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"sweep.zip = {as_written(tables)}: write tables, [[sweep.zip]]")
    return [_zip(f"sweep.zip[{number}]", table) for number, table in enumerate(tables)]


def _zip(where: str, table: Mapping[str, Any]) -> Axis:
    lists = {key: _values(f"{where}.{key}", value) for key, value in _leaves(table)}
    if not lists:
        raise InputError(f"{where} is empty; name keys whose values change together")
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise InputError(f"{where}: its lists must have the same number of values; {told}")
    return Axis("zip", tuple(lists), tuple(zip(*lists.values(), strict=True)))


def _latin_hypercube(table: object, seed: int) -> Axis:
    """Points that are spread evenly over every range (McKay, Beckman, Conover 1979)."""
    where = "sweep.latin_hypercube"
    if not isinstance(table, dict):
        raise InputError(f"{where} = {as_written(table)}: write a table, [{where}]")
    if "samples" not in table:
        raise InputError(f"{where}.samples is missing; how many points are to be drawn?")
    samples = _number(table, "samples", default=1, least=1, path=where)
    ranges = _leaves({key: value for key, value in table.items() if key != "samples"})
    if not ranges:
        raise InputError(
            f"{where} has no range; write for instance "
            '"machine.latency.hypercall_null" = {low = "80ns", high = "350ns", scale = "log"}'
        )
    values = [_range(f"{where}.{key}", value) for key, value in ranges]
    from scipy.stats import qmc

    design = qmc.LatinHypercube(len(ranges), rng=seed).random(samples)
    points = tuple(
        tuple(value(float(at)) for value, at in zip(values, row, strict=True)) for row in design
    )
    return Axis("latin hypercube", tuple(key for key, _ in ranges), points)


def _range(where: str, table: object) -> Callable[[float], object]:
    """From [0, 1) to the values between two bounds, as a scenario file has them."""
    if not isinstance(table, dict):
        raise InputError(
            f'{where} = {as_written(table)} is no range; write {{low = "...", high = "..."}}'
        )
    for key in table:
        if key not in _RANGE:
            raise InputError(f"unknown key {where}.{key}; {offer(key, _RANGE)}")
    for key in ("low", "high"):
        if key not in table:
            raise InputError(f"{where}.{key} is missing")
    scale = table.get("scale", "linear")
    if scale not in _SCALES:
        raise InputError(f"{where}.scale = {as_written(scale)} is none of {', '.join(_SCALES)}")
    kind, low, high = _bounds(where, table["low"], table["high"])
    if not low < high:
        raise InputError(
            f"{where}: low = {as_written(table['low'])} is not below "
            f"high = {as_written(table['high'])}"
        )
    if scale == "log" and low <= 0:
        raise InputError(f"{where}.low = {as_written(table['low'])}: a log scale begins above 0")

    def value(at: float) -> object:
        # A whole number stands for the interval from it to the next, so that each is as likely.
        top = high + 1 if kind == "number" else high
        drawn = low * (top / low) ** at if scale == "log" else low + (top - low) * at
        if kind == "number":
            return min(int(drawn), int(high))
        if kind == "size":
            return hex(min(max(round(drawn / _PAGE) * _PAGE, int(low)), int(high)))
        inside = min(max(float(f"{drawn:.6g}"), low), high)
        return f"{np.format_float_positional(inside, trim='-')}ns"

    return value


def _bounds(where: str, low: object, high: object) -> tuple[str, float, float]:
    """What two bounds are, and their values: durations in ns, sizes in bytes, whole numbers."""
    if _is_number(low) and _is_number(high):
        return "number", float(str(low)), float(str(high))
    for kind, parse in (("duration", parse_duration), ("size", parse_size)):
        try:
            return kind, float(parse(low)), float(parse(high))
        except ValueError:
            continue
    raise InputError(
        f"{where}: low = {as_written(low)} and high = {as_written(high)} are not two durations "
        '("30ns"), two sizes ("2GiB") or two whole numbers'
    )


def _number(
    table: Mapping[str, Any], key: str, *, default: int, least: int, path: str = "sweep"
) -> int:
    value = table.get(key, default)
    if not _is_number(value) or value < least:
        raise InputError(
            f"{path}.{key} = {as_written(value)}: write a whole number, {least} or more"
        )
    return int(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
