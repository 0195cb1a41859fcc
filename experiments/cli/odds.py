"""Estimate how probable a race is."""

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from experiments.cli.app import app
from experiments.cli.options import DEFAULTS, Common, Settings
from experiments.cli.telling import emit_json, emit_table, run_log
from experiments.errors import InputError


@app.command
def odds(
    race: str,
    /,
    *,
    settings: Settings = (),
    vary: str | None = None,
    precision: str = "10%",
    most: Annotated[int, Parameter(validator=Number(gte=2))] = 10_000,
    jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    common: Common = DEFAULTS,
) -> int:
    """Estimate how probable a race of the catalogue is, per opportunity and per hour.

    Parameters
    ----------
    race
        Its id (see: pinlab list races).
    settings
        Change fix, vcpus, pcpus, load (busy vCPUs of other domains), scheduler (credit1, credit2),
        batch (entries of the multicall buffer), profile, latency.COST, xen, gap or rounds, as
        vcpus=4. May be repeated. The fix is off unless it is switched on.
    vary
        Show the odds for several values of one setting, as vcpus=2,4,8, with their differences to
        the first, taken between runs that drew the same numbers.
    precision
        Stop when both ends of the 95 % interval are so near: 10% of the probability, or 0.001.
    most
        Stop after so many runs in any case.
    jobs
        Run trials in so many processes of this machine; the answer is the same.
    """
    from experiments.odds.estimate import parse_precision
    from experiments.odds.race_odds import odds_by_setting, race_odds, race_of_odds
    from experiments.odds.workers import over
    from experiments.show.race_tables import odds_by_setting_table, odds_table
    from experiments.subjects.race_settings import varied

    subject = race_of_odds(race, settings)
    chosen, values = subject.race, subject.settings
    by_value = {} if vary is None else varied(chosen, ("fix=off", *settings), vary)
    try:
        wanted = parse_precision(precision)
    except ValueError as error:
        raise InputError(f"--precision {precision} {error}") from error
    logger = run_log(common).bind(race=chosen.id, fix=values.fix)
    logger.info("sampling started", most=most)
    with over(jobs) as many:
        options: dict[str, Any] = {
            "precision": wanted, "most": most, "seed": common.seed, "over": many,
        }  # fmt: skip
        if vary is None:
            record, _ = race_odds(chosen, values, **options)
        else:
            record = odds_by_setting(chosen, by_value, vary.partition("=")[0], **options)
    rows = record.get("rows", [record])
    logger.info(
        "sampling finished",
        runs=sum(row["runs"] for row in rows),
        hits=sum(row["hits"] for row in rows),
    )
    if common.json:
        emit_json(record)
    elif vary is None:
        emit_table(lambda _: odds_table(record))
    else:
        emit_table(lambda _: odds_by_setting_table(record))
    return 0
