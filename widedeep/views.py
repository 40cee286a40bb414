"""The same table, read otherwise: behind a bar, or in little memory."""

from __future__ import annotations

import sys
from abc import ABC
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import pyarrow as pa

from widedeep.tables import Table

FRUGAL_ROWS = 16_384
"""Rows that are read at once where memory counts more than the last tenth of speed."""


class _View(Table, ABC):
    """Another table's rows, under its name."""

    def __init__(self, table: Table) -> None:
        self.name, self.columns, self.num_rows, self._table = table.name, table.columns, table.num_rows, table

    def _type_of(self, column: str) -> pa.DataType:
        return self._table.type_of(column)

    def _row_from(self, start: int, row: int) -> int:
        return self._table._row_from(start, row)


class Frugal(_View):
    """A table in smaller batches, its text without the dictionaries of a source: they take memory by their distinct values.

    >>> Frugal(Table.of(pa.table({"a": [1, 2]}))).read(["a"]).num_rows
    2
    """

    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        return self._table.batches(columns, min(rows, FRUGAL_ROWS))


@contextmanager
def watched(table: Table, what: str, progress: bool | None) -> Iterator[Table]:
    """The same table; a bar shows how far it was read, if `progress` asks for one (None: if stderr is a terminal).

    >>> with watched(Table.of(pa.table({"a": [1, 2]})), "reading", progress=False) as table:
    ...     table.read(["a"]).num_rows
    2
    """
    if not (sys.stderr.isatty() if progress is None else progress):
        yield table
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=table.num_rows)
        yield _Watched(table, lambda rows: bar.advance(task, rows))


class _Watched(_View):
    """`seen` is told how many rows came with each batch."""

    def __init__(self, table: Table, seen: Callable[[int], object]) -> None:
        super().__init__(table)
        self._seen = seen

    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        for batch in self._table.batches(columns, rows, coded):
            yield batch
            self._seen(len(batch))
