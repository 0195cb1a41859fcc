"""Run one thing, whatever can be run, and write what is asked for."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.cli.app import app
from experiments.cli.options import DEFAULTS, Common, Flag, Settings
from experiments.cli.telling import complaint, emit_json, emit_table, run_log
from experiments.errors import InputError
from experiments.record.outcome import Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.record.record import Provenance, Record
    from experiments.subjects.subject import Subject


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
    logger = run_log(common).bind(**subject.told)
    try:
        record = logged(logger, partial(subject.on_clock, asked))
    except AssertionError as violation:
        from models.xen.checks.invariants import InvariantViolation

        if not isinstance(violation, InvariantViolation):
            raise
        return complaint(f"the machine is inconsistent: {violation}", status=1)
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
    logger = run_log(common).bind(**subject.told)
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

        emit_json(replace(record, provenance=_made(subject, common.seed)))
    elif record.race is not None:
        from experiments.show.race_tables import race_table

        emit_table(lambda _: race_table(record, diagram))
    else:
        from experiments.show.tables import run_table

        emit_table(lambda _: run_table(record))
    expected = expect or subject.expected or "ok"
    if record.outcome != expected:
        logger = run_log(common).bind(**subject.told)
        logger.warning("outcome not as expected", outcome=record.outcome, expected=expected)
        return 1
    return 0
