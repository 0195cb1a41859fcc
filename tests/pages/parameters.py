"""The latency parameters: what one unit of each is, and what the profiles say of it."""

import ast
from collections.abc import Iterator

from models.profiles.catalogue import Cost, Profile, load_profile, profile_names
from models.profiles.meanings import MEANINGS
from tests.pages.rooms import ROOT
from tests.pages.text import head, item, paragraph, plain

_SAYS = """A latency profile gives each kind of work a cost. Every cost is the mean time of one
unit in nanoseconds, with the range that sweeps may try; `--set machine.latency.NAME=30ns` replaces
one. A lognormal cost has a spread, the deviation of its logarithm.

A status says how the figure was come by: `read` in the source, `read-scaled` to this machine,
`read-upper` as a bound, `derived` from such figures, `measured-proxy` on another kind of guest,
`remembered`, `estimated` by the authors, or `not-applicable` on this machine. Behind it stand the
confidence (0 to 1) and the sources, which the end of this page lists."""


def parameters_page() -> str:
    """The page, as docs/reference/latency-parameters.md has it."""
    made_from = "the profiles and `models/profiles/meanings.py`"
    return "\n".join([head("Latency parameters", _SAYS, made_from), *_body()])


def _body() -> Iterator[str]:
    profiles = [load_profile(name) for name in profile_names()]
    yield "## Profiles\n"
    for profile in profiles:
        yield item(f"`{profile.name}`: {plain(profile.summary)}.")
    yield "\n## Costs\n"
    spent = _spent()
    for name, meaning in MEANINGS.items():
        yield f"### `{name}`\n"
        unused = "" if name in spent else " No model spends it."
        yield paragraph(f"{meaning[0].upper()}{meaning[1:]}.{unused}") + "\n"
        for profile in profiles:
            if name in profile.costs:
                yield item(_told(profile, profile.costs[name]))
        yield ""
    yield "## Sources\n"
    sources = {key: source for profile in profiles for key, source in profile.sources.items()}
    for key, source in sorted(sources.items()):
        link = f" ([link]({source.url}))" if source.url else ""
        yield item(f"`{key}`: {plain(source.title)}{link}")
    yield ""


def _told(profile: Profile, cost: Cost) -> str:
    spread = "constant" if cost.sigma is None else f"spread {cost.sigma:g}"
    booked = f", booked as {cost.account}" if cost.account else ""
    sources = ", ".join(f"`{source}`" for source in cost.sources)
    note = f": {plain(cost.note)}" if cost.note else ""
    return (
        f"`{profile.name}`: **{cost.value_ns:g} ns** ({cost.low_ns:g} to {cost.high_ns:g}), "
        f"{spread}{booked}; {cost.status}, {cost.confidence:g}, {sources}{note}"
    )


def _spent() -> set[str]:
    """The names of costs that stand in the code of the engine or the models."""
    names: set[str] = set()
    for package in ("sim", "models"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "meanings.py":
                tree = ast.parse(path.read_text(encoding="utf-8"))
                names |= {
                    node.value
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Constant) and isinstance(node.value, str)
                }
    return names
