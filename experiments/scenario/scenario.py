"""Scenario files: TOML text to frozen typed records, every mistake one line for the user."""

import hashlib
import re
import tomllib
from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from experiments.errors import InputError, offer
from experiments.record.outcome import Outcome
from experiments.scenario.guest import (
    AfterMapping,
    BrkTables,
    Guest,
    Kind,
    P2mExtent,
    Positive,
    check_guest,
)
from experiments.scenario.guest import geometry as guest_geometry
from experiments.scenario.quantities import (
    Bytes,
    Nanoseconds,
    PageCount,
    Share,
    as_written,
    parse_duration,
    parse_nanoseconds,
    parse_page_count,
    parse_share,
    parse_size,
)
from experiments.scenario.workload import (
    Aliases,
    AreaSpec,
    ExecSpec,
    Protected,
    TouchSpec,
    Workload,
    added_memory,
    check_workload,
)
from experiments.scenario.workload_keys import check_keys
from models.linux.start_state.geometry import Geometry
from models.linux.workload_kinds import Allocator, Others, SharedTables
from models.profiles.scheduler import Scheduler

XenBuild = Literal["debug", "release"]


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The host: its hypervisor, its CPUs and what work costs on it."""

    xen: str = "4.17"
    """Version of the hypervisor: 4.1, 4.2dev, 4.17 or master."""
    xen_build: XenBuild = "debug"
    """A release build of 4.17 or master prints none of the messages about types."""
    pcpus: Positive | None = None
    """Physical CPUs; with fewer than vCPUs the profile's scheduler shares them out. If absent: as
    many as the guest has vCPUs."""
    profile: str = "nehalem-2011"
    """The latencies: a name of ``pinlab list profiles``."""
    scheduler: Scheduler | None = None
    """How vCPUs that share pCPUs are scheduled. If absent: as the profile says."""
    latency: dict[str, float] = {}
    """Single costs in place of the profile's, as ``pin_l1_per_present_pte = "30ns"``, each inside
    the profile's range."""


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run is expected to come to."""

    outcome: Outcome
    """What ``run`` takes for success, if no ``--expect`` is given; without either, ok."""


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One scenario file, validated."""

    name: str
    """For people and records. If absent: the file's name."""
    summary: str = ""
    """One line for ``pinlab list scenarios``."""
    machine: Machine = Machine()
    guest: Guest
    strategy: dict[str, str | int] = {}
    """Parts in place of those of the strategy that is run, whichever it is."""
    workload: Workload = Workload()
    expect: Expect | None = None
    sweep: dict[str, Any] = {}
    """What varies (``experiments.cells.axes``); empty unless the file describes a sweep."""

    @property
    def pcpus(self) -> int:
        """The machine's physical CPUs."""
        return self.machine.pcpus or self.guest.vcpus


_SHIPPED = "experiments.scenarios"

# By the path of a section or key in the file.
_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": Scenario,
    "machine": Machine,
    "guest": Guest,
    "guest.brk_tables": BrkTables,
    "guest.p2m": P2mExtent,
    "guest.after_mapping": AfterMapping,
    "workload": Workload,
    "workload.areas": AreaSpec,
    "workload.parent": TouchSpec,
    "workload.child": TouchSpec,
    "workload.exec": ExecSpec,
    "workload.exec.areas": AreaSpec,
    "workload.exec.before": TouchSpec,
    "workload.exec.protects": Protected,
    "workload.exec.after": TouchSpec,
    "expect": Expect,
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "machine.xen_build": get_args(XenBuild),
    "machine.scheduler": get_args(Scheduler),
    "guest.kind": get_args(Kind),
    "expect.outcome": get_args(Outcome),
    "workload.allocator": get_args(Allocator),
    "workload.shared_tables": get_args(SharedTables),
    "workload.aliases": get_args(Aliases),
    "workload.others": get_args(Others),
}


class ShippedScenario(NamedTuple):
    """A scenario that comes with PinLab."""

    name: str
    summary: str


def load(source: str, overrides: Iterable[str] = ()) -> Scenario:
    """The scenario ``source``: a shipped name, or a path (it ends in .toml or has a slash).

    ``overrides`` are ``dotted.key=value`` strings applied before validation. Raises InputError.
    """
    document = written(source, overrides)
    try:
        return validated(document)
    except InputError as error:
        origin, _ = read_text(source, _SHIPPED, "scenario")
        raise InputError(f"{origin}: {error}") from error


def written(source: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What a scenario's text holds after the overrides, for :func:`validated`.

    Raises InputError.
    """
    origin, text = read_text(source, _SHIPPED, "scenario")
    document = parsed(text, origin)
    try:
        for override in overrides:
            apply_override(override, document)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error
    document.setdefault("name", Path(origin).stem)
    return document


def parsed(text: str, origin: str) -> dict[str, Any]:
    """What a TOML text holds. Raises InputError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin}: not TOML: {error}") from error


def validated(document: dict[str, Any]) -> Scenario:
    """The scenario that a document describes; its durations are replaced. Raises InputError."""
    check_keys(document.get("workload"))
    scenario = _record(document)
    _check_cpus(scenario)
    _check_machine(scenario.machine)
    check_workload(scenario.workload, scenario.guest)
    check_strategy(scenario.guest.strategy)
    check_guest(scenario.guest)
    return scenario


def shipped() -> list[ShippedScenario]:
    """The scenarios that come with PinLab, by name."""
    files = (_shipped_file(name) for name in _shipped_names())
    headers = (tomllib.loads(file.read_text(encoding="utf-8")) for file in files)
    return [ShippedScenario(h["name"], h["summary"]) for h in headers]


def scenario_hash(scenario: Scenario) -> str:
    """16 hex digits that tell scenarios apart by all that can influence a run.

    Name and summary do not count.
    """
    content = msgspec.structs.replace(scenario, name="", summary="")
    written = msgspec.to_builtins(content, enc_hook=_plain)
    if content.machine.scheduler is None:
        del written["machine"]["scheduler"]  # as before there was that key
    canonical = msgspec.json.encode(written, order="sorted")
    return hashlib.sha256(canonical).hexdigest()[:16]


def _plain(quantity: object) -> object:
    return float(quantity) if isinstance(quantity, float) else int(quantity)  # type: ignore[call-overload]


def geometry(scenario: Scenario) -> Geometry:
    """The memory map of the scenario's guest."""
    whole = guest_geometry(scenario.guest)
    if scenario.workload.kind != "hotplug":
        return whole
    return msgspec.structs.replace(whole, added=(added_memory(scenario.workload, scenario.guest),))


def check_strategy(name: str) -> None:
    """Raise InputError unless there is a strategy ``name``."""
    from experiments.scenario.strategies import resolve

    resolve(name)


def names_scenario(source: str) -> bool:
    """Is it the name of a shipped scenario, or a path, whether or not anything is there?"""
    return _is_path(source) or source in _shipped_names()


def _is_path(source: str) -> bool:
    return source.endswith(".toml") or "/" in source


def read_text(source: str, shipped_in: str, what: str) -> tuple[str, str]:
    """What to call a TOML file in messages, and its text; ``what`` it is, for these as well.

    ``source``: a path (it ends in .toml or has a slash), or the name of one that comes with
    PinLab in the package ``shipped_in``. Raises InputError.
    """
    if not _is_path(source):
        known = _shipped_names(shipped_in)
        if source not in known:
            raise InputError(
                f"no shipped {what} {source!r} (a path ends in .toml or has a slash); "
                f"{offer(source, known)}"
            )
        return source, _shipped_file(source, shipped_in).read_text(encoding="utf-8")
    try:
        return source, Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {what} {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 text, as TOML must be") from error


def _shipped_names(package: str = _SHIPPED) -> list[str]:
    files = resources.files(package).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def _shipped_file(name: str, package: str = _SHIPPED) -> Traversable:
    return resources.files(package).joinpath(f"{name}.toml")


def apply_override(override: str, document: dict[str, Any]) -> None:
    """Set one ``dotted.key=value`` in the document. Raises InputError."""
    dotted, equals, text = override.partition("=")
    if not equals or not all(dotted.strip().split(".")):
        raise InputError(f"--set {override}: not of the form dotted.key=value, as guest.ram=4GiB")
    try:
        put(document, dotted.strip(), _override_value(text.strip()))
    except InputError as error:
        raise InputError(f"--set {override}: {error}") from error


def put(document: dict[str, Any], dotted: str, value: object) -> None:
    """Give the key ``section.key`` a value. Raises InputError if a section is none."""
    *sections, key = dotted.split(".")
    table = document
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise InputError(f"{section} is a value and has no keys in it")
    table[key] = value


def _override_value(text: str) -> object:
    """``text`` as TOML reads it, or else the text itself."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    if isinstance(value, bool | str | list | dict):
        return value
    # What else TOML makes a number or a date of is a name or an address here: 4.17, 0x5000.
    is_count = isinstance(value, int) and text.lstrip("+-").isdecimal()
    return value if is_count else text


def _record(document: dict[str, Any]) -> Scenario:
    """The document as a record; InputError names the key that does not fit."""
    machine = document.get("machine")
    latency = machine.get("latency") if isinstance(machine, dict) else None
    if isinstance(latency, dict):
        # Here, because msgspec's path leaves out which key of a mapping was wrong.
        for key, value in latency.items():
            try:
                latency[key] = parse_duration(value)
            except ValueError as error:
                raise InputError(f"machine.latency.{key} = {as_written(value)} {error}") from error
    words = document.get("strategy")
    if isinstance(words, dict):
        from experiments.scenario.policies import check_words

        check_words(words)
    try:
        return msgspec.convert(document, Scenario, dec_hook=_quantity)
    except msgspec.ValidationError as error:
        raise InputError(_explained(error, document)) from error


def _quantity(kind: type, value: object) -> object:
    parsers = {
        Bytes: parse_size,
        Nanoseconds: parse_nanoseconds,
        PageCount: parse_page_count,
        Share: parse_share,
    }
    return parsers[kind](value)


def _explained(error: msgspec.ValidationError, document: dict[str, Any]) -> str:
    """The message of msgspec in the words of a scenario file: key, value, what is allowed."""
    message, _, path = str(error).partition(" - at `$")
    path = path.strip(".`")
    within = f"{path}." if path else ""
    section = _SECTIONS.get(re.sub(r"\[\d+\]", "", path))
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message)
    if unknown and section:
        known = [field.encode_name for field in msgspec.structs.fields(section)]
        return f"unknown key {within}{unknown[1]}; {offer(unknown[1], known)}"
    missing = re.fullmatch(r"Object missing required field `(.*)`", message)
    if missing:
        return f"{within}{missing[1]} is missing"
    written = f"{path} = {as_written(_value_at(path, document))}"
    if isinstance(error.__cause__, ValueError):
        return f"{written} {message}"
    choices = _CHOICES.get(path)
    if choices:
        return f"{written} is none of {', '.join(choices)}"
    expected = (
        message.replace(" | null", "")
        .replace("`object`", "a table")
        .replace("`array`", "a list")
        .replace("`", "")
    )
    return f"{written}: {expected[:1].lower()}{expected[1:]}"


def _value_at(path: str, document: Any) -> object:  # noqa: ANN401 - whatever TOML holds
    """The value under one of msgspec's paths, such as ``guest.e820[0][1]``."""
    for step in re.findall(r"[^.\[\]]+", path):
        document = document[int(step) if isinstance(document, list) else step]
    return document


def _check_cpus(scenario: Scenario) -> None:
    """One vCPU boots, on one pCPU; a scheduler has something to do where vCPUs share pCPUs."""
    machine, vcpus = scenario.machine, scenario.guest.vcpus
    if scenario.workload.kind == "boot":
        for key, count in (("guest.vcpus", vcpus), ("machine.pcpus", machine.pcpus or 1)):
            if count > 1:
                raise InputError(
                    f'{key} = {count}: a boot is on one vCPU; workload.kind = "parallel-boot" is '
                    "on several"
                )
    if machine.scheduler is not None and scenario.pcpus >= vcpus:
        raise InputError(
            f"machine.scheduler = {as_written(machine.scheduler)}: each vCPU has a pCPU of its "
            "own; set machine.pcpus to less than guest.vcpus"
        )


def _check_machine(machine: Machine) -> None:
    from models.profiles.catalogue import ProfileError, load_profile, with_overrides
    from models.xen.versions.abi import profile_names

    if machine.xen not in profile_names():
        raise InputError(
            f"machine.xen = {as_written(machine.xen)} is no ABI profile; there are "
            f"{', '.join(profile_names())}"
        )
    try:
        profile = with_overrides(load_profile(machine.profile), machine.latency)
    except ProfileError as error:
        raise InputError(f"machine: {error}") from error
    if profile.validation_only:
        raise InputError(
            f"machine.profile = {as_written(profile.name)} only replays one published measurement "
            "and lacks costs that a boot needs"
        )
