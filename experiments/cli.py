"""The command line of PinLab.

Results go to stdout, all else to stderr. What a command needs is imported where it is used, so
that asking for help does not wait for it.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from experiments.errors import InputError
from experiments.scenario.outcome import Outcome
from experiments.threads import one_blas_thread

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.record.record import Provenance, Record
    from experiments.run_log import RunLog
    from experiments.subjects.subject import Subject

PLAIN_WIDTH = 100
"""Columns of a table that does not go to a terminal."""


def _version() -> str:
    from importlib.metadata import version

    return version("pinlab")


app = App(
    name="pinlab",
    help="Which way of publishing page tables survives a Xen PV hypervisor, and what does it cost?",
    help_format="plaintext",
    version=_version,
    suppress_keyboard_interrupt=False,
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Settings = Annotated[
    tuple[str, ...],
    Parameter(name="--set", negative="", show_default=False, metavar="KEY=VALUE"),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output:
    """How a command tells its results."""

    json: Flag = False
    """Print one JSON document in place of tables."""

    quiet: Flag = False
    """Keep stderr free of all but errors."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common(Output):
    """The options that every command takes."""

    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    """Decides every random draw."""


DEFAULTS = Common()
DEFAULT_OUTPUT = Output()


@app.command
def run(  # noqa: PLR0913 - each option of the command is one
    scenario: str,
    /,
    *,
    strategy: str | None = None,
    settings: Settings = (),
    expect: Outcome | None = None,
    check: Flag = False,
    every_event: Flag = False,
    log: Path | None = None,
    tape: Path | None = None,
    on_clock: Flag = False,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Run one thing: a boot, a workload, or a race.

    The exit status is 0 if the run comes out as expected, and 1 if not.

    Parameters
    ----------
    scenario
        A shipped scenario (see: pinlab list scenarios), the path of a .toml file, or a race (see:
        pinlab list races) as R1 or races/R1, of which a failure is looked for.
    strategy
        In place of the scenario's own.
    settings
        Change a key of the scenario, as guest.ram=4GiB or
        machine.latency.pin_l1_per_present_pte=30ns; or a part of the strategy, as
        strategy.mask=top. May be repeated.
    expect
        How the run is expected to come out; ok, unless the scenario has an [expect].
    check
        After every step, check that all types and counts of the machine are consistent.
    every_event
        Make each hypercall an event of its own; the record is the same.
    log
        Write a record of each hypercall to this .jsonl or .parquet file.
    tape
        Record the run in this file, for pinlab replay.
    on_clock
        Run a race on the clock, with other draws until it fails; else its failure is looked for
        among the orders of its steps first. The four options above ask for it, too.
    out
        The folder for what is written of a race's failure: repro.json, diagram.svg, trace.json.
    """
    from experiments.subjects.kinds import named

    subject = named(scenario, settings, strategy)
    clock = on_clock or check or every_event or log is not None or tape is not None
    if subject.kind == "race" and not clock:
        return _look_for_failure(subject, expect, out, common)
    if out is not None:
        raise InputError(
            f"{scenario}: --out is for a failure that is looked for among a race's orders; --tape "
            "records a run on the clock"
        )
    return _run_on_clock(
        subject, expect, Files(log, tape), every_event=every_event, check=check, common=common
    )


class Files(NamedTuple):
    """What a run on the clock is to write."""

    log: Path | None
    tape: Path | None


def _run_on_clock(
    subject: "Subject",
    expect: Outcome | None,
    files: Files,
    *,
    every_event: bool,
    check: bool,
    common: Common,
) -> int:
    """Run it, show the record, write what is to be kept, and return the exit status."""
    from experiments.run_log import logged
    from experiments.subjects.on_clock import Asked

    rows = recording = None
    if files.log is not None:
        from experiments.record import events as timing_log

        timing_log.check_destination(files.log)
        rows = timing_log.TimingLog()
    if files.tape is not None:
        from experiments.counterexamples import folder
        from sim.recording import Recording

        folder.check_folder(files.tape.parent)
        recording = Recording()
    asked = Asked(
        seed=common.seed, every_event=every_event, check=check, log=rows, follower=recording
    )
    logger = _logger(common).bind(**subject.told)
    try:
        record = logged(logger, partial(subject.on_clock, asked))
    except AssertionError as violation:
        from models.xen.checks.invariants import InvariantViolation

        if not isinstance(violation, InvariantViolation):
            raise
        return _complaint(f"the machine is inconsistent: {violation}", status=1)
    if files.log is not None and rows is not None:
        rows.write(files.log, _made(subject, common.seed))
    if files.tape is not None and recording is not None:
        from experiments.counterexamples import folder

        again = subject.replayed(asked, record)
        folder.write_recording(files.tape, again, recording, subject.finding(record))
    return _tell_record(subject, record, None, expect, common)


def _look_for_failure(
    subject: "Subject", expect: Outcome | None, out: Path | None, common: Common
) -> int:
    """Look for a race's failure, show it, and return the exit status."""
    from experiments.counterexamples import folder
    from experiments.counterexamples.of_races import of_race
    from experiments.run_log import logged
    from experiments.subjects.race import RaceSubject

    assert isinstance(subject, RaceSubject)
    if out is not None:
        folder.check_folder(out)
    logger = _logger(common).bind(**subject.told)
    record = logged(logger, partial(subject.search, seed=common.seed))
    found = None if record.failure is None else of_race(subject, record)
    if found is not None:
        record = found.told_in(record)
        if out is not None:
            logger.info("failure written", files=[str(path) for path in found.write(out)])
    diagram = None if found is None or common.json else found.diagram()
    return _tell_record(subject, record, diagram, expect, common)


def _made(subject: "Subject", seed: int) -> "Provenance":
    from experiments.provenance import provenance

    return provenance(subject.document, *subject.modules, seed=seed)


def _tell_record(
    subject: "Subject",
    record: "Record",
    diagram: "RenderableType | None",
    expect: Outcome | None,
    common: Common,
) -> int:
    """Show a record, and return the exit status: 1 if it is not as expected."""
    if common.json:
        from msgspec.structs import replace

        _emit_json(replace(record, provenance=_made(subject, common.seed)))
    elif record.race is not None:
        from experiments.show.race_tables import race_table

        _emit_table(lambda _: race_table(record, diagram))
    else:
        from experiments.show.tables import run_table

        _emit_table(lambda _: run_table(record))
    expected = expect or subject.expected or "ok"
    if record.outcome != expected:
        logger = _logger(common).bind(**subject.told)
        logger.warning("outcome not as expected", outcome=record.outcome, expected=expected)
        return 1
    return 0


@app.command
def replay(
    file: Path,
    /,
    *,
    until: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    explain: Flag = False,
    check_determinism: Flag = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Make a recorded run again, step by step.

    The exit status is 0 if it is the recorded run, and 1 if not: the first step that differs is
    told.

    Parameters
    ----------
    file
        A repro.json, or what pinlab run --tape has written.
    until
        Stop after so many steps.
    explain
        Tell of each step of an explored run what the routine is for and what it touches.
    check_determinism
        Make the run twice more, and compare these two.
    """
    from experiments.counterexamples import repro
    from experiments.counterexamples.replay import replay as run_again
    from experiments.counterexamples.replay import replay_document
    from experiments.counterexamples.replay_table import replay_table

    recorded = repro.load(file)
    try:
        done = run_again(recorded, until=until, twice=check_determinism)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    if output.json:
        _emit_json(replay_document(done, explain=explain))
    else:
        _emit_table(lambda _: replay_table(done, explain=explain))
    if done.difference is not None:
        return _complaint(f"{file}: {done.difference}", status=1)
    return 0


@app.command
def explore(  # noqa: PLR0913 - each option of the command is one
    scenario: str,
    /,
    *,
    strategy: str | None = None,
    settings: Settings = (),
    bound: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 60.0,
    executions: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    all_findings: Flag = False,
    check_footprints: Flag = False,
    orders_only: Flag = False,
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    out: Path | None = None,
    common: Common = DEFAULTS,
) -> int:
    """Try all interleavings of a race or of a boot on several vCPUs, or as many as may be.

    The exit status is 1 if one of them fails. Where not all can be tried within the budget, those
    with few switches are, and some by chance; what is claimed is what was tried.

    Parameters
    ----------
    scenario
        A race (see: pinlab list races) as R1 or races/R1; parallel-boot, for a machine that is
        small enough; or a scenario of that kind, or its file.
    strategy
        Of a parallel boot, in place of the scenario's own.
    settings
        Change a setting of the race, as fix=off or vcpus=3, or a key of the scenario. May be
        repeated.
    bound
        Only orders that take a vCPU off so often, at most, while it could go on.
    seconds
        Stop after so long.
    executions
        Stop after so many executions.
    all_findings
        Go on behind a failure, and count all of them.
    check_footprints
        Make each execution once more in another order that ought to be equivalent, and see whether
        it is.
    orders_only
        Do not look whether a race's failure comes about on the clock.
    jobs
        Use so many processes; by default one for each CPU.
    out
        The folder for the record, the failures, and a checkpoint with which the same command goes
        on after it was stopped.
    """
    from experiments.counterexamples.folder import check_folder
    from experiments.exploring.explore import Asked
    from experiments.exploring.explore import explore as search
    from experiments.exploring.programs import program_named
    from experiments.exploring.telling import outcome_table, telling

    program = program_named(scenario, strategy, settings)
    if out is not None:
        check_folder(out)
    asked = Asked(
        seconds=seconds,
        executions=executions,
        every_finding=all_findings,
        jobs=jobs or len(os.sched_getaffinity(0)),
        seed=common.seed,
        out=out,
        switches=bound,
        rechecks=check_footprints,
        on_the_clock=not orders_only,
    )
    logger = _logger(common).bind(program=program.title)
    shows_line = sys.stderr.isatty() and not common.quiet
    with telling(None if shows_line else logger) as tell:
        outcome = search(program, asked, tell)
    if common.json:
        _emit_json(outcome.record())
    else:
        _emit_table(lambda _: outcome_table(outcome))
    return 1 if outcome.counterexamples else 0


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
    from experiments.odds.race_odds import odds_by_setting, race_odds
    from experiments.odds.workers import over
    from experiments.show.race_tables import odds_by_setting_table, odds_table
    from experiments.subjects.race_settings import race_named, settings_of, varied

    chosen = race_named(race)
    if not chosen.opportunity:
        raise InputError(
            f"{chosen.id} is of kind {chosen.kind} and has no workload on the clock; "
            f"its orders are looked through by: pinlab run races/{chosen.id}"
        )
    written = ("fix=off", *settings)
    values = settings_of(chosen, written)
    by_value = {} if vary is None else varied(chosen, written, vary)
    try:
        wanted = parse_precision(precision)
    except ValueError as error:
        raise InputError(f"--precision {precision} {error}") from error
    logger = _logger(common).bind(race=chosen.id, fix=values.fix)
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
        _emit_json(record)
    elif vary is None:
        _emit_table(lambda _: odds_table(record))
    else:
        _emit_table(lambda _: odds_by_setting_table(record))
    return 0


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
        _logger(common).bind(scenario=loaded.name),
        seed=common.seed,
        replications=replications,
        robust=robust,
        jobs=jobs or len(os.sched_getaffinity(0)),
    )
    if common.json:
        _emit_json(compared())
        return 0
    from experiments.scenario.strategies import resolve
    from experiments.show.comparison_table import Overview
    from experiments.show.tables import compare_table

    overview = Overview(resolve(strategy).name for strategy in what.strategies)
    document = compared(tell=lambda record: _emit_table(lambda _: overview.lines(record)))
    ranking = document.get("robustness")
    _emit_table(lambda width: compare_table(document["rows"], width, ranking, what.left_out))
    return 0


@app.command
def sweep(
    file: str,
    /,
    *,
    out: Path | None = None,
    jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    dask: str | None = None,
    dry_run: Flag = False,
    seed: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Boot guests over many settings, and keep what was computed.

    Stopped by whatever means, the same command goes on where it was. The exit status is 0 if every
    cell was computed, whatever its outcome, and 1 if not.

    Parameters
    ----------
    file
        A scenario file with a section [sweep] (docs/guides/sweeping.md), or the name of one that is
        shipped.
    out
        The folder for the ledger and results.parquet; by default the file's name with .sweep.
    jobs
        Compute with so many processes of this machine.
    dask
        Compute on the workers of the Dask scheduler at this address, as tcp://10.0.0.1:8786.
    dry_run
        Check everything, tell what would be computed, and write nothing.
    seed
        Decides every random draw; by default the file's own, or else 0.
    """
    from experiments.cells import carry_out, load_sweep, results
    from experiments.cells.execute import left_to_do, of_other_code
    from experiments.cells.progress import watching
    from experiments.show import sweep_tables as tables

    if dask is not None and jobs != 1:
        raise InputError("sweep: --jobs is for this machine and --dask for others; give one")
    plan = load_sweep(file, seed=seed)
    folder = Path(f"{Path(file).stem}.sweep") if out is None else out
    missing = left_to_do(plan, folder)
    if other := of_other_code(plan, folder):
        _complaint(
            f"{folder}: the ledger was filled by other code ({other}, this is {plan.code}); its "
            "records stay there and are not used: each cell is computed anew",
            status=0,
        )
    if dry_run:
        if output.json:
            _emit_json(tables.plan_document(plan, missing))
        else:
            _emit_table(lambda _: tables.plan_table(plan, missing))
        return 0
    logger = _logger(output).bind(sweep=plan.name)
    shows_bar = sys.stderr.isatty() and not output.quiet
    with watching(missing, None if shows_bar else logger) as watch:
        swept = carry_out(plan, folder, jobs=jobs, dask=dask, watch=watch)
    rows = results.read(plan, folder)
    where = str(results.files(folder).results)
    if output.json:
        _emit_json(tables.sweep_document(plan, swept, rows, where))
    else:
        _emit_table(lambda _: tables.sweep_table(plan, swept, rows, where))
    for row in swept.failed:
        _complaint(f"{row.cell} could not be computed: {row.error}", status=1)
    return 1 if swept.failed else 0


@app.command(name="list")
def list_(
    kind: Literal["strategies", "races", "profiles", "scenarios", "parameters"],
    /,
    *,
    common: Common = DEFAULTS,
) -> int:
    """Show what there is to choose from.

    Parameters
    ----------
    kind
        Parameters are the costs that the section [machine.latency] of a scenario can change.
    """
    from experiments.show.listing import list_items, listing

    items = list_items(kind)
    if common.json:
        _emit_json({"schema": "pinlab.list/1", kind: items})
    else:
        _emit_table(lambda _: listing(items))
    return 0


@app.command
def conform(*files: Annotated[Path, Parameter(metavar="FILE")], common: Common = DEFAULTS) -> int:
    """Hold the hypervisor against conformance vectors, and show what differs.

    The exit status is 0 if all of them pass, and 1 if not.

    Parameters
    ----------
    files
        Files of the schema pinlab.conformance/1 (docs/reference/conformance-files.md), .json or
        .json.gz.
    """
    from experiments.conformance import report

    if not files:
        raise InputError("conform: name a file of vectors, or several")
    result = report.conform(files)
    if common.json:
        _emit_json(report.as_document(result))
    else:
        _emit_table(lambda _: report.conform_table(result))
    return 1 if result.failures else 0


@app.command
def litmus(
    *files: Annotated[Path, Parameter(metavar="FILE")],
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    most: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    common: Common = DEFAULTS,
) -> int:
    """Try the orders of two vCPUs' steps, and look for what a real Xen was seen to do.

    The exit status is 0 if every recorded outcome is reached, and 1 if not.

    Parameters
    ----------
    files
        Files of the schema pinlab.litmus/1 (docs/reference/litmus-files.md).
    jobs
        Explore with so many processes; one for each CPU by default.
    most
        Try so many classes of orders of a test at most, and then some orders drawn at random;
        20,000 by default.
    """
    from experiments.litmus import report

    if not files:
        raise InputError("litmus: name a file of litmus tests, or several")
    processes = len(os.sched_getaffinity(0)) if jobs is None else jobs
    tests = report.litmus(files, jobs=processes, most=most, seed=common.seed)
    if common.json:
        _emit_json(report.document(tests, report.made_of(files, most=most, seed=common.seed)))
    else:
        _emit_table(lambda _: report.litmus_table(tests))
    return 1 if any(test.missing for test in tests) else 0


@app.command
def decode(
    *words: Annotated[str, Parameter(metavar="WORD-OR-LINE", allow_leading_hyphen=True)],
    xen: str | None = None,
    count_info: Flag = False,
    common: Common = DEFAULTS,
) -> int:
    """Say what a word or a line of Xen's console means, and what usually causes it.

    Parameters
    ----------
    words
        A type_info word in hexadecimal, a console line in quotes, or - for a log on stdin.
    xen
        The version that it comes from: 4.1, 4.2dev, 4.17 or master.
    count_info
        Words are count_info words.
    """
    from experiments.decoding.document import decode as decode_all
    from experiments.decoding.tables import decode_table

    document = decode_all(words, xen=xen, count_info=count_info)
    if common.json:
        _emit_json(document)
    else:
        _emit_table(lambda _: decode_table(document))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, ``sys.argv`` by default, and return the exit status."""
    one_blas_thread()
    try:
        return app(arguments) or 0
    except (InputError, CycloptsError) as error:
        return _complaint(str(error), status=2)
    except KeyboardInterrupt:
        return _complaint("interrupted", status=130)
    except TypeError as error:
        from sim.effects import NotAnEffect

        if not isinstance(error, NotAnEffect):
            raise
        # A strategy of the user's own has yielded it, whatever ran the strategy.
        return _complaint(str(error), status=2)


def _logger(output: Output) -> "RunLog":
    """For records of whole runs."""
    from experiments.run_log import RunLog

    return RunLog(quiet=output.quiet)


def _emit_json(document: object) -> None:
    import msgspec

    _emit(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


def _emit_table(render: "Callable[[int], RenderableType]") -> None:
    """Write what ``render`` makes of the number of columns."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal,
        width=None if terminal else PLAIN_WIDTH,
        highlight=False,
    )
    console.print(render(console.width), crop=False)
    _emit("".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines()))


def _emit(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes stdout once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A reader that has seen enough (`pinlab list ... | head -1`) is no error.
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot write to stdout: {error.strerror}") from error


def _complaint(message: str, status: int) -> int:
    """Say on one line of stderr what is wrong, and return the exit status."""
    sys.stderr.write(f"pinlab: {' '.join(message.split())}\n")
    return status
