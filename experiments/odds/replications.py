"""A comparison over several replications: times as means with intervals, and paired differences.

Replication *r* of every strategy draws from the same named streams, so that work which two
strategies share takes the same time in both (common random numbers): the interval of the
*difference* is then much narrower than the two intervals let one think. Intervals are Student's t
intervals of 95 %.
"""

from collections.abc import Callable, Sequence

import msgspec

from experiments.record.record import Interval, MeanTimes, Record, Replications
from sim.estimate.intervals import student


def replicate(
    run: Callable[[str, int], Record], strategies: Sequence[str], replications: int, baseline: str
) -> list[Record]:
    """The first record of each strategy, with estimates over all replications.

    ``run(strategy, replication)`` makes one. Each record gets a key ``replications``: how many,
    ``time_ns`` by part, ``difference_ns`` of the total to the ``baseline`` strategy, and whether
    the counts were the same in all of them. A difference is taken only between boots that
    succeed: of one that crashes there is no whole.
    """
    records = {
        strategy: [run(strategy, number) for number in range(replications)]
        for strategy in strategies
    }
    return [
        msgspec.structs.replace(made[0], replications=_summary(made, records[baseline]))
        for strategy, made in records.items()
    ]


def _summary(made: Sequence[Record], base: Sequence[Record]) -> Replications:
    comparable = all(record.ok for record in (*made, *base))
    return Replications(
        n=len(made),
        counts_same=all(record.counts == made[0].counts for record in made),
        time_ns=MeanTimes(
            **{
                part: _interval([_time(record, part) for record in made])
                for part in MeanTimes.__struct_fields__
            }
        ),
        baseline=base[0].strategy,
        difference_ns=(
            _interval(
                [
                    _time(own, "total") - _time(other, "total")
                    for own, other in zip(made, base, strict=True)
                ]
            )
            if comparable
            else None
        ),
    )


def _time(record: Record, part: str) -> int:
    time_ns: int = getattr(record.time_ns, part)
    return time_ns


def _interval(values: Sequence[int]) -> Interval:
    return Interval(*student(values))
