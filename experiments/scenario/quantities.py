"""Sizes, addresses, page numbers and durations, as people write and read them.

The parsers raise ValueError with a message that continues a sentence begun with the value
(``guest.ram = 2048`` *has no unit; ...*).
"""

import re
from fractions import Fraction

import msgspec

SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
DURATION_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")
# x86-64 has 52 bits of physical address.
_ADDRESSES = 1 << 52
_PAGES = _ADDRESSES >> 12


class Bytes(int):
    """A size or an address in bytes."""

    __slots__ = ()


class PageCount(int):
    """A pfn, an mfn or a number of pages."""

    __slots__ = ()


class Nanoseconds(float):
    """A duration."""

    __slots__ = ()


class Share(float):
    """A part of a whole, from 0 to 1."""

    __slots__ = ()


def parse_share(value: object) -> Share:
    """A number from 0 to 1, or its digits in quotes."""
    try:
        share = Share(value) if isinstance(value, str | float | int) else Share("nan")
    except ValueError:
        share = Share("nan")
    if isinstance(value, bool) or not 0 <= share <= 1:
        raise ValueError("is not a share; write a number from 0 to 1")
    return share


def parse_size(value: object) -> Bytes:
    """Bytes of ``"44MiB"``, ``"7.5GiB"`` or ``"0x5000"``.

    A number without a unit is refused: whether 2048 was meant in bytes, KiB or MiB is not for a
    program to guess.
    """
    text = value.strip() if isinstance(value, str) else ""
    if _HEXADECIMAL.fullmatch(text):
        return Bytes(_within(_ADDRESSES, int(text, 16)))
    amount = _AMOUNT.fullmatch(text)
    unit = amount[2] if amount else ""
    if amount and unit in SIZE_UNITS:
        size = Fraction(amount[1]) * SIZE_UNITS[unit]
        if size.denominator != 1:
            raise ValueError("is not a whole number of bytes")
        return Bytes(_within(_ADDRESSES, int(size)))
    if (amount and not unit) or _is_number(value):
        raise ValueError(f'has no unit; write for instance "{value}MiB" or "0x5000" (bytes)')
    raise ValueError(
        f'is not a size; write a number with {", ".join(SIZE_UNITS)}, or "0x5000" (bytes)'
    )


def parse_page_count(value: object) -> PageCount:
    """A pfn, an mfn or a number of pages: an integer, or hexadecimal in quotes."""
    if isinstance(value, str) and _HEXADECIMAL.fullmatch(value.strip()):
        return PageCount(_within(_PAGES, int(value, 16)))
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return PageCount(_within(_PAGES, value))
    raise ValueError('is not a page number; write an integer or hexadecimal, "0x1e960"')


def parse_duration(value: object) -> float:
    """Nanoseconds of ``"30ns"``, ``"0.3ns"`` or ``"1.5us"``."""
    text = value.strip() if isinstance(value, str) else ""
    amount = _AMOUNT.fullmatch(text)
    unit = amount[2] if amount else ""
    if amount and unit in DURATION_UNITS:
        return float(Fraction(amount[1]) * DURATION_UNITS[unit])
    if (amount and not unit) or _is_number(value):
        raise ValueError(f'has no unit; write for instance "{value}ns"')
    raise ValueError(f"is not a duration; write a number with {', '.join(DURATION_UNITS)}")


def parse_nanoseconds(value: object) -> Nanoseconds:
    """The same as a quantity of its own type."""
    return Nanoseconds(parse_duration(value))


def format_size(size: int) -> str:
    """``size`` bytes in the largest unit that it fills, to three decimals at most."""
    unit = next(name for name in reversed(SIZE_UNITS) if size >= SIZE_UNITS[name] or name == "B")
    return f"{_shortest(size / SIZE_UNITS[unit], 3)} {unit}"


def format_duration(duration_ns: float) -> str:
    """``duration_ns`` in the largest unit that it fills, to three decimals at most."""
    unit = duration_unit(duration_ns)
    return f"{_shortest(duration_ns / DURATION_UNITS[unit], 3)} {unit}"


def duration_unit(duration_ns: float) -> str:
    """The largest unit that ``duration_ns`` fills."""
    return next(
        name
        for name in reversed(DURATION_UNITS)
        if duration_ns >= DURATION_UNITS[name] or name == "ns"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(limit: int, value: int) -> int:
    if value > limit:
        raise ValueError(f"is beyond x86's 52 bits of address, {limit:#x}")
    return value


def _shortest(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".")


def as_written(value: object) -> str:
    """A TOML value for a message, cut where it gets long."""
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= 60 else f"{text[:56]} ..."
