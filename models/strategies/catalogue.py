"""The strategies that can be named, in the order of their history."""

from models.linux.strategy import Strategy
from models.strategies.alloc_only import alloc_only
from models.strategies.auto_translated import auto_translated
from models.strategies.deferred_ro import deferred_ro
from models.strategies.deferred_ro_early import deferred_ro_early
from models.strategies.hook_walk import hook_walk
from models.strategies.hook_walk_literal import hook_walk_literal
from models.strategies.mapped_only_3_10 import mapped_only_3_10
from models.strategies.mapped_only_5_10 import mapped_only_5_10
from models.strategies.mapped_only_6_1 import mapped_only_6_1
from models.strategies.offline_pin import offline_pin
from models.strategies.patch_alias import patch_alias
from models.strategies.ptwr_fill import ptwr_fill
from models.strategies.publish_free import publish_free
from models.strategies.reserve_hook import reserve_hook
from models.strategies.ro_window import ro_window
from models.strategies.shadow import shadow
from models.strategies.tables_first import tables_first
from models.strategies.tables_high import tables_high
from models.strategies.tables_low import tables_low

_STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        tables_low,
        tables_high,
        ro_window,
        reserve_hook,
        hook_walk_literal,
        hook_walk,
        deferred_ro,
        deferred_ro_early,
        alloc_only,
        publish_free,
        tables_first,
        ptwr_fill,
        shadow,
        auto_translated,
        offline_pin,
        patch_alias,
        mapped_only_3_10,
        mapped_only_5_10,
        mapped_only_6_1,
    )
}


def strategy_names() -> list[str]:
    """The names of all strategies."""
    return list(_STRATEGIES)


def find_strategy(name: str) -> Strategy:
    """The strategy with this name.

    Raises:
        KeyError: there is none.
    """
    return _STRATEGIES[name]
