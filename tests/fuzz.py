"""``make fuzz``: the properties of random programs, on many more of them than in a normal run.

    python -m tests.fuzz [PROGRAMS [MINUTES]]

Each property gets batches of programs, each batch from a seed of its own, until PROGRAMS of them
(20,000 in all, unless told) have been run or MINUTES (60) are over. What fails is shrunk and shown,
with the seed that finds it again.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.properties import test_programs
from tests.properties.programs import programs

_BATCH = 100
_LATER = ["4.17", "master"]
_PROPERTIES: dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[object], ...]]] = {
    "after every step": (
        test_programs.test_books_are_right_after_every_step,
        (programs(),),
    ),
    "in any order of steps": (
        test_programs.test_books_are_right_in_any_order_of_steps,
        (programs(versions=_LATER), st.integers(0, 2**32)),
    ),
    "no writable mapping": (
        test_programs.test_guest_has_no_writable_mapping_of_a_live_table,
        (programs(),),
    ),
    "refusal without trace": (
        test_programs.test_refused_operation_leaves_no_trace,
        (programs(),),
    ),
    "at once": (
        test_programs.test_calls_made_at_once_are_as_those_made_step_by_step,
        (programs(),),
    ),
    "interruption without trace": (
        test_programs.test_interrupted_operation_ends_as_the_uninterrupted_one,
        (programs(),),
    ),
}


def main(arguments: list[str]) -> int:
    """Run all properties; 1 if one of them does not hold."""
    wanted = int(arguments[0]) if arguments else 20_000
    end = time.time() + 60 * float(arguments[1] if arguments[1:] else 60)
    began = time.time()
    ran = dict.fromkeys(_PROPERTIES, 0)
    failures: list[str] = []
    with ProcessPoolExecutor() as workers:
        for name, failure in workers.map(partial(_batch, end), *zip(*_jobs(wanted), strict=True)):
            ran[name] += _BATCH if failure is not None else 0
            if failure:
                failures.append(failure)
                print(failure)
    for name, number in ran.items():
        print(f"{name}: {number} programs")
    print(f"{sum(ran.values())} programs in {time.time() - began:.0f} s, {len(failures)} failures")
    return 1 if failures else 0


def _jobs(wanted: int) -> Iterator[tuple[str, int]]:
    """(property, seed) of each batch, the properties in turn."""
    for number in range(-(-wanted // (_BATCH * len(_PROPERTIES)))):
        for name in _PROPERTIES:
            yield name, number


def _batch(end: float, name: str, number: int) -> tuple[str, str | None]:
    """Run one batch: what failed, "" for nothing, None if there was no time left."""
    if time.time() > end:
        return name, None
    test, strategies = _PROPERTIES[name]
    body = test.hypothesis.inner_test  # type: ignore[attr-defined]
    trials = settings(test_programs.TRIALS, max_examples=_BATCH, derandomize=False, database=None)
    try:
        seed(number)(trials(given(*strategies)(body)))()
    except BaseException:  # noqa: BLE001 - whatever it is, it is the answer
        return name, f"{name}, seed {number}:\n{traceback.format_exc()}"
    return name, ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
