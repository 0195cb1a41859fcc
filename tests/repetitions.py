"""Activities whose alike work is told from the first, watched: how often, and how much of it."""

from types import GeneratorType
from typing import Any

from models.linux.boot.walks.clearing import Empty
from sim.effects import MARK, Activity, Again


class Repetitions:
    """What became of the marks and repetitions of an activity; or they are refused."""

    def __init__(self, *, refused: bool = False) -> None:
        self.refused = refused
        """Every mark is answered with None, so that everything is done step by step."""
        self.marks = 0
        """Marks that were given."""
        self.told: list[int] = []
        """How many regions, or leaves of the host's own memory, were told, for each run of them."""
        self.cleared: list[int] = []
        """The same of entries that were cleared."""

    def over(self, activity: Activity) -> Activity:
        """The same activity, watched."""
        answer: Any = None
        while True:
            try:
                effect: Any = activity.send(answer)
            except StopIteration as end:
                return end.value
            if effect is MARK and self.refused:
                answer = None
                continue
            if isinstance(effect, GeneratorType):
                effect = self.over(effect)
            answer = yield effect
            if answer is not None:
                if effect is MARK:
                    self.marks += 1
                elif isinstance(effect, Again) and effect.times:
                    run = getattr(effect.moved, "__self__", None)
                    kept = self.cleared if isinstance(run, Empty) else self.told
                    kept.append(effect.times)
