"""The smallest race of its kind: a page is checked and then pinned, while another vCPU maps it.

A page may be pinned only while nobody can write to it. The pinner looks, and pins in a later
step; a mapper looks whether the page is pinned and maps it writable in one and the same step.
The order check, map, pin, unmap therefore pins a page that somebody can write to. The
interpreters run these activities as they stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.effects import STEP, Acquire, Activity, Release, Spend
from sim.locks import Lock


@dataclass
class Page:
    """One page of memory."""

    writable_mappings: int = 0
    pinned: bool = False
    pinned_while_writable: bool = False
    """The bad order was taken."""


def check_and_pin(page: Page, *, private_steps: int = 0, locks: Sequence[Lock] = ()) -> Activity:
    """Pin the page unless it is mapped writable; returns whether it was pinned.

    Its visible steps: the private ones, an acquisition a lock, the check, the pin, a release
    a lock. The pin is a step also where the check has failed.
    """
    for _ in range(private_steps):
        yield STEP
    for lock in locks:
        yield Acquire(lock)
    yield Spend("before_check")
    yield STEP
    clean = page.writable_mappings == 0
    yield Spend("check_to_pin")
    yield STEP
    if clean:
        page.pinned = True
        page.pinned_while_writable |= page.writable_mappings > 0
    for lock in reversed(locks):
        yield Release(lock)
    return clean


def map_and_unmap(page: Page, *, private_steps: int = 0, locks: Sequence[Lock] = ()) -> Activity:
    """Map the page writable for a while unless it is pinned; returns whether it was mapped.

    Its visible steps are as many as those of :func:`check_and_pin`.
    """
    for _ in range(private_steps):
        yield STEP
    for lock in locks:
        yield Acquire(lock)
    yield Spend("before_map")
    yield STEP
    mapped = not page.pinned
    page.writable_mappings += mapped
    yield Spend("map_to_unmap")
    yield STEP
    page.writable_mappings -= mapped
    for lock in reversed(locks):
        yield Release(lock)
    return mapped
