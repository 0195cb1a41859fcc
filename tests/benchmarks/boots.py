"""Boots beside the commit before, and beside the same work written by hand.

``python -m tests.benchmarks boots small-boots``
"""

from tests.benchmarks import hand_written
from tests.benchmarks.beside_before import Trees, tell

_LARGE_GIB = 64
_LARGE = ("reserve-hook", "mapped-only-6.1")


def large(both: Trees) -> None:
    """Print what a boot of 64 GiB takes; the aim is 1.2 s of CPU."""
    with hand_written.compiled() as program:
        if program is None:
            print("no C compiler (cc): nothing in C to compare with")
        for strategy in _LARGE:
            tell(
                both,
                f"boot of {_LARGE_GIB} GiB under {strategy} (aim 1.2 s)",
                "boot",
                "guest-64G",
                strategy,
                beside=hand_written.works(_LARGE_GIB, program),
            )


def small(both: Trees) -> None:
    """Print how many boots of 64 MiB a second of CPU makes, each in a world of its own."""
    tell(
        both,
        "boots of 64 MiB under reserve-hook (aim 40/s on one core)",
        "small_boots",
        "reserve-hook",
    )


def compare(both: Trees) -> None:
    """Print what the boots of ``pinlab compare`` take, without the start of Python."""
    tell(both, "dom0-2011 under every strategy", "compare", "dom0-2011", repetitions=2)
