"""The kinds of subjects, and the one that a user or a scenario means.

A kind's module is imported when the first of that kind is made: a plain boot does not wait for the
others.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from typing import TYPE_CHECKING, Any

from experiments.errors import InputError
from experiments.record.record import Record
from experiments.scenario.scenario import Scenario, validated, written
from experiments.subjects.names import names_race
from experiments.subjects.on_clock import Asked
from experiments.subjects.subject import Subject

if TYPE_CHECKING:
    from experiments.subjects.of_scenario import OfScenario
    from models.linux.boot.guest import Guest
    from models.linux.boot.strategy import Strategy

_BY_WORKLOAD = {
    "boot": "experiments.subjects.boot:Boot",
    "parallel-boot": "experiments.subjects.parallel_boot:ParallelBoot",
}
"""``workload.kind`` -> module:class."""
_ELSE = "experiments.subjects.processes:Processes"


def named(source: str, settings: Sequence[str] = (), strategy: str | None = None) -> Subject:
    """What a command is to run: a race (``R1``, ``races/R1``), a shipped scenario, or a file.

    ``settings``: what ``--set`` changes of it; ``strategy``: in place of the scenario's own.

    Raises:
        InputError: there is none of this name, or it cannot be with these settings.
    """
    if names_race(source):
        if strategy is not None:
            raise InputError(f"{source}: --strategy is for boots; a race has --set")
        from experiments.subjects.race import RaceSubject
        from experiments.subjects.race_settings import race_named, settings_of

        race = race_named(source)
        return RaceSubject(race, settings_of(race, settings))
    document = written(source, settings)
    return subject_of(scenario_of(document, source), strategy, written=document)


def described(document: Mapping[str, Any], strategy: str | None = None) -> Subject:
    """What a scenario's text describes; the document stays as it is.

    Raises:
        InputError: the scenario is none, describes a sweep, or the strategy is not known.
    """
    return subject_of(scenario_of(document), strategy, written=document)


def scenario_of(document: Mapping[str, Any], origin: str | None = None) -> Scenario:
    """The scenario of a single machine that a text describes; the document stays as it is.

    ``origin``: what to call it in messages.

    Raises:
        InputError: it is none, or describes a sweep.
    """
    where = "" if origin is None else f"{origin}: "
    try:
        scenario = validated(deepcopy(dict(document)))  # its durations are replaced
    except InputError as error:
        raise InputError(f"{where}{error}") from error
    if scenario.sweep:
        raise InputError(
            f"{where}describes a sweep, and this command runs one machine; leave out [sweep] and "
            "give its keys with --set"
        )
    return scenario


def subject_of(
    scenario: Scenario,
    strategy: "str | Strategy | None" = None,
    *,
    written: Mapping[str, Any] | None = None,
    at_end: "Callable[[Guest], None] | None" = None,
) -> "OfScenario":
    """A scenario as a subject. ``at_end`` is given the guest of each boot when that is over.

    Raises:
        InputError: there is no such strategy, or its parts make no sense; or ``at_end`` is asked of
            what has no end that anybody could look at.
    """
    module, _, name = _BY_WORKLOAD.get(scenario.workload.kind, _ELSE).partition(":")
    kind: type[OfScenario] = getattr(import_module(module), name)
    subject = kind(scenario, strategy, written=written)
    if at_end is not None:
        from experiments.subjects.boot import Boot

        if not isinstance(subject, Boot):
            raise InputError(f"{scenario.name}: at_end is for boots, and this is {subject.kind}")
        subject.at_end = at_end
    return subject


def run(
    scenario: Scenario,
    strategy: "str | Strategy | None" = None,
    *,
    at_end: "Callable[[Guest], None] | None" = None,
    **asked: Any,  # noqa: ANN401 - the fields of Asked
) -> Record:
    """Run a scenario on the clock: the record. ``asked``: the fields of :class:`Asked`.

    Raises:
        InputError: the scenario cannot be run.
        InvariantViolation: the machine is inconsistent, and that was to be checked.
    """
    return subject_of(scenario, strategy, at_end=at_end).on_clock(Asked(**asked))
