"""What a script gets: documents of PinLab's that show themselves and go into data frames."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.record.presenting import as_pandas, as_polars, html_table, scalars
from experiments.record.record import Record

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class Document(Mapping[str, Any]):
    """A document as the command prints it with ``--json``; ``document["schema"]`` is its form."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - what a key holds depends on it
        return self.document[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.document)

    def __len__(self) -> int:
        return len(self.document)

    def row(self) -> dict[str, Any]:
        """Its single values, with dotted names."""
        return scalars(self.document)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of a table of it: by default one."""
        return [self.row()]

    def to_polars(self) -> "pl.DataFrame":
        """The rows as a data frame."""
        return as_polars(self.rows())

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a data frame.

        Raises:
            ImportError: pandas is not installed; PinLab does without it.
        """
        return as_pandas(self.rows())

    def told(self) -> str:
        """What it comes to, on a line."""
        return str(self.document.get("schema", ""))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.told()}>"

    def _repr_html_(self) -> str:
        return html_table(self.told(), self.rows())


class Comparison(Document):
    """Strategies side by side: a record each."""

    @property
    def records(self) -> Sequence[Record]:
        """In the order of the strategies."""
        records: Sequence[Record] = self.document["rows"]
        return records

    def record(self, strategy: str) -> Record:
        """The record of this strategy.

        Raises:
            KeyError: it was not compared.
        """
        return {record.strategy: record for record in self.records}[strategy]

    def rows(self) -> list[dict[str, Any]]:
        """A row a strategy."""
        return [record.row() for record in self.records]

    def told(self) -> str:
        """Each strategy with its outcome."""
        return ", ".join(f"{record.strategy} {record.outcome}" for record in self.records)


class Odds(Document):
    """How probable a race is; with a setting that varies, for each value of it."""

    def rows(self) -> list[dict[str, Any]]:
        """A row for each value of the setting that varies, or one."""
        rows = self.document.get("rows")
        return [self.row()] if rows is None else [scalars(row) for row in rows]

    def told(self) -> str:
        """The answer in words."""
        sentence = self.document.get("sentence")
        return sentence or f"{self.document['race']} by {self.document['vary']}"


class Exploration(Document):
    """Orders that were tried, and those that fail."""

    def told(self) -> str:
        """What was shown, and nothing beyond it."""
        found = len(self.document["findings"])
        claims = " ".join(self.document["claims"])
        return f"{found} failing; {claims}" if found else claims


class Decoded(Document):
    """What words and lines mean."""

    def told(self) -> str:
        """How many of them."""
        return f"{len(self.document['items'])} decoded"


class SweepTable(Document):
    """A sweep that was carried out: a row a cell."""

    def __init__(self, document: Mapping[str, Any], frame: "pl.DataFrame") -> None:
        super().__init__(document)
        self.frame = frame
        """All cells, also those that could not be computed: see the reference of sweep files."""

    def rows(self) -> list[dict[str, Any]]:
        """A row a cell."""
        return self.frame.to_dicts()

    def to_polars(self) -> "pl.DataFrame":
        """The table of all cells."""
        return self.frame

    def told(self) -> str:
        """How many cells, and how many of them failed."""
        return (
            f"{self.document['name']}: {self.document['cells']:,} cells, "
            f"{self.document['failed']:,} failed"
        )
