"""The shipped latency profiles and how one is read, checked and varied.

A profile says what one unit of each named kind of work costs on one kind of machine. Profiles are
TOML files beside this module. `value_ns` is the *mean* of a cost's distribution, not its median,
so that costs made of parts add up: pinning a full L1 table on `nehalem-2011` takes
500 ns + 512 x 40 ns = 21 us on average. `low_ns` and `high_ns` bound what a sweep may try; they
are no confidence interval and the distribution may well draw beyond them.
"""

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Literal, TypeVar

import msgspec

Distribution = Literal["lognormal", "constant"]

Status = Literal[
    "read",  # the number stands in the source
    "read-scaled",  # read, then scaled to this machine
    "read-upper",  # read as an upper bound
    "derived",  # computed from numbers read or measured, see the note
    "measured-proxy",  # measured on a KVM guest, not on Xen
    "remembered",  # from memory, the source was not at hand
    "estimated",  # the authors' estimate, with a wide range
    "not-applicable",  # does not exist on this machine
]


class ProfileError(ValueError):
    """A profile, or a change to one, that cannot be used; the message is one line for people."""


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cost of one unit of one kind of work, in ns, and where the number comes from.

    Raises ValueError unless 0 <= low_ns <= value_ns <= high_ns and sigma is given exactly if the
    distribution is lognormal, where it and low_ns are above 0.
    """

    value_ns: float
    """The mean of the distribution."""
    low_ns: float
    high_ns: float
    distribution: Distribution
    sigma: float | None = None
    """Standard deviation of the logarithm; of a lognormal cost only."""
    account: Literal["tlb"] | None = None
    """The heading under which the time is booked; None books it under the CPU's mode."""
    status: Status
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)]
    sources: tuple[str, ...]
    """Keys of the profile's sources."""
    note: str = ""

    def __post_init__(self) -> None:
        # Written so that a NaN fails too.
        if not (0 <= self.low_ns <= self.value_ns <= self.high_ns < math.inf):
            raise ValueError(
                f"value_ns {_number(self.value_ns)} is not within low_ns {_number(self.low_ns)} "
                f"and high_ns {_number(self.high_ns)}"
            )
        if self.distribution == "lognormal":
            if self.sigma is None or not (0 < self.sigma < math.inf):
                raise ValueError("a lognormal cost needs a sigma above 0")
            if self.low_ns == 0:
                raise ValueError("a lognormal cost needs a low_ns above 0")
        elif self.sigma is not None:
            raise ValueError(f"a {self.distribution} cost has no sigma")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where numbers of a profile come from; url is empty where there is nothing to open."""

    title: str
    url: str


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the work of a guest and its hypervisor costs on one kind of machine.

    Raises ValueError if a cost cites a source that the profile does not list.
    """

    name: str
    summary: str
    ghz: float
    validation_only: bool = False
    """Made to replay one published measurement; it lacks costs that other runs need."""
    costs: Mapping[str, Cost]
    sources: Mapping[str, Source]

    def __post_init__(self) -> None:
        for key, cost in self.costs.items():
            for source in cost.sources:
                if source not in self.sources:
                    raise ValueError(
                        f"costs.{key} cites the source {source!r}, which is not listed"
                    )


def profile_names() -> list[str]:
    """Names of the shipped profiles in alphabetical order, those for validation only last."""
    profiles = [load_profile(name) for name in _shipped_names()]
    return [p.name for p in sorted(profiles, key=lambda p: (p.validation_only, p.name))]


@cache
def load_profile(name: str) -> Profile:
    """The shipped profile of this name; ProfileError names what exists if there is none."""
    shipped = _shipped_names()
    if name not in shipped:
        raise ProfileError(
            f"no latency profile {name!r}{_nearest(name, shipped)}; there are {', '.join(shipped)}"
        )
    file = resources.files("models.profiles").joinpath(f"{name}.toml")
    return parse_profile(file.read_text(encoding="utf-8"), origin=file.name)


def parse_profile(text: str, origin: str) -> Profile:
    """The profile that a TOML text describes.

    Raises ProfileError, which names `origin` and the key, if the text is no valid profile.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{origin}: not TOML: {error}") from error
    costs = document.get("costs")
    if isinstance(costs, dict):
        # One by one: msgspec's path leaves out which key of a mapping was wrong.
        document["costs"] = {
            key: _converted(table, Cost, f"{origin}: costs.{key}") for key, table in costs.items()
        }
    return _converted(document, Profile, origin)


def with_overrides(profile: Profile, values_ns: Mapping[str, float]) -> Profile:
    """The profile with other mean costs, in ns, for some keys.

    Status, confidence, sources and note go on describing the value that was replaced. Raises
    ProfileError for a key that the profile lacks or a value outside low_ns..high_ns.
    """
    costs = dict(profile.costs)
    for key, value_ns in values_ns.items():
        cost = costs.get(key)
        if cost is None:
            raise ProfileError(
                f"latency profile {profile.name} has no cost {key!r}{_nearest(key, costs)}"
            )
        if not (cost.low_ns <= value_ns <= cost.high_ns):
            raise ProfileError(
                f"{key} = {_number(value_ns)} ns is outside what profile {profile.name} allows, "
                f"{_number(cost.low_ns)} to {_number(cost.high_ns)} ns"
            )
        costs[key] = msgspec.structs.replace(cost, value_ns=float(value_ns))
    return msgspec.structs.replace(profile, costs=costs)


def _shipped_names() -> list[str]:
    files = resources.files("models.profiles").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


_T = TypeVar("_T", Cost, Profile)


def _converted(document: object, to: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(document, to)
    except msgspec.ValidationError as error:
        raise ProfileError(f"{where}: {error}") from error


def _nearest(word: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _number(value: float) -> str:
    return f"{value:.12g}"
