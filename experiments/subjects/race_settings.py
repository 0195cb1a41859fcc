"""The settings of a race: what ``--set`` and ``--vary`` can change, and whether it makes sense."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from experiments.errors import InputError, offer
from experiments.scenario.quantities import parse_duration
from experiments.subjects.names import PREFIX
from models.linux.multicall_buffer import MC_BATCH
from models.profiles.catalogue import Profile, ProfileError, load_profile, with_overrides
from models.profiles.prices import prices
from models.profiles.scheduler import Scheduler, scheduling_policy
from models.races.catalogue.index import RACES, find_race
from models.races.race import Race
from models.xen.versions.abi import profile_names as xen_names

MOST_VCPUS = 64
ROUNDS = 10
"""How often the actors go round in one run, unless somebody asks for another number."""
LATENCY = "latency."
"""Before the name of a cost of the profile that is to be another."""

_WHOLE_NUMBERS = ("vcpus", "pcpus", "load", "batch", "rounds", "tries")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``--set`` can change of a race."""

    fix: Literal["on", "off"] = "on"
    """Whether the race's historical fix is there; off for ``odds``, unless it is set."""
    vcpus: Annotated[int, msgspec.Meta(ge=1, le=MOST_VCPUS)] | None = None
    """The guest's vCPUs. If absent: as many as the race takes."""
    pcpus: Annotated[int, msgspec.Meta(ge=1, le=MOST_VCPUS)] | None = None
    """What the vCPUs run on. If absent: one for each of the guest's."""
    load: Annotated[int, msgspec.Meta(ge=0, le=MOST_VCPUS)] = 0
    """vCPUs of other domains on the same pCPUs, which compute all the time."""
    scheduler: Scheduler | None = None
    """Decides who runs where vCPUs share pCPUs. If absent: the profile's own."""
    batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = MC_BATCH
    """Entries of the kernel's multicall buffer, with 16 bytes for arguments each. Linux has 32,
    which 31 updates fill. R1's window is 0.12 us longer with 1 than with 2 or more: a round trip
    between read-only and pin."""
    xen: str = "4.17"
    """Version of the hypervisor."""
    profile: str = "modern-2023"
    """The latencies on the clock."""
    latency: dict[str, float] = {}
    """Costs in ns that are other than the profile's."""
    gap: str | None = None
    """The mean pause of the other actors between two attempts, which are exponential. If absent:
    the race's own."""
    rounds: Annotated[int, msgspec.Meta(ge=2, le=10_000)] | None = None
    """How often the actor that sets the pace goes round in one run on the clock. If absent: the
    race's own number, or 10."""
    tries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 600
    """Executions at most, until a failure is found."""

    @property
    def gap_ns(self) -> float:
        """The mean pause in ns."""
        assert self.gap is not None
        return parse_duration(self.gap)

    @property
    def shares_pcpus(self) -> bool:
        """Are there fewer pCPUs than vCPUs that want one?"""
        assert self.vcpus is not None
        assert self.pcpus is not None
        return self.vcpus + self.load > self.pcpus

    @property
    def priced(self) -> Profile:
        """The latency profile with what is set."""
        return with_overrides(load_profile(self.profile), self.latency)

    def filled_in(self, race: Race) -> "Settings":
        """With the race's own values for what nobody has set."""
        vcpus = race.vcpus if self.vcpus is None else self.vcpus
        return msgspec.structs.replace(
            self,
            vcpus=vcpus,
            pcpus=vcpus if self.pcpus is None else self.pcpus,
            gap=race.gap if self.gap is None else self.gap,
            rounds=(race.rounds or ROUNDS) if self.rounds is None else self.rounds,
        )


def race_named(name: str) -> Race:
    """The race with this id, which may have the prefix ``races/``.

    Raises:
        InputError: there is none.
    """
    bare = name.removeprefix(PREFIX)
    race = find_race(bare)
    if race is None:
        raise InputError(f"{name}: no such race; {offer(bare.upper(), list(RACES))}")
    return race


def settings_of(race: Race, written: Iterable[str]) -> Settings:
    """The settings that ``--set key=value`` has made.

    Raises:
        InputError: a key or a value that a race does not have.
    """
    values: dict[str, Any] = {}
    for setting in written:
        key, value = _read(setting)
        if key.startswith(LATENCY):
            values.setdefault("latency", {})[key.removeprefix(LATENCY)] = value
        else:
            values[key] = value
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise InputError(f"{race.id}: {error}") from error
    return checked(race, settings)


def checked(race: Race, settings: Settings) -> Settings:
    """The settings with the race's own values for what nobody has set.

    Raises:
        InputError: a value that this race cannot have.
    """
    settings = settings.filled_in(race)
    _check(race, settings)
    return settings


def varied(race: Race, written: Iterable[str], vary: str) -> dict[str, Settings]:
    """The settings for each value of ``--vary key=value,value``, by value.

    Raises:
        InputError: it is no such list, or a key or a value that a race does not have.
    """
    key, equals, texts = vary.partition("=")
    values = [text.strip() for text in texts.split(",")]
    if not equals or len(values) < 2 or "" in values:
        raise InputError(f"--vary {vary}: write it as key=value,value, for instance vcpus=2,4,8")
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise InputError(f"--vary {vary}: {twice[0]} is there twice")
    try:
        return {value: settings_of(race, (*written, f"{key}={value}")) for value in values}
    except InputError as error:
        raise InputError(f"--vary {vary}: {error}") from error


def _read(setting: str) -> tuple[str, Any]:
    """One key and its value."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"--set {setting}: write it as key=value, for instance fix=off")
    if key.startswith(LATENCY):
        try:
            return key, parse_duration(text)
        except ValueError as error:
            raise InputError(f"--set {setting}: {text!r} {error}") from error
    known = Settings.__struct_fields__
    if key == "latency":
        raise InputError(f"--set {setting}: name a cost, for instance latency.guest_ipi=2us")
    if key not in known:
        raise InputError(f"--set {setting}: a race has no such key; {offer(key, known)}")
    if key not in _WHOLE_NUMBERS:
        return key, text
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"--set {setting}: {key} is a whole number")
    return key, int(text)


def _check(race: Race, settings: Settings) -> None:
    if settings.vcpus is not None and settings.vcpus < race.vcpus:
        raise InputError(f"vcpus = {settings.vcpus}: {race.id} takes {race.vcpus} at least")
    if settings.xen not in xen_names():
        raise InputError(f"xen = {settings.xen!r} is unknown; {offer(settings.xen, xen_names())}")
    try:
        profile = settings.priced
        prices(profile)
    except ProfileError as error:
        raise InputError(f"{'latency' if settings.latency else 'profile'}: {error}") from error
    except KeyError as error:
        raise InputError(
            f"profile = {settings.profile!r} lacks {error.args[0]}, which a race takes; it is for "
            "validation"
        ) from error
    try:
        gap_ns = settings.gap_ns
    except ValueError as error:
        raise InputError(f"gap = {settings.gap!r} {error}") from error
    if gap_ns < 1:
        raise InputError(f"gap = {settings.gap!r} is too short; 1ns at least")
    if not settings.shares_pcpus:
        if settings.scheduler is not None:
            raise InputError(
                f"scheduler = {settings.scheduler}: each vCPU has a pCPU of its own; set pcpus to "
                "less than vcpus, or a load"
            )
    elif settings.scheduler is None:
        try:
            scheduling_policy(profile)
        except ProfileError as error:
            raise InputError(f"pcpus = {settings.pcpus}: {error}; or set scheduler") from error
