"""The cause of a failure in one sentence, which says no more than what the execution shows."""

from collections.abc import Sequence
from itertools import groupby

from experiments.counterexamples.conflicts import Conflict, decisive
from experiments.counterexamples.observed import Observed, Step
from experiments.counterexamples.rows import path_of
from experiments.subjects.orders import Explored

_MOST_TOLD = 2
_MOST_BLOCKS = 4


def cause(explored: Explored, observed: Observed, found: Sequence[Conflict]) -> str:
    """Who met what, as whom had left it, and what came of it.

    ``found``: the conflicts of the execution, in their order.
    """
    finding, steps = observed.finding, observed.steps
    assert finding is not None
    if not steps:
        return f"Before any step that another vCPU could see: {finding.message}"
    if observed.execution is not None and observed.execution.deadlock:
        return f"{_waits(explored, observed)}: {finding.message}"
    last = steps[-1]
    if len({step.vcpu for step in steps}) == 1:
        where = _where(explored, last)
        return f"vCPU {last.vcpu} alone, at step {last.number} ({where}): {finding.message}"
    told = sorted(decisive(found)[-_MOST_TOLD:], key=lambda conflict: conflict.earlier.number)
    if not told:
        return (
            "No recorded entry or type is in conflict; what leads here is the order: "
            f"{_order(explored, steps)}: {finding.message}"
        )
    end = max((conflict.later for conflict in told), key=lambda step: step.number)
    changes = ", and ".join(_changed(explored, conflict) for conflict in told)
    return (
        f"{changes[0].upper()}{changes[1:]}; {_standing(observed, told[-1])}"
        f"vCPU {end.vcpu} met that at step {end.number} ({_where(explored, end)})"
        f"{', while the window was open' if end.window else ''}: {finding.message}"
    )


def _changed(explored: Explored, conflict: Conflict) -> str:
    step = conflict.earlier
    return (
        f"at step {step.number} ({_where(explored, step)}) vCPU {step.vcpu} changed "
        f"{explored.told(conflict.change)}"
    )


def _where(explored: Explored, step: Step) -> str:
    """The operation in the hypervisor, and the guest's routines."""
    path = path_of(step)
    return f"{explored.operation(step.inside)} in {path}" if step.hypervisor else path


def _standing(observed: Observed, conflict: Conflict) -> str:
    """Who made the change has been left in the middle of something, and stands there still."""
    vcpu = conflict.earlier.vcpu
    pending = () if observed.execution is None else observed.execution.pending
    last = max(step.number for step in observed.steps if step.vcpu == vcpu)
    if vcpu >= len(pending) or pending[vcpu] is None or last > conflict.later.number:
        return ""
    return f"vCPU {vcpu} was left after step {last}, and "


def _order(explored: Explored, steps: Sequence[Step]) -> str:
    """The blocks of steps in words; of many, the last."""
    blocks = [list(block) for _, block in groupby(steps, lambda step: step.vcpu)]
    told = [
        f"vCPU {block[0].vcpu} up to step {block[-1].number} ({_where(explored, block[-1])})"
        for block in blocks[-_MOST_BLOCKS:]
    ]
    return ", then ".join(told)


def _waits(explored: Explored, observed: Observed) -> str:
    """Who waits for which lock, and since when somebody has it."""
    assert observed.execution is not None
    holders: dict[object, Step] = {}
    for step in observed.steps:
        if step.kind == "acquire" and step.lock is not None:
            holders[step.lock] = step
        elif step.kind == "release":
            holders.pop(step.lock, None)
    told = []
    for ahead in observed.execution.pending:
        if ahead is None:
            continue
        by = holders.get(ahead.lock) if ahead.kind == "acquire" else None
        if by is None:
            told.append(f"vCPU {ahead.vcpu} waits ({ahead.kind})")
        else:
            told.append(
                f"vCPU {ahead.vcpu} waits for {ahead.lock}, which vCPU {by.vcpu} has taken at step "
                f"{by.number} ({_where(explored, by)})"
            )
    return ", and ".join(told)
