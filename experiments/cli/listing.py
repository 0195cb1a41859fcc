"""Show what there is to choose from."""

from typing import Literal

from experiments.cli.app import app
from experiments.cli.options import DEFAULTS, Common
from experiments.cli.telling import emit_json, emit_table


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
        emit_json({"schema": "pinlab.list/1", kind: items})
    else:
        emit_table(lambda _: listing(items))
    return 0
