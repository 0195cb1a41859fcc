"""Latency profiles: what ships, what a file must hold, and how single costs are varied."""

import subprocess
import sys
from importlib import resources

import pytest

from models.profiles.catalogue import (
    Profile,
    ProfileError,
    load_profile,
    parse_profile,
    profile_names,
    with_overrides,
)

DEFAULT_PROFILES = ["modern-2023", "nehalem-2011", "skylake-2018-xpti"]

ONE_COST = """
name = "bench-2030"
summary = "one cost"
ghz = 5.0

[costs.invlpg]
value_ns = 100
low_ns = 40
high_ns = 200
distribution = "constant"
status = "estimated"
confidence = 0.5
sources = ["EST"]

[sources.EST]
title = "a guess"
url = ""
"""


@pytest.fixture
def nehalem() -> Profile:
    """The profile most tests vary."""
    return load_profile("nehalem-2011")


def test_profiles_for_validation_only_are_listed_last() -> None:
    """A list shows the profiles for everyday use first."""
    assert [*DEFAULT_PROFILES, "p4-2003-2005"] == profile_names()


@pytest.mark.parametrize("name", [*DEFAULT_PROFILES, "p4-2003-2005"])
def test_every_shipped_profile_loads_under_its_own_name(name: str) -> None:
    """A profile's name is its file's name."""
    assert name == load_profile(name).name


def test_only_the_pentium_4_is_for_validation_only() -> None:
    """It lacks costs that a boot needs, and says so."""
    marked = [name for name in profile_names() if load_profile(name).validation_only]

    assert ["p4-2003-2005"] == marked


def test_default_profiles_price_the_same_work() -> None:
    """A run never finds a cost missing because another profile was chosen."""
    keys = [set(load_profile(name).costs) for name in DEFAULT_PROFILES]

    assert 48 == len(keys[0])
    assert keys[0] == keys[1] == keys[2]


def test_mean_costs_of_a_full_pin_add_up(nehalem: Profile) -> None:
    """Pinning a full L1 on Nehalem takes 21 us on average: values are means, so parts add up."""
    costs = nehalem.costs

    pin_ns = costs["pin_l1_fixed"].value_ns + 512 * costs["pin_l1_per_present_pte"].value_ns

    assert pytest.approx(21_000, rel=0.01) == pin_ns


def test_translation_buffer_work_is_booked_under_its_own_heading(nehalem: Profile) -> None:
    """Flushes, invalidations, refills and shootdowns are told apart from other work."""
    booked = {key for key, cost in nehalem.costs.items() if cost.account == "tlb"}

    assert {
        "cr3_write",
        "flush_ipi_target",
        "invlpg",
        "shootdown_base",
        "shootdown_per_extra_cpu",
        "tlb_flush_local",
        "tlb_refill_per_entry",
        "type_change_flush",
    } == booked


@pytest.mark.parametrize("name", [*DEFAULT_PROFILES, "p4-2003-2005"])
def test_shipped_profiles_list_exactly_the_sources_they_cite(name: str) -> None:
    """Every number leads to its source, and no source stands there unused."""
    profile = load_profile(name)

    assert {source for cost in profile.costs.values() for source in cost.sources} == set(
        profile.sources
    )


@pytest.mark.parametrize("name", [*DEFAULT_PROFILES, "p4-2003-2005"])
def test_every_shipped_cost_has_a_source(name: str) -> None:
    """A number without a source, be it an estimate, does not ship."""
    assert all(cost.sources for cost in load_profile(name).costs.values())


def test_unknown_profile_is_answered_with_what_exists() -> None:
    """The error names every shipped profile on one line."""
    with pytest.raises(ProfileError) as caught:
        load_profile("zen5")

    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in profile_names())


def test_mistyped_profile_is_answered_with_the_nearest_name() -> None:
    """A near miss is recognised."""
    with pytest.raises(ProfileError, match="did you mean 'nehalem-2011'"):
        load_profile("nehalem-2012")


def test_profile_names_are_not_paths() -> None:
    """A name cannot reach a file outside the shipped profiles."""
    with pytest.raises(ProfileError, match="no latency profile"):
        load_profile("../profiles/nehalem-2011")


def test_override_replaces_one_mean(nehalem: Profile) -> None:
    """The named cost changes and nothing else does."""
    varied = with_overrides(nehalem, {"pin_l1_per_present_pte": 30})

    changed = {key for key in nehalem.costs if nehalem.costs[key] != varied.costs[key]}
    assert {"pin_l1_per_present_pte"} == changed
    assert 30 == varied.costs["pin_l1_per_present_pte"].value_ns


def test_override_leaves_the_original_alone(nehalem: Profile) -> None:
    """Sweeps vary one profile many times."""
    with_overrides(nehalem, {"invlpg": 60})

    assert load_profile("nehalem-2011") == nehalem


@pytest.mark.parametrize("value_ns", [20, 150])
def test_override_may_take_the_bounds_themselves(nehalem: Profile, value_ns: float) -> None:
    """low_ns and high_ns belong to the allowed range."""
    varied = with_overrides(nehalem, {"pin_l1_per_present_pte": value_ns})

    assert value_ns == varied.costs["pin_l1_per_present_pte"].value_ns


@pytest.mark.parametrize("value_ns", [19.9, 150.5, -1, float("nan"), float("inf")])
def test_override_outside_the_range_names_key_value_and_range(
    nehalem: Profile, value_ns: float
) -> None:
    """The error says what was asked for and what would be right."""
    with pytest.raises(ProfileError) as caught:
        with_overrides(nehalem, {"pin_l1_per_present_pte": value_ns})

    assert (
        f"pin_l1_per_present_pte = {value_ns:g} ns is outside what profile nehalem-2011 allows, "
        "20 to 150 ns"
    ) == str(caught.value)


def test_override_of_an_unknown_cost_suggests_the_nearest(nehalem: Profile) -> None:
    """A mistyped key is recognised."""
    with pytest.raises(ProfileError, match=r"no cost 'invlgp'; did you mean 'invlpg'\?"):
        with_overrides(nehalem, {"invlgp": 100})


def test_profile_file_of_the_users_own_is_read() -> None:
    """Any text in the format is a profile, shipped or not."""
    profile = parse_profile(ONE_COST, origin="mine.toml")

    assert 100 == profile.costs["invlpg"].value_ns


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("ghz = 5.0", "ghz = ", "not TOML"),
        ("ghz = 5.0", 'ghz = "5"', "Expected `float`, got `str`"),
        ("ghz = 5.0", "ghz = 5.0\nmhz = 5000", "unknown field `mhz`"),
        ("value_ns = 100", "value_ns = 30", "costs.invlpg: value_ns 30 is not within low_ns 40"),
        ("value_ns = 100", "value_ns = nan", "costs.invlpg: value_ns nan is not within"),
        ("high_ns = 200", "high_ns = inf", "costs.invlpg: value_ns 100 is not within"),
        ("low_ns = 40", "low_ns = -1", "costs.invlpg: value_ns 100 is not within low_ns -1"),
        ("high_ns = 200", "", "costs.invlpg: Object missing required field `high_ns`"),
        ('"constant"', '"lognormal"', "costs.invlpg: a lognormal cost needs a sigma"),
        ('"constant"', '"constant"\nsigma = 0.3', "costs.invlpg: a constant cost has no sigma"),
        ('"constant"', '"normal"', "costs.invlpg: Invalid enum value 'normal'"),
        ("low_ns = 40", "low_ns = 0\nsigma = 0.3", "costs.invlpg: a constant cost has no sigma"),
        ("confidence = 0.5", "confidence = 1.5", "costs.invlpg: Expected `float` <= 1.0"),
        ('["EST"]', '["EST", "B03"]', "costs.invlpg cites the source 'B03', which is not listed"),
    ],
)
def test_faulty_profile_is_refused_with_file_and_key(old: str, new: str, complaint: str) -> None:
    """One line says in which file and at which cost something is wrong, and what."""
    with pytest.raises(ProfileError) as caught:
        parse_profile(ONE_COST.replace(old, new), origin="mine.toml")

    message = str(caught.value)
    assert message.startswith("mine.toml: ")
    assert "\n" not in message
    assert complaint in message


def test_lognormal_cost_of_nothing_is_refused() -> None:
    """A lognormal distribution has no mean of 0, so no sweep may ask for it."""
    text = ONE_COST.replace('"constant"', '"lognormal"\nsigma = 0.3').replace("= 40", "= 0")

    with pytest.raises(ProfileError, match="a lognormal cost needs a low_ns above 0"):
        parse_profile(text, origin="mine.toml")


def test_profiles_are_data_of_the_package() -> None:
    """Profiles are found through the package, wherever it is installed."""
    shipped = {file.name for file in resources.files("models.profiles").iterdir()}

    assert {f"{name}.toml" for name in profile_names()} <= shipped


def test_reading_profiles_imports_no_heavy_package() -> None:
    """`pinlab list profiles` stays quick."""
    heavy = {"numpy", "polars", "simpy", "cyclopts", "rich"}
    program = (
        "import sys, models.profiles.catalogue as c; c.profile_names(); "
        f"sys.exit(' '.join({heavy!r} & set(sys.modules)))"
    )

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert result.stderr.strip() == ""
