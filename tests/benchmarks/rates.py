"""Exploring, odds and busy vCPUs beside the commit before.

``python -m tests.benchmarks exploring odds busy``
"""

from tests.benchmarks import busy_hypervisor
from tests.benchmarks.beside_before import Trees, tell

_ALL = "1000000"


def exploring(both: Trees) -> None:
    """Print what all classes of orders of R1 at its smallest take, and how many they are."""
    for vcpus, fix, repetitions in (
        ("4", "on", 3),
        ("5", "on", 3),
        ("3", "off", 3),
        ("4", "off", 1),
    ):
        tell(
            both,
            f"all classes of R1 on {vcpus} vCPUs, fix {fix} (aim 5 s)",
            "exploring",
            vcpus,
            fix,
            _ALL,
            repetitions=repetitions,
        )


def odds(both: Trees) -> None:
    """Print what trials of R1 on the clock take."""
    for vcpus in (2, 4):
        settings = ("fix=off", f"vcpus={vcpus}")
        tell(both, f"20 trials of R1 on {vcpus} vCPUs, fix off", "odds", "R1", "20", *settings)


def busy(both: Trees) -> None:
    """Print how many hypercalls a second four busy vCPUs make."""
    for load in busy_hypervisor.LOADS:
        tell(both, f"{load}, 4 busy vCPUs", "busy", load)
