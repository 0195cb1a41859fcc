"""Schedules that are followed: to the letter, or as far as they go."""

import pytest

from sim.effects import STEP, Acquire, Activity, Choose, Release
from sim.explore.execution import Taping
from sim.explore.following import Answer, Block, Following, Repeating, answers_of, blocks_of
from sim.explore.program import Program
from sim.explore.searches.random_order import RandomOrder
from sim.locks import SpinLock
from sim.tape import Diverged, Tape, parse_tape


def steps(n: int) -> Activity:
    """So many visible steps."""
    for _ in range(n):
        yield STEP


def asking(n: int) -> Activity:
    """So many questions, each in a step of its own: the answers."""
    answers = []
    for _ in range(n):
        yield STEP
        answers.append((yield Choose("stale entry", ("used", "gone"))))
    return answers


def locked(lock: SpinLock, n: int) -> Activity:
    """So many steps with a lock held."""
    yield Acquire(lock)
    yield from steps(n)
    yield Release(lock)


def build_locked() -> list[Activity]:
    """Two vCPUs that want one lock."""
    lock = SpinLock("lock")
    return [locked(lock, 1), locked(lock, 1)]


THREE = Program(lambda: [steps(3), steps(3), asking(3)])


@pytest.mark.parametrize("seed", range(5))
def test_tape_repeats_its_run(seed: int) -> None:
    """The same schedule and the same answers."""
    taping = Taping(RandomOrder(seed))
    first = THREE.run(taping)
    repeating = Repeating(taping.tape)

    again = THREE.run(repeating)

    repeating.end()
    assert first == again


def test_run_that_is_another_one_ends_with_the_entry_that_differs() -> None:
    """The tape has a vCPU that this program has not."""
    with pytest.raises(Diverged, match="entry 2 of the tape is 0/0,1,2"):
        Program(lambda: [steps(3), steps(2)]).run(Repeating(parse_tape("0/0,1*2 0/0,1,2")))


def test_tape_is_followed_for_so_many_steps() -> None:
    """The rest of it is not asked for."""
    repeating = Repeating(parse_tape("0/0,1*3 1/1*2"), until=2)

    execution = Program(lambda: [steps(3), steps(2)]).run(repeating)

    repeating.end()
    assert ((0, 0), True, True) == (execution.schedule, repeating.cut, execution.stopped)


def test_run_that_was_stopped_is_stopped_again() -> None:
    """Its tape ends where others could have gone on."""
    program = Program(lambda: [steps(3), steps(2)])

    assert (0, 1) == program.run(Repeating(parse_tape("0/0,1 1/0,1"), stopped=True)).schedule
    with pytest.raises(Diverged, match="its end"):
        program.run(Repeating(parse_tape("0/0,1 1/0,1")))


def test_blocks_are_followed_and_then_each_goes_on_as_far_as_it_can() -> None:
    """Two steps, one, and the rest without a further switch."""
    program = Program(lambda: [steps(3), steps(3)])

    assert (0, 0, 1, 1, 1, 0) == program.run(Following([Block(0, 2), Block(1, 1)])).schedule
    assert (0, 0, 1) == program.run(Following([Block(0, 2), Block(1, 1)], stops=True)).schedule


def test_block_of_who_has_to_wait_is_left_out() -> None:
    """VCPU 1 wants what vCPU 0 has; the next block is followed instead."""
    blocks = [Block(0, 2), Block(1, 3), Block(0, 1), Block(1, 3)]

    assert (0, 0, 0, 1, 1, 1) == Program(build_locked).run(Following(blocks)).schedule


def test_vcpus_can_be_left_out() -> None:
    """They make no step, and the run ends when nobody else can."""
    program = Program(lambda: [steps(2), steps(2), steps(2)])

    execution = program.run(Following([Block(1, 1)], without=frozenset({1})))

    assert ((0, 0, 2, 2), True) == (execution.schedule, execution.stopped)


def test_answers_stay_with_their_vcpus() -> None:
    """Whatever becomes of the order; who is asked more often gets the first alternative."""
    program = Program(lambda: [asking(2), asking(3)])
    answers = [
        Answer(1, "stale_entry", 1),
        Answer(0, "stale_entry", 0),
        Answer(0, "stale_entry", 1),
    ]

    for blocks in ([Block(0, 2), Block(1, 3)], [Block(1, 1), Block(0, 2)]):
        assert (["used", "gone"], ["gone", "used", "used"]) == program.run(
            Following(blocks, answers)
        ).results


def test_tape_is_taken_apart_into_blocks_and_answers() -> None:
    """The answers with who was running; -1 before anybody was."""
    tape: Tape = parse_tape("first=1/2 0/0,1*2 stale=1/2 1/0,1 0/0")

    assert [Block(0, 2), Block(1, 1), Block(0, 1)] == blocks_of(tape.schedule)
    assert [Answer(-1, "first", 1), Answer(0, "stale", 1)] == answers_of(tape)
