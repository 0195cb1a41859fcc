"""The strategies that can be named, in the order of their history."""

from models.linux.strategy import Strategy
from models.strategies.mapped_only_3_10 import mapped_only_3_10
from models.strategies.mapped_only_6_1 import mapped_only_6_1
from models.strategies.reserve_hook import reserve_hook
from models.strategies.ro_window import ro_window
from models.strategies.tables_high import tables_high
from models.strategies.tables_low import tables_low

_STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        tables_low,
        tables_high,
        ro_window,
        reserve_hook,
        mapped_only_3_10,
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
