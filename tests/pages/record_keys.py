"""The keys of a run record, from its structs, and the JSON Schema of the same."""

from collections.abc import Iterator

import msgspec

from experiments.record.record import Record
from tests.pages.structs import keys
from tests.pages.text import head

_SAYS = """`pinlab run --json` prints a record, and `compare` and `sweep` have one for each run.
Sweeps have the same as columns with dotted names. Null stands where nobody measured. The JSON
Schema is [record.schema.json](record.schema.json)."""


def record_keys_page() -> str:
    """The page, as docs/reference/record-keys.md has it."""
    return "\n".join([head("Record keys", _SAYS, "the structs of a record"), *_body()])


def record_schema() -> str:
    """The schema of the document, as docs/reference/record.schema.json has it."""
    schema = msgspec.json.encode(msgspec.json.schema(Record))
    return msgspec.json.format(schema).decode() + "\n"


def _body() -> Iterator[str]:
    for key in keys(Record, written_by_users=False):
        yield from key.lines()
    yield ""
