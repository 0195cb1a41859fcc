"""The odds of a race: with one set of settings, or how they move with one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import msgspec

from experiments.odds.estimate import (
    Odds,
    Over,
    moved,
    sampled,
)
from experiments.provenance import provenance
from experiments.record.record import Provenance
from experiments.record.trial import Trial
from experiments.scenario.scenario import names_scenario
from experiments.subjects.kinds import named
from experiments.subjects.names import names_race
from experiments.subjects.race import RaceSubject
from experiments.subjects.race_settings import Settings, race_named
from experiments.subjects.trial import trial_by_name
from models.races.arrivals import arrivals_of
from models.races.race import Race
from sim.estimate.sequential import Precision

SCHEMA = "pinlab.odds/1"


def race_of_odds(name: str, settings: Sequence[str]) -> RaceSubject:
    """The race with trials that is meant; its fix is off unless it is switched on.

    Raises:
        InputError: there is none, or it has no trials.
    """
    if not (names_race(name) or names_scenario(name)):
        race_named(name)  # which offers the races there are: a scenario would not do
    subject = named(name, ("fix=off", *settings) if names_race(name) else settings)
    subject.check_trials()
    assert isinstance(subject, RaceSubject)
    return subject


def race_odds(
    race: Race,
    settings: Settings,
    *,
    precision: Precision,
    most: int,
    seed: int,
    over: Over = map,
) -> tuple[dict[str, Any], list[Trial]]:
    """The answer as one document, and the trials that it rests on."""
    arrivals, why_not = arrivals_of(race, fix=settings.fix == "on", shared=settings.shares_pcpus)
    known, trials = sampled(
        partial(trial_by_name, race.id, settings),
        precision=precision,
        most=most,
        seed=seed,
        conditions=None if arrivals is None else arrivals.conditions,
        why_not=why_not,
        over=over,
    )
    asked = {"precision": asdict(precision), "most": most}
    return _record(race, settings, known, asked), trials


def odds_by_setting(
    race: Race,
    by_value: Mapping[str, Settings],
    vary: str,
    *,
    precision: Precision,
    most: int,
    seed: int,
    over: Over = map,
) -> dict[str, Any]:
    """The odds for each value of a setting, each with its difference to the first.

    Replications draw from the same streams whatever the value, so differences are taken pair
    by pair.
    """
    rows: list[dict[str, Any]] = []
    first: list[Trial] = []
    for value, settings in by_value.items():
        record, trials = race_odds(
            race, settings, precision=precision, most=most, seed=seed, over=over
        )
        first = first or trials
        difference = None if trials is first else moved(first, trials)
        row = {"value": value, **record, "provenance": None, "difference": None}
        if difference is not None:
            row["difference"] = {
                **difference.difference._asdict(),
                "runs": difference.runs,
                "variance_ratio": difference.variance_ratio,
            }
        rows.append(row)
    return {
        "schema": "pinlab.odds-by-setting/1",
        "provenance": _provenance(
            {
                "kind": "race",
                "race": race.id,
                "vary": vary,
                "settings": {
                    value: msgspec.to_builtins(settings) for value, settings in by_value.items()
                },
                "precision": asdict(precision),
                "most": most,
            },
            seed,
        ),
        "race": race.id,
        "title": race.title,
        "opportunity": race.opportunity,
        "vary": vary,
        "rows": rows,
    }


def _provenance(settings: object, seed: int) -> Provenance:
    return provenance(settings, __name__, seed=seed)


def _record(race: Race, settings: Settings, known: Odds, asked: dict[str, Any]) -> dict[str, Any]:
    record = known.record()
    subject = {"kind": "race", "race": race.id, "settings": msgspec.to_builtins(settings)}
    arrivals, _ = arrivals_of(race, fix=settings.fix == "on", shared=settings.shares_pcpus)
    if record["time_average"] is not None and arrivals is not None:
        record["time_average"]["because"] = list(arrivals.because)
    return {
        "schema": SCHEMA,
        "provenance": _provenance(subject | asked, known.seed),
        "race": race.id,
        "title": race.title,
        "opportunity": race.opportunity,
        "settings": {
            "fix": settings.fix,
            "vcpus": settings.vcpus,
            "pcpus": settings.pcpus,
            "load": settings.load,
            "scheduler": settings.scheduler,
            "batch": settings.batch,
            "xen": settings.xen,
            "profile": settings.profile,
            "latency": settings.latency,
            "gap_ns": settings.gap_ns,
            "rounds": settings.rounds,
        },
        **record,
    }
