"""The small machine that recorded programs run on: how a file describes it, and how it is built.

Conformance vectors and litmus tests describe it alike.
"""

from typing import Any

import msgspec

from experiments.errors import InputError
from models.machine.entries import ENTRIES
from models.machine.frames import DOMID_XEN, NO_OWNER, FrameTable
from models.xen.pages.upper_tables import TABLES
from models.xen.state import Domain, Xen
from models.xen.versions.abi import Abi
from models.xen.words import FRESH_COUNT_INFO

_OWNERS = {"xen": DOMID_XEN, "none": NO_OWNER}


class Machine(msgspec.Struct, kw_only=True):
    """A domain and its frames, as a file has them; numbers are hexadecimal."""

    domid: int
    iocaps: bool
    io_denied: list[str] = []
    pages: dict[str, dict[str, str]]
    """Every frame there is, with its entries that are not zero by (decimal) slot."""
    m2p: dict[str, str]
    owner: dict[str, str | int] = {}
    """Of frames that are not the domain's."""
    frames: dict[str, dict[str, str]] = {}
    """Words of frames that are not fresh."""
    setup: list[list[Any]] = []
    """Operations that come before all else."""


def check_machine(machine: Machine, where: str) -> None:
    """Its numbers must be numbers, and its frames those of ``pages``.

    Raises:
        InputError: they are not; the message begins with ``where``.
    """
    numbers = [*machine.pages, *machine.m2p, *machine.m2p.values(), *machine.io_denied]
    numbers += [word for raw in machine.frames.values() for word in raw.values()]
    try:
        for text in numbers:
            number(text)
        for slots in machine.pages.values():
            check_slots(slots)
        for raw in machine.frames.values():
            _ = raw["count_info"], raw["type_info"]
    except KeyError as error:
        raise InputError(f"{where}: a frame in frames lacks {error}") from error
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    for owner in machine.owner.values():
        if isinstance(owner, str) and owner not in _OWNERS:
            raise InputError(f"{where}: owner {owner!r} is no domain's number, nor xen or none")
    check_frames(machine, [*machine.owner, *machine.frames], where)


def check_frames(machine: Machine, named: list[str], where: str) -> None:
    """Frames that a file names must be those of ``pages``.

    Raises:
        InputError: one is not.
    """
    for mfn in named:
        if mfn not in machine.pages:
            raise InputError(f"{where}: frame {mfn} is not among its pages")


def check_slots(slots: dict[str, str]) -> None:
    """Entries by slot.

    Raises:
        ValueError: there is no such slot, or an entry is no number.
    """
    for slot, entry in slots.items():
        if not 0 <= int(slot) < ENTRIES:
            raise ValueError(f"a table has no slot {slot}")
        number(entry)


def number(text: str) -> int:
    """A hexadecimal number of up to 64 bits.

    Raises:
        ValueError: it is none.
    """
    value = int(text, 16)
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{text} is no number of 64 bits")
    return value


def build_xen(machine: Machine, abi: Abi, *, vcpus: int = 1, debug: bool = True) -> Xen:
    """The hypervisor before any operation, each vCPU on a CPU of its own."""
    mfns = sorted(int(mfn, 16) for mfn in machine.pages)
    frames = FrameTable([(mfn, 1) for mfn in mfns], fresh=FRESH_COUNT_INFO, owner=machine.domid)
    for mfn, slots in machine.pages.items():
        words = frames.words(int(mfn, 16))
        for slot, entry in slots.items():
            words[int(slot)] = int(entry, 16)
    owners = {
        int(mfn, 16): _OWNERS[owner] if isinstance(owner, str) else owner
        for mfn, owner in machine.owner.items()
    }
    for mfn_of_other, owner in owners.items():
        frames.owner[frames.index(mfn_of_other)] = owner
        if owner == NO_OWNER:
            frames.count_info[frames.index(mfn_of_other)] = abi.free_page
    for mfn, raw in machine.frames.items():
        index = frames.index(int(mfn, 16))
        frames.count_info[index] = int(raw["count_info"], 16)
        frames.type_info[index] = int(raw["type_info"], 16)
    io_denied = frozenset(int(mfn, 16) for mfn in machine.io_denied)
    others = {*owners.values()} - {machine.domid, *_OWNERS.values()}
    return Xen(
        abi,
        frames,
        Domain(machine.domid, machine.iocaps, io_denied=io_denied),
        [(int(mfn, 16), 1, int(pfn, 16)) for mfn, pfn in machine.m2p.items()],
        TABLES,
        debug=debug,
        pcpus=vcpus,
        vcpus=vcpus,
        others=[Domain(other, io_capabilities=False) for other in others],
    )
