"""Other domains' vCPUs on the same pCPUs: they compute, and never give a pCPU up by themselves."""

from collections.abc import Callable

from sim.effects import STEP, Activity, Spend

OTHER_DOMAIN = Spend("other_domain")
"""A stretch of another domain's work, after which it looks whether it is still wanted."""
STRETCH_NS = 100_000


def computing(over: Callable[[], bool]) -> Activity:
    """Compute until ``over()``; a scheduler can take the vCPU off anywhere in between."""
    while not over():
        yield OTHER_DOMAIN
        yield STEP
