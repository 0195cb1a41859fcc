"""Boot one guest under several strategies."""

import os
from functools import partial
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from experiments.cli.app import app
from experiments.cli.options import DEFAULTS, Common, Flag, Settings
from experiments.cli.telling import emit_json, emit_table, run_log


@app.command
def compare(
    scenario: str = "dom0-2011",
    /,
    *,
    strategies: str | None = None,
    settings: Settings = (),
    replications: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    baseline: str | None = None,
    robust: Flag = False,
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    common: Common = DEFAULTS,
) -> int:
    """Boot one guest under several strategies and show them side by side.

    A line tells of each when it is done; the tables come at the end.

    Parameters
    ----------
    scenario
        A shipped scenario (see: pinlab list scenarios) or the path of a .toml file.
    strategies
        Names with commas between them; by default all there are, oldest first.
    settings
        Change a key of the scenario, as guest.ram=4GiB or
        machine.latency.pin_l1_per_present_pte=30ns; or a part of the strategies, as
        strategy.mask=top. May be repeated.
    replications
        Boot so many times with other draws, and give each time as a mean with its 95 % interval.
    baseline
        The strategy that the others' times are compared with: reserve-hook, if it is among them,
        or else the first.
    robust
        Try latencies all over the profile's ranges, and tell how often each strategy is the
        fastest and which latency decides.
    jobs
        Use so many processes; by default one for each CPU. The result is the same.
    """
    from experiments.cells.comparison import compare as comparison
    from experiments.cells.comparison import compared_under
    from experiments.scenario.scenario import written
    from experiments.subjects.kinds import scenario_of

    document = written(scenario, settings)
    loaded = scenario_of(document, scenario)
    chosen = None if strategies is None else strategies.split(",")
    what = compared_under(loaded, chosen, baseline, written=document)
    compared = partial(
        comparison,
        what,
        run_log(common).bind(scenario=loaded.name),
        seed=common.seed,
        replications=replications,
        robust=robust,
        jobs=jobs or len(os.sched_getaffinity(0)),
    )
    if common.json:
        emit_json(compared())
        return 0
    from experiments.scenario.strategies import resolve
    from experiments.show.comparison_table import Overview
    from experiments.show.tables import compare_table

    overview = Overview(resolve(strategy).name for strategy in what.strategies)
    document = compared(tell=lambda record: emit_table(lambda _: overview.lines(record)))
    ranking = document.get("robustness")
    emit_table(lambda width: compare_table(document["rows"], width, ranking, what.left_out))
    return 0
