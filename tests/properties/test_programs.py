"""Whatever a guest does, and wherever it is interrupted, the hypervisor's books are right.

``make fuzz`` (:mod:`tests.fuzz`) runs the same properties on many more programs.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from models.machine.entries import ADDRESS_MASK, PAGE_SHIFT, PCD, PRESENT, RW, USER
from models.xen.checks.invariants import Checker, check, require_at_rest
from models.xen.hypercalls import Call, MmuextOp, MmuUpdate, Multicall, UpdateVaMapping
from models.xen.state import Xen
from models.xen.versions.abi import profile_names
from models.xen.versions.errno import EFAULT
from models.xen.versions.paging import Paging
from models.xen.versions.panic import NotModelled
from models.xen.words import COUNT, TLB_FLUSH_LOCAL
from sim.effects import Activity
from sim.explore.execution import Onlooker, execute
from sim.explore.searches.random_order import RandomOrder
from sim.instant import drain
from sim.oracle import ScriptedOracle
from sim.stepwise import after_every_step
from tests.properties.programs import (
    FIRST_VA,
    FOREIGN,
    IOS,
    KL1,
    KL2,
    KL3,
    MMIO,
    POOL,
    Op,
    Program,
    activity,
    batches,
    build,
    contents,
    programs,
    touch_everything,
)
from tests.properties.watched import Watch

TRIALS = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
Look = Callable[[Xen, Op, object], None]


def _run(program: Program, each: Look, *, preempted: bool = True) -> Xen | None:
    """Run a program on CPUs that hold every translation they can; ``each`` gets the results.

    None if it comes to something that is not modelled.
    """
    xen = build(program)
    checker = Checker(xen)
    oracle = ScriptedOracle(program.preemptions if preempted else ())
    for op in program.ops:
        touch_everything(xen, xen.vcpus[op.vcpu])
        try:
            result = drain(after_every_step(activity(xen, op), checker.look), oracle)
        except NotModelled:
            return None
        each(xen, op, result)
    return xen


def _is_done(xen: Xen, _: Op, __: object) -> None:
    require_at_rest(xen)


@TRIALS
@given(programs())
def test_books_are_right_after_every_step(program: Program) -> None:
    """Words are recounted while operations run; and no stale translation of a table is left."""
    xen = _run(program, _is_done)
    if xen is not None:
        check(xen)


@TRIALS
@given(programs(versions=["4.17", "master"]), st.integers(0, 2**32))
def test_books_are_right_in_any_order_of_steps(program: Program, seed: int) -> None:
    """Two vCPUs, a step of one and a step of the other, validations entry by entry.

    Not so in 4.1 and 4.2dev: they let the last use of a page's type go while it is locked
    (XSA-242), and publish a new type before old translations are flushed (XSA-401).
    """
    xen = build(program)

    def side(vcpu: int) -> Activity:
        for op in program.ops:
            if op.vcpu == vcpu:
                yield from activity(xen, op)

    checker = Checker(xen)
    execution = execute([side(0), side(1)], RandomOrder(seed), Onlooker(checker.look))
    if isinstance(execution.failure, NotModelled):
        return
    assert (None, False) == (execution.failure, execution.deadlock)
    require_at_rest(xen)


@TRIALS
@given(programs())
def test_guest_has_no_writable_mapping_of_a_live_table(program: Program) -> None:
    """Looked up entry by entry, without the books."""

    def look(xen: Xen, _: Op, __: object) -> None:
        frames, abi = xen.frames, xen.abi
        live = {
            frames.mfn_at(index)
            for index in frames.all_indices().tolist()
            if abi.level(frames.type_info[index]) and frames.type_info[index] & COUNT
        }
        for table in live:
            if abi.level(frames.type_info[frames.index(table)]) == 1:
                for entry in frames.words(table):
                    mfn = (entry & ADDRESS_MASK) >> PAGE_SHIFT
                    assert not (entry & PRESENT and entry & RW and mfn in live)

    _run(program, look)


@TRIALS
@given(programs())
def test_refused_operation_leaves_no_trace(program: Program) -> None:
    """Single operations. What a refusal may leave is listed in :func:`_essence`."""
    before: list[dict[str, Any]] = []

    def look(xen: Xen, op: Op, result: object) -> None:
        now = _essence(xen)
        if before and _is_refused(op, result):
            assert before[-1] == now
        before[:] = [now]

    before.append(_essence(build(program)))
    _run(program, look)


def _is_refused(op: Op, result: object) -> bool:
    """Was a single operation refused, before it had done anything?"""
    what = op.what
    if isinstance(what, tuple):
        return result is False
    if isinstance(what, UpdateVaMapping):
        # An unreadable bitmap is found when the entry has been changed.
        return isinstance(result, int) and result < 0 and result != -EFAULT
    if isinstance(what, MmuUpdate):
        return len(what.requests) == 1 and result != 0
    return isinstance(what, MmuextOp) and len(what.operations) == 1 and result != 0


def _essence(xen: Xen) -> dict[str, Any]:
    """The machine without what a refused operation may leave.

    The type of a page that nobody uses; the marks of how a page was cached; and in such a page
    the flags that Xen adds to entries while it checks them.
    """
    everything = contents(xen)
    abi, frames = xen.abi, xen.frames
    unused = {mfn for mfn, (word, _) in everything["words"].items() if not word & COUNT}
    words = {
        mfn: (
            0 if mfn in unused else word & ~abi.non_coherent,
            count_info & ~abi.cache_attributes,
        )
        for mfn, (word, count_info) in everything["words"].items()
    }
    kept = ADDRESS_MASK | PRESENT | RW
    pages = {
        mfn: [word & kept for word in frames.words(mfn)] if mfn in unused else page
        for mfn, page in everything["pages"].items()
    }
    return everything | {"words": words, "pages": pages}


@TRIALS
@given(programs())
def test_interrupted_operation_ends_as_the_uninterrupted_one(program: Program) -> None:
    """The same answers, words, entries, and lines, but for the references that lines count."""
    expected: list[object] = []
    answers: list[object] = []

    def keep_in(where: list[object]) -> Look:
        def keep(xen: Xen, _: Op, result: object) -> None:
            where.append((result, [vcpu.done for vcpu in xen.vcpus]))

        return keep

    quiet = _run(program, keep_in(expected), preempted=False)
    interrupted = _run(program, keep_in(answers))
    if quiet is None or interrupted is None:
        return
    assert expected == answers
    assert contents(quiet) == contents(interrupted)
    assert _lines(quiet) == _lines(interrupted)


def _lines(xen: Xen) -> list[str]:
    """What was printed; a reference of a half-done table is counted, too (caf)."""
    return [re.sub("caf=[0-9a-f]+", "caf=", line.text) for line in xen.console.lines]


_PAGING = st.sampled_from([Paging.DIRECT, Paging.DIRECT, Paging.SHADOW])


@TRIALS
@given(programs(), _PAGING)
def test_calls_made_at_once_are_as_those_made_step_by_step(
    program: Program, paging: Paging
) -> None:
    """The same answers, machine, counters, lines and costs."""
    expected, _ = _end(program, paging, at_once=False)
    got, watch = _end(program, paging, at_once=True)
    event(f"{min(watch.made_at_once, 3)} or more at once")

    assert expected == got


@TRIALS
@given(programs(calls=batches()), _PAGING)
def test_multicalls_made_at_once_are_as_those_made_step_by_step(
    program: Program, paging: Paging
) -> None:
    """Whole, or up to the first entry for which that will not do."""
    expected, _ = _end(program, paging, at_once=False)
    got, watch = _end(program, paging, at_once=True)
    event(f"{watch.made_at_once} at once")

    assert expected == got


class _End(NamedTuple):
    """All that a program leaves behind."""

    answers: list[Any]
    machine: dict[str, Any]
    rest: dict[str, Any]
    spent: Counter[str]


def _end(program: Program, paging: Paging, *, at_once: bool) -> tuple[_End, Watch]:
    """What comes of a program, and how it was carried out."""
    xen, watch = build(program, paging), Watch(at_once=at_once)
    answers: list[object] = []
    for op in program.ops:
        try:
            answers.append(drain(watch.over(activity(xen, op))))
        except NotModelled as left_out:
            answers.append(str(left_out))
    return _End(answers, contents(xen), _rest_of(xen), +watch.spent), watch


_IN_KL1 = KL1 << PAGE_SHIFT | 300 << 3
_IN_A_PAGE = POOL.start << PAGE_SHIFT
_LEAF = PRESENT | RW | USER
_PLAIN: dict[str, Call] = {
    "I/O by address": UpdateVaMapping(FIRST_VA + (300 << PAGE_SHIFT), MMIO << PAGE_SHIFT | _LEAF),
    "I/O by machine address": MmuUpdate(((_IN_KL1, MMIO << PAGE_SHIFT | _LEAF),)),
    "RAM that counts as I/O": MmuUpdate(((_IN_KL1, IOS << PAGE_SHIFT | PRESENT),)),
    "uncached I/O": MmuUpdate(((_IN_KL1, MMIO << PAGE_SHIFT | _LEAF | PCD),)),
    "a page": MmuUpdate(((_IN_KL1, POOL[1] << PAGE_SHIFT | _LEAF),)),
    "data": MmuUpdate(((_IN_A_PAGE, POOL[1] << PAGE_SHIFT | _LEAF),)),
    "flush": MmuextOp(((TLB_FLUSH_LOCAL, 0, 0),)),
}
_REFUSED: dict[str, Call] = {
    "a table writable": MmuUpdate(((_IN_KL1, KL2 << PAGE_SHIFT | _LEAF),)),
    "no right": MmuUpdate(((_IN_KL1, 0xFEE00 << PAGE_SHIFT | _LEAF),)),
    "foreign": MmuUpdate(((_IN_KL1, FOREIGN << PAGE_SHIFT | _LEAF),)),
}


def _program(version: str, *calls: Call) -> Program:
    """The calls of a hardware domain that has nothing in its pages."""
    ops = tuple(Op(0, call) for call in calls)
    return Program(version, debug=True, domid=0, pages=(), ops=ops, preemptions=())


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("paging", [Paging.DIRECT, Paging.SHADOW], ids=lambda paging: paging.name)
@pytest.mark.parametrize("call", _PLAIN.values(), ids=_PLAIN)
def test_plain_calls_are_made_at_once(version: str, paging: Paging, call: Call) -> None:
    """Each by itself, also where another entry was before; and an entry goes again, too."""
    undo = MmuUpdate(((_IN_KL1, 0),))
    program = _program(version, call, undo, _PLAIN["a page"], call)
    expected, _ = _end(program, paging, at_once=False)
    got, watch = _end(program, paging, at_once=True)

    assert expected == got
    assert (4, 0) == (watch.made_at_once, watch.declined)
    assert [0, 0, 0, 0] == got.answers


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("paging", [Paging.DIRECT, Paging.SHADOW], ids=lambda paging: paging.name)
def test_multicall_of_plain_calls_is_made_at_once(version: str, paging: Paging) -> None:
    """As one piece."""
    program = _program(version, Multicall(tuple(_PLAIN.values())))
    expected, _ = _end(program, paging, at_once=False)
    got, watch = _end(program, paging, at_once=True)

    assert expected == got
    assert (1, 0) == (watch.made_at_once, watch.declined)
    assert [(0,) * len(_PLAIN)] == got.answers


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("call", _REFUSED.values(), ids=_REFUSED)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_multicall_is_made_at_once_up_to_what_is_refused(
    version: str, call: Call, before: int
) -> None:
    """What comes before it is not made again; what comes behind it is made all the same."""
    plain = tuple(_PLAIN.values())
    program = _program(version, Multicall((*plain[:before], call, *plain[before:])))
    expected, _ = _end(program, Paging.DIRECT, at_once=False)
    got, watch = _end(program, Paging.DIRECT, at_once=True)

    assert expected == got
    assert (0, 1) == (watch.made_at_once, watch.declined)
    (results,) = got.answers
    assert [before] == [number for number, answer in enumerate(results) if answer != 0]


@pytest.mark.parametrize("version", profile_names())
@pytest.mark.parametrize("before", [1, 3])
def test_multicall_made_at_once_in_part_can_be_continued(version: str, before: int) -> None:
    """An entry gives a tree up, which later versions take apart in a continuation."""
    drop = MmuUpdate(((KL3 << PAGE_SHIFT, 0),))
    plain = tuple(_PLAIN.values())[:before]
    program = _program(version, Multicall((*plain, drop, _PLAIN["data"], _PLAIN["flush"])))
    expected, _ = _end(program, Paging.DIRECT, at_once=False)
    got, watch = _end(program, Paging.DIRECT, at_once=True)

    assert expected == got
    assert (0, 1) == (watch.made_at_once, watch.declined)
    assert [(0,) * (before + 3)] == got.answers


def _rest_of(xen: Xen) -> dict[str, Any]:
    """What :func:`contents` leaves out."""
    stamps = xen.frames.stamp_array[xen.frames.all_indices()]
    return {
        "counters": +xen.counters,
        "lines": [line.text for line in xen.console.lines],
        "stamps": stamps.tolist(),
        "clock": (xen.clock.now, list(xen.clock.flushed_at), [dict(x) for x in xen.clock.loaded]),
        "vcpus": list(xen.vcpus),
    }


def test_programs_do_what_they_are_meant_to() -> None:
    """Of the drawn operations many are accepted, and many refused; all kinds are there."""
    results: Counter[tuple[str, bool]] = Counter()

    def count(_: Xen, op: Op, result: object) -> None:
        results[type(op.what).__name__, result is not False and result in (0, True)] += 1

    @settings(TRIALS, max_examples=200, database=None, derandomize=True)
    @given(programs())
    def run_some(program: Program) -> None:
        _run(program, count)

    run_some()
    for kind in ("MmuextOp", "MmuUpdate", "UpdateVaMapping", "tuple"):
        assert results[kind, True] > 20
        assert results[kind, False] > 20
    assert results[Multicall.__name__, False] > 20
