"""All pages that are made from the code, by their places in docs/reference."""

from collections.abc import Callable, Mapping

from tests.pages.catalogues import races_page, strategies_page
from tests.pages.commands import commands_page, exit_status_page
from tests.pages.log_columns import log_columns_page
from tests.pages.parameters import parameters_page
from tests.pages.record_keys import record_keys_page, record_schema
from tests.pages.rooms import ROOT, rooms_page
from tests.pages.scenario_keys import scenario_keys_page

REFERENCE = ROOT / "docs" / "reference"

PAGES: Mapping[str, Callable[[], str]] = {
    "commands": commands_page,
    "exit-status": exit_status_page,
    "latency-parameters": parameters_page,
    "log-columns": log_columns_page,
    "races": races_page,
    "record-keys": record_keys_page,
    "rooms": rooms_page,
    "scenario-keys": scenario_keys_page,
    "strategies": strategies_page,
}
"""Name of a page -> what makes it."""

SCHEMAS: Mapping[str, Callable[[], str]] = {"record": record_schema}
"""Name of a JSON Schema -> what makes it."""
