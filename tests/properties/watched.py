"""Activities whose costs are added up, and which are made at once or step by step, as wanted."""

from collections import Counter
from typing import Any

from sim.effects import DECLINED, Activity, Spend, Stretch, Trap, Unbroken, Whole


class Watch:
    """What is seen of activities: how they were carried out, and what was spent."""

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once
        """Calls and runs of calls may be made at once; or else none is."""
        self.spent: Counter[str] = Counter()
        self.made_at_once = 0
        self.declined = 0

    def over(self, activity: Activity) -> Activity:
        """The same activity, watched."""
        answer: Any = None
        while True:
            try:
                effect: Any = activity.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(effect, Stretch):
                answer = self._seen(effect.all_at_once() if self.at_once else DECLINED)
                continue
            if isinstance(effect, Unbroken) and not self.at_once:
                answer = DECLINED
                continue
            if isinstance(effect, Spend):
                self.spent[effect.cost] += effect.n
            if isinstance(effect, Trap):
                self.spent[effect.cost] += 1
                body = effect.at_once if self.at_once else None
                whole = self._seen(body()) if body is not None else None
                if isinstance(whole, Whole):
                    for cost in whole.spent:
                        self.spent[cost.cost] += cost.n
                    answer = whole.answer
                    continue
                effect = Trap(self.over(effect.activity), effect.cost)
            answer = yield effect

    def _seen(self, answer: object) -> object:
        if answer is None or answer is DECLINED:
            self.declined += 1
        else:
            self.made_at_once += 1
        return answer
