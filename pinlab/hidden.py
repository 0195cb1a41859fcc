"""PinLab's packages have plain names, which a folder of the user's may have as well."""

from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("sim", "models", "experiments")


def refuse_hidden_packages() -> None:
    """Say so where Python would take another folder for one of PinLab's packages.

    Raises:
        ImportError: which folder hides which package, and what to do.
    """
    home = Path(__file__).resolve().parents[1]
    for package in PACKAGES:
        found = _place(package)
        if found is not None and found.parent != home:
            raise ImportError(
                f"the folder {found} hides PinLab's package {package!r}, since Python looks there "
                "first; rename it, or start Python in another folder or as python -P"
            )


def _place(package: str) -> Path | None:
    """The folder that Python takes for a package; None: there is none."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None if spec is None or spec.origin is None else Path(spec.origin).resolve()
    return Path(next(iter(spec.submodule_search_locations))).resolve()
