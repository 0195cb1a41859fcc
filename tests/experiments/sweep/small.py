"""Sweeps over guests so small that a boot takes some hundredths of a second."""

from typing import Any

BASE: dict[str, Any] = {
    "name": "small",
    "machine": {"xen": "4.17"},
    "guest": {"kind": "domU", "ram": "96MiB", "kernel_start": "4MiB", "kernel_end": "20MiB"},
}
FOUR = {"guest.ram": ["96MiB", "128MiB"], "guest.strategy": ["reserve-hook", "tables-high"]}

FAULTY = '''\
"""Strategies that do not work."""

import os
import signal
from dataclasses import replace

from models.strategies.catalogue import find_strategy


def raise_at_once(guest, end):
    raise ValueError("no room\\nanywhere")


def die_at_once(guest, end):
    os.kill(os.getpid(), signal.SIGKILL)


base = find_strategy("reserve-hook")
raising = replace(base, name="raising", placement=raise_at_once)
deadly = replace(base, name="deadly", placement=die_at_once)
'''


def document(**section: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a file can hold
    """A sweep file as TOML gives it, with this section [sweep]."""
    return BASE | {"sweep": section}


def toml(section: str) -> str:
    """The same as a file, with the text of the section."""
    return (
        'name = "small"\n[machine]\nxen = "4.17"\n[guest]\nkind = "domU"\nram = "96MiB"\n'
        f'kernel_start = "4MiB"\nkernel_end = "20MiB"\n[sweep]\n{section}\n'
    )
