"""The search for all classes of orders: its speed beside trying every order, and on real calls."""

import time
from collections.abc import Callable, Iterable
from itertools import islice

from sim.effects import Activity
from sim.explore.execution import Execution
from sim.explore.program import Program
from sim.explore.searches import depth_first
from sim.explore.searches.dpor import ClassSearch
from sim.footprint import RecordedWords, Recorder
from tests.benchmarks import pin_against_stores
from tests.sim.toy import check_and_pin, map_and_unmap

_ENOUGH = 2000
_REPETITIONS = 3


class RecordedPage:
    """The toy's page, whose words note who touches them."""

    def __init__(self, recorder: Recorder) -> None:
        self._words = RecordedWords([0, 0, 0], "page", recorder)

    @property
    def writable_mappings(self) -> int:
        """How many there are."""
        return self._words[0]

    @writable_mappings.setter
    def writable_mappings(self, value: int) -> None:
        self._words[0] = value

    @property
    def pinned(self) -> bool:
        """Is it?"""
        return bool(self._words[1])

    @pinned.setter
    def pinned(self, value: bool) -> None:
        self._words[1] = value

    @property
    def pinned_while_writable(self) -> bool:
        """The bad order was taken."""
        return bool(self._words[2])

    @pinned_while_writable.setter
    def pinned_while_writable(self, value: bool) -> None:
        self._words[2] = value


def toy(vcpus: int, *, private_steps: int = 1) -> Program:
    """One vCPU pins the page, the others map it for a while."""
    recorder = Recorder()

    def begin() -> list[Activity]:
        page = RecordedPage(recorder)
        pins = check_and_pin(page, private_steps=private_steps)  # type: ignore[arg-type]
        return [
            pins,
            *(map_and_unmap(page, private_steps=private_steps) for _ in range(1, vcpus)),  # type: ignore[arg-type]
        ]

    return Program(begin, recorder=recorder)


def main() -> None:
    """Print executions a second of CPU, and how many fewer there are."""
    for vcpus in (2, 3, 4):
        classes, seconds = _best(lambda: ClassSearch(toy(vcpus)))  # noqa: B023 - called at once
        said = f"toy, {vcpus} vCPUs, one order of each class: {classes / seconds:,.0f} executions/s"
        if vcpus < 4:
            orders, every = _best(lambda: depth_first.explore(toy(vcpus)))  # noqa: B023
            said += (
                f" ({classes:,} for {orders:,} orders at {orders / every:,.0f}/s: "
                f"{every / seconds:,.1f} times as fast in all)"
            )
        print(said)
    for vcpus in (2, 3):
        for locked in (True, False):
            program = pin_against_stores.program(vcpus, locked=locked)
            start = time.process_time()
            search = ClassSearch(program)
            made = sum(1 for _ in search)
            took = time.process_time() - start
            lock = "with its fix" if locked else "without its fix"
            print(
                f"R1, {vcpus} vCPUs, one page, one store each, {lock}: all {made:,} "
                f"interleavings in {took:.2f} s of CPU, {made / took:,.0f} executions/s"
            )


def _best(search: Callable[[], Iterable[Execution]]) -> tuple[int, float]:
    """Executions up to the end, or many of them, and the CPU time that they took at best."""
    made, best = 0, float("inf")
    for _ in range(_REPETITIONS):
        start = time.process_time()
        made = sum(1 for _ in islice(search(), _ENOUGH))
        best = min(best, time.process_time() - start)
    return made, best


if __name__ == "__main__":
    main()
