"""What the arguments of a console line mean: words, entries, frames, domains, error numbers."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from experiments.decoding.console_lines import Argument
from experiments.decoding.words import (
    Reading,
    entry_flags,
    read_count_info,
    read_type_info,
    read_wanted_type,
    readings,
    unpacked_flags,
)
from models.machine.entries import ENTRIES, PAGE_SHIFT, PRESENT, mfn_of
from models.machine.frames import DOMID_IO, DOMID_XEN
from models.xen.versions import errno
from models.xen.versions.abi import Abi
from models.xen.words import DOMID_SELF

_ERRNO_NAMES = {value: name for name, value in vars(errno).items() if name.startswith("E")}
_DOMAINS = {DOMID_SELF: "DOMID_SELF", DOMID_IO: "DOMID_IO", DOMID_XEN: "DOMID_XEN"}
_ADDRESS = re.compile("[0-9a-f]{9,16}", re.IGNORECASE)
_FAULT_BITS = ("present", "write", "user", "reserved bit", "instruction fetch")


class Told(NamedTuple):
    """An argument as it is told to people."""

    phrase: str
    """Inside a sentence."""
    meaning: str
    """Beside the bare number."""
    readings: tuple[Reading, ...] = ()


Teller = Callable[[int, Sequence[Abi], int], Told]
"""Of a value, the versions it may come from, and the level of table that the line is about."""


def tell(name: str, argument: Argument, abis: Sequence[Abi], level: int = 1) -> Told:
    """What an argument of this name means."""
    value, raw = argument
    if isinstance(value, str):
        return _owner(value)
    teller = _TELLERS.get(name.removesuffix("_2"))
    if teller is None:
        return Told(raw, "")
    told = teller(value, abis, level)
    return told._replace(phrase=told.phrase or raw)


def word_readings(name: str, value: int, abis: Sequence[Abi]) -> list[Reading]:
    """What an argument says in each version, if it is one of Xen's words; else nothing."""
    return readings(_READERS[name], abis, value) if name in _READERS else []


def summary(reading: Reading) -> str:
    """The fields of a word on one line."""
    fields = dict(reading.fields)
    parts = [str(fields.get("type", fields.get("page_state"))), *reading.flags]
    if "count" in fields:
        parts.append(f"count {fields['count']:,}")
    if caching := fields.get("cache_attributes"):
        parts.append(f"cache attributes {caching}")
    return ", ".join(parts)


def _word(name: str) -> Teller:
    def teller(value: int, abis: Sequence[Abi], _: int) -> Told:
        found = word_readings(name, value, abis)
        if len(found) == 1:
            return Told(found[0].state, summary(found[0]), tuple(found))
        of_versions = [(" and ".join(reading.xen), reading) for reading in found]
        return Told(
            "; ".join(f"{reading.state} (in {xen})" for xen, reading in of_versions),
            "; ".join(f"{summary(reading)} (in {xen})" for xen, reading in of_versions),
            tuple(found),
        )

    return teller


def _mfn(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    return Told("", f"machine address {value << PAGE_SHIFT:#x}")


def _pfn(value: int, abis: Sequence[Abi], _level: int) -> Told:
    if value in {abi.unset_m2p for abi in abis}:
        return Told("none", "none: its machine-to-physical entry was never set")
    return Told("", f"pseudo-physical address {value << PAGE_SHIFT:#x}")


def _entry(value: int, _abis: Sequence[Abi], level: int) -> Told:
    names = " ".join(entry_flags(value, level)) or "no flags"
    absent = "" if value & PRESENT else ", not present"
    return Told("", f"frame {mfn_of(value):x}{absent}: {names}")


def _flags(value: int, _abis: Sequence[Abi], level: int) -> Told:
    names = " ".join(entry_flags(unpacked_flags(value), level)) or "none"
    return Told(f"{value:x} ({names})", names)


def _rc(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    name = _ERRNO_NAMES.get(abs(value), "no error number known here")
    return Told("", f"-{name}" if value < 0 and name.startswith("E") else name)


def _domain(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    return Told("", _DOMAINS.get(value, f"domain {value}"))


def _real_owner(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    if value < 0:
        return Told("nobody's", "no owner")
    name = _DOMAINS.get(value, f"d{value}")
    return Told(f"{name}'s", name)


def _owner(text: str) -> Told:
    """The owner of a page as it is printed: a domain, or where Xen keeps one."""
    if text == "NULL" or not text.strip("0"):
        return Told("nobody", "no owner")
    if _ADDRESS.fullmatch(text):
        return Told(f"the domain at {text}", "address of the domain's structure in Xen")
    return Told(
        text, {"d[IO]": "I/O memory", "d[XEN]": "Xen itself"}.get(text, f"domain {text[1:]}")
    )


def _domain_va(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    return _owner(f"{value:016x}")


def _slot(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    return Told(f"{value}", f"entry {value} of {ENTRIES}, at offset {8 * value:#x} of the table")


def _entry_va(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    slot = (value >> 3) % ENTRIES
    return Told(f"{slot}", f"slot {slot}, where Xen maps the table")


def _va(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    return Told("", f"in slot {(value >> 3) % ENTRIES} of its table, at byte {value % 8}")


def _size(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    return Told(f"{value} bytes", "bytes")


def _error(value: int, _abis: Sequence[Abi], _level: int) -> Told:
    names = [name for bit, name in enumerate(_FAULT_BITS) if value >> bit & 1]
    absent = [] if value & 1 else ["not present"]
    return Told("", ", ".join(absent + names))


_READERS = {
    "saw": read_type_info,
    "type_info": read_type_info,
    "want": read_wanted_type,
    "count_info": read_count_info,
}
_TELLERS: dict[str, Teller] = {
    **{name: _word(name) for name in _READERS},
    "mfn": _mfn,
    "pfn": _pfn,
    "entry": _entry,
    "flags": _flags,
    "rc": _rc,
    "domid": _domain,
    "owner": _domain,
    "pg_owner": _domain,
    "other": _domain,
    "real_owner": _real_owner,
    "domain_va": _domain_va,
    "slot": _slot,
    "entry_va": _entry_va,
    "va": _va,
    "size": _size,
    "error": _error,
}
