"""What a script asks of PinLab; each is a command, too, and answers the same."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from experiments.errors import InputError
from experiments.provenance import provenance
from experiments.record.record import Record
from experiments.run_log import RunLog
from experiments.subjects.kinds import named, scenario_of, subject_of
from experiments.subjects.names import names_race
from experiments.subjects.on_clock import Asked
from experiments.subjects.subject import Subject
from models.linux.boot.strategy import Strategy
from pinlab.results import Comparison, Decoded, Exploration, Odds, SweepTable
from pinlab.scenarios import Scenario, Settings, Source, as_texts, document_of, plain

_QUIET = RunLog(quiet=True)


def run(  # noqa: PLR0913 - all that can be asked of a run, by name
    scenario: Source,
    strategy: str | Strategy | None = None,
    *,
    settings: Settings = (),
    seed: int = 0,
    replication: int = 0,
    check: bool = False,
    every_event: bool = False,
    on_clock: bool = False,
    log: str | os.PathLike[str] | None = None,
) -> Record:
    """Run one thing, and return its record.

        record = pinlab.run("dom0-2011", strategy="tables-high")
        record = pinlab.run("guest-2G", settings={"guest.ram": "4GiB"}, log="calls.parquet")
        record = pinlab.run("R1", settings={"fix": "off"})

    A race's failure is looked for among the orders of its steps; ``on_clock``, ``check``,
    ``every_event`` and ``log`` have it run on the clock instead. ``check`` counts all references of
    the machine again after every step. ``log``: a file for a row a hypercall (.jsonl, .parquet).

    Raises:
        InputError: there is no such thing, it cannot be run so, or the file cannot be written.
        InvariantViolation: ``check`` has found the machine inconsistent.
    """
    subject = _subject(scenario, strategy, settings)
    rows = None
    if log is not None:
        from experiments.record import events

        events.check_destination(Path(log))
        rows = events.TimingLog()
    if subject.kind == "race" and not (on_clock or check or every_event or rows is not None):
        from experiments.subjects.race import RaceSubject

        assert isinstance(subject, RaceSubject)
        record = subject.search(seed=seed)
    else:
        asked = Asked(
            seed=int(seed),
            replication=int(replication),
            check=check,
            every_event=every_event,
            log=rows,
        )
        record = subject.on_clock(asked)
    made = provenance(subject.document, *subject.modules, seed=int(seed))
    if log is not None and rows is not None:
        rows.write(Path(log), made)
    return msgspec.structs.replace(record, provenance=made)


def compare(
    scenario: Source = "dom0-2011",
    strategies: Iterable[str] | None = None,
    *,
    settings: Settings = (),
    seed: int = 0,
    replications: int = 1,
    baseline: str | None = None,
    robust: bool = False,
    jobs: int = 1,
) -> Comparison:
    """Boot one guest under several strategies, by default all there are.

        comparison = pinlab.compare("guest-2G", ["tables-low", "reserve-hook"])
        comparison.to_polars().select("strategy", "outcome", "time_ns.total")

    ``replications``: boots of each with other draws, told as means with intervals; ``baseline``:
    the strategy that their times are compared with; ``robust``: try other latencies of the
    profile's ranges; ``jobs``: so many processes, the result is the same.

    Raises:
        InputError: there is no such scenario or strategy, or it cannot be run.
    """
    from experiments.cells.comparison import compare as comparison
    from experiments.cells.comparison import compared_under

    document = document_of(scenario, settings)
    what = compared_under(
        scenario_of(document),
        None if strategies is None else list(strategies),
        baseline,
        written=document,
    )
    return Comparison(
        comparison(
            what,
            _QUIET,
            seed=int(seed),
            replications=int(replications),
            robust=robust,
            jobs=int(jobs),
        )
    )


def sweep(
    source: str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    seed: int | None = None,
    jobs: int = 1,
    dask: str | None = None,
) -> SweepTable:
    """Boot guests over many settings; what the folder ``out`` has already is not run again.

        table = pinlab.sweep(
            {"guest": {"ram": "96MiB", "kernel_end": "44MiB"},
             "sweep": {"guest.strategy": ["tables-low", "reserve-hook"]}},
            "out",
        )
        table.frame

    ``source``: a path, the name of a shipped sweep, or what such a file says. ``seed`` goes before
    the file's own. ``jobs``: so many worker processes; ``dask``: the address of a Dask scheduler.

    Raises:
        InputError: something is wrong with the file or a cell, or the folder cannot be used.
    """
    from experiments.cells import carry_out, load_sweep, results
    from experiments.show.sweep_tables import sweep_document

    given = plain(source) if isinstance(source, Mapping) else os.fspath(source)
    planned = load_sweep(given, seed=None if seed is None else int(seed))
    folder = Path(out)
    swept = carry_out(planned, folder, jobs=int(jobs), dask=dask)
    rows = results.read(planned, folder)
    where = str(results.files(folder).results)
    return SweepTable(sweep_document(planned, swept, rows, where), swept.frame)


def odds(
    race: str,
    *,
    settings: Settings = (),
    vary: str | None = None,
    precision: str = "10%",
    most: int = 10_000,
    seed: int = 0,
    jobs: int = 1,
) -> Odds:
    """How probable a race of the catalogue is, per opportunity and per hour.

        answer = pinlab.odds("R1", settings={"vcpus": 4}, precision="20%")
        answer["per_opportunity"]

    The fix is off unless it is switched on. ``vary``: show it for several values of one setting, as
    ``vcpus=2,4,8``. ``precision``: stop when both ends of the 95 % interval are so near, or after
    ``most`` runs. ``jobs``: so many processes, the answer is the same.

    Raises:
        InputError: there is no such race or setting, or it has no workload on the clock.
    """
    from experiments.odds.estimate import parse_precision
    from experiments.odds.race_odds import odds_by_setting, race_odds, race_of_odds
    from experiments.odds.workers import over
    from experiments.subjects.race_settings import varied

    written = as_texts(settings)
    subject = race_of_odds(race, written)
    chosen, values = subject.race, subject.settings
    by_value = {} if vary is None else varied(chosen, ("fix=off", *written), vary)
    try:
        wanted = parse_precision(precision)
    except ValueError as error:
        raise InputError(f"precision = {precision!r} {error}") from error
    with over(int(jobs)) as many:
        options: dict[str, Any] = {
            "precision": wanted, "most": int(most), "seed": int(seed), "over": many,
        }  # fmt: skip
        if vary is None:
            document, _ = race_odds(chosen, values, **options)
            return Odds(document)
        return Odds(odds_by_setting(chosen, by_value, vary.partition("=")[0], **options))


def explore(  # noqa: PLR0913 - all that can be asked of a search, by name
    program: str,
    strategy: str | None = None,
    *,
    settings: Settings = (),
    bound: int | None = None,
    seconds: float = 60.0,
    executions: int | None = None,
    all_findings: bool = False,
    seed: int = 0,
    jobs: int = 1,
) -> Exploration:
    """Try all orders of a race's steps, or of a boot on several vCPUs, or as many as may be.

        found = pinlab.explore("R16", settings={"fix": "off"}, seconds=20)
        found["findings"]

    ``bound``: only orders that take a vCPU off so often, at most; ``seconds`` and ``executions``
    end the search; ``all_findings`` goes on behind a failure.

    Raises:
        InputError: there is no such program, or its orders cannot be tried.
    """
    from experiments.exploring.explore import Asked as Wanted
    from experiments.exploring.explore import explore as search
    from experiments.exploring.programs import program_named

    wanted = Wanted(
        seconds=float(seconds),
        executions=executions,
        every_finding=all_findings,
        jobs=int(jobs),
        seed=int(seed),
        out=None,
        switches=bound,
    )
    found = search(program_named(program, strategy, as_texts(settings)), wanted, lambda _: None)
    return Exploration(found.record())


def decode(*words: str, xen: str | None = None, count_info: bool = False) -> Decoded:
    """What words of ``type_info`` and lines of Xen's console mean.

        pinlab.decode("7400000000000001")
        pinlab.decode("mm.c:3027:d0 Error while pinning mfn b1d89", xen="4.1")

    ``xen``: the version that they come from; ``count_info``: words are of that kind.

    Raises:
        InputError: nothing in it can be decoded.
    """
    from experiments.decoding.document import decode as decode_all

    return Decoded(decode_all(words, xen=xen, count_info=count_info))


def _subject(scenario: Source, strategy: str | Strategy | None, settings: Settings) -> Subject:
    """A race by its name, or a guest's scenario under a strategy."""
    name = None if isinstance(scenario, Mapping | Scenario) else os.fspath(scenario)
    if name is not None and names_race(name):
        if strategy is not None:
            raise InputError(f"{name}: a race has no strategy; change it by settings")
        return named(name, as_texts(settings))
    document = document_of(scenario, settings)
    return subject_of(scenario_of(document, name), strategy, written=document)
