"""The columns of the log of hypercalls, from the record of a row."""

from collections.abc import Iterator

from experiments.record.events import Row
from tests.pages.structs import keys
from tests.pages.text import head

_SAYS = """`pinlab run --log FILE` writes a row for each hypercall, and for each store to a page
table that Xen emulated. Parquet has the same columns as JSON lines, with `target` and `value` as
integers. What made the log is told as in other documents: in a Parquet file under the key `pinlab`
of its metadata, and beside `calls.jsonl` in `calls.provenance.json`."""


def log_columns_page() -> str:
    """The page, as docs/reference/log-columns.md has it."""
    return "\n".join([head("Log columns", _SAYS, "the record of a row"), *_body()])


def _body() -> Iterator[str]:
    for key in keys(Row, written_by_users=False):
        yield from key.lines()
    yield ""
