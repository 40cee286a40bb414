"""Training rows that are made as they are read: memory holds a stretch of them, never all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import pyarrow as pa

from widedeep.tables import Table


class Made(Table):
    """`num_rows` rows, of which `make` gives those at any positions (n,), the same each time it is asked.

    >>> Made("squares", 3, lambda rows: pa.table({"square": rows**2})).read(["square"])["square"].to_pylist()
    [0, 1, 4]
    """

    def __init__(self, name: str, num_rows: int, make: Callable[[np.ndarray], pa.Table]) -> None:
        self._kinds = make(np.arange(0)).schema
        self.name, self.columns, self.num_rows, self._make = name, self._kinds.names, num_rows, make

    def _type_of(self, column: str) -> pa.DataType:
        return self._kinds.field(column).type

    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, self.num_rows, rows):
            made = self._make(np.arange(start, min(start + rows, self.num_rows)))
            yield from made.select(columns).combine_chunks().to_batches()
