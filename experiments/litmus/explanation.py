"""Why an outcome that nobody recorded can, or cannot, be seen on a real hypervisor.

The sentences follow from the order that leads there and from nothing else; where they would have
to guess, they do not.
"""

from collections.abc import Sequence

from experiments.litmus.outcome import Outcome, agrees
from experiments.litmus.recorded import LitmusTest
from experiments.litmus.schedule import Run, Taken, runs_of
from experiments.litmus.wording import operation_text

_WAITS = (
    "One vCPU has to wait for the other inside an operation; that a real hypervisor's waits end in "
    "the same order is not known."
)
_CAN_BE_SHOWN = (
    "Each of these steps is one access of Xen's or the CPU's own, and no lock or flush keeps the "
    "other vCPU out in between, so a real hypervisor can show it; how probable that is depends on "
    "how long the gaps are, which an exploration does not know."
)


def explanation(test: LitmusTest, outcome: Outcome, steps: Sequence[Taken], *, whole: bool) -> str:
    """Whether real hardware can show it, and why; ``whole``: whole operations suffice."""
    if outcome.end:
        return (
            f"The model itself does not come to an end there ({outcome.end}), so nothing is "
            "claimed about a real hypervisor."
        )
    runs = runs_of(steps)
    parts = [*_beside_recorded(test, outcome), *_stale(steps)]
    if whole:
        parts.append(_of_whole_operations(test))
    else:
        parts += _of_gaps(test, runs)
    return " ".join(parts)


def _beside_recorded(test: LitmusTest, outcome: Outcome) -> list[str]:
    """What it differs in, if that is the console only."""
    if any(agrees(outcome, observed, strictly=False) for observed in test.record.outcomes):
        return ["It differs from a recorded outcome only in the kinds of lines that are printed."]
    return []


def _stale(steps: Sequence[Taken]) -> list[str]:
    """What has to be true of the CPU's translations."""
    parts = []
    for number, step in enumerate(steps):
        if not step.stale:
            continue
        entered = any(
            earlier.vcpu == step.vcpu and earlier.operation < step.operation
            for earlier in steps[:number]
        )
        condition = (
            "; since it came back from the hypervisor in between, only where that leaves the TLB "
            "alone (with XPTI it does not)"
            if entered
            else ""
        )
        parts.append(
            f"vCPU {step.vcpu} stores through a translation that the tables no longer hold and "
            "that nobody has flushed, which a real CPU may do until it happens to drop it"
            f"{condition}."
        )
    return parts


def _of_whole_operations(test: LitmusTest) -> str:
    seen = "" if test.record.iterations is None else f" in {test.record.iterations:,} iterations"
    return (
        "An order of whole operations gives it, so a real hypervisor shows it as soon as one side "
        f"is late enough; that it was not seen{seen} says how the sides were started, and no more."
    )


def _of_gaps(test: LitmusTest, runs: Sequence[Run]) -> list[str]:
    """Where the others have to come in between, and how long that takes."""
    gaps = [
        _gap(test, runs, number) for number, run in enumerate(runs) if _is_left_inside(runs, number)
    ]
    if not gaps:
        return [_WAITS]
    return [*gaps, _CAN_BE_SHOWN]


def _is_left_inside(runs: Sequence[Run], number: int) -> bool:
    """Does the other vCPU go on while this one stands inside an operation and could go on?"""
    last = runs[number].steps[-1]
    return last.left and last.place < last.of


def _gap(test: LitmusTest, runs: Sequence[Run], number: int) -> str:
    left = runs[number]
    last = left.steps[-1]
    later = next(place for place in range(number + 1, len(runs)) if runs[place].vcpu == left.vcpu)
    between = runs[number + 1 : later]
    steps = sum(len(run.steps) for run in between)
    whole = sum(run.whole for run in between)
    long = (
        f", {whole} whole operation{'s' if whole > 1 else ''} among them, so vCPU {left.vcpu} has "
        "to be held up there, as by an interrupt"
        if whole
        else ""
    )
    operation = operation_text(test, test.sides[left.vcpu][left.operation])
    return (
        f"vCPU {left.vcpu} is inside {operation}, after {last.does} and before "
        f"{runs[later].steps[0].does}, while vCPU {1 - left.vcpu} makes {steps} "
        f"step{'s' if steps > 1 else ''}{long}."
    )
