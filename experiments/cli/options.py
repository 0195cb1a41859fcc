"""Options that several commands take."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

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
