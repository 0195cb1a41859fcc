"""Guests for tests that are about to build their direct map."""

from models.linux.boot.guest import Guest
from models.linux.start_state import build as domain_builder
from models.linux.start_state.geometry import Geometry
from models.strategies.catalogue import find_strategy
from models.xen.versions.abi import find_abi

MIB = 1 << 20


def small_guest(vcpus: int, strategy: str = "reserve-hook") -> Guest:
    """A domU with 64 MiB under the Xen of 2011."""
    chosen = find_strategy(strategy)
    start = domain_builder.build(
        Geometry(kind="domU", e820=((0, 64 * MIB),), kernel_end=20 * MIB),
        chosen.kernel,
        find_abi("4.2dev"),
        debug=True,
        pcpus=vcpus,
        vcpus=vcpus,
    )
    return Guest(start, chosen)
