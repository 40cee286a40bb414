"""Tables from anywhere, read in Arrow batches of exactly the asked columns.

Parquet and CSV are streamed, never held as a whole. Rows count from 0 in messages, lines of a CSV file from 1.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import sys
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from widedeep import csv_files, parquet_files
from widedeep.atomic import file_sha256
from widedeep.errors import DataError, first_line, unknown_names
from widedeep.schema import Schema
from widedeep.values import decoded, is_list, is_number, is_text

ROWS = 65_536
GUESSES = (pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us"), pa.timestamp("us", "UTC"))
"""What text may stand for where nothing is declared: the first type that fits every cell."""

CODE = r"^[+-]?0[0-9]"
"""Text that begins so is no number: 007 is not 7."""


class Table(ABC):
    """Rows of one source, read in Arrow batches, each with exactly the asked columns.

    `name` is what messages call it, `columns` are the names in the source, `num_rows` its rows (CSV is read once to count).

    >>> table = Table.of(pa.table({"age": [39, 50], "job": ["a", None]}))
    >>> table.num_rows, table.columns, table.type_of("job")
    (2, ['age', 'job'], DataType(string))
    """

    name: str
    columns: list[str]
    num_rows: int

    @classmethod
    def of(cls, source: Any, schema: Schema | None = None, text: Collection[str] = ()) -> Table:
        """The table behind a DataFrame, an Arrow table, a .parquet or .csv file, a folder of Parquet files, or a glob.

        A DataFrame is one of pandas, or one that hands its rows over by the Arrow PyCapsule interface, as polars' does.
        `schema` decides how the text of a CSV file is read; without one, a first pass finds the type that fits all cells, and
        columns in `text` stay text.
        A table is returned as it is.
        Raises: DataError if there is no such source, if it cannot be read, or if it has no rows.
        """
        if isinstance(source, Table):
            return source
        if isinstance(source, (str, os.PathLike)):
            return _of_path(os.fspath(source), schema, text)
        if "pandas" in sys.modules and isinstance(source, sys.modules["pandas"].DataFrame):
            return _filled(_Frame(source))
        if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
            ours = isinstance(source, (pa.Table, pa.RecordBatch))
            return _filled(_Arrow(_handed_over(source), "Arrow table" if ours else type(source).__qualname__))
        raise DataError(f"A table is a DataFrame of pandas or polars, a pyarrow.Table or RecordBatch, or the path of a .csv or "
                        f".parquet file, a folder of Parquet files or a glob. Got {_kind_in_words(source)}. "
                        f"{_way_out(source)}.")

    def require(self, columns: Iterable[str]) -> None:
        """Check that the table can give these columns; all others are ignored.

        Raises: DataError for columns that are missing (with the closest name), there twice, or of no single type.
        """
        columns = list(columns)
        if missing := [column for column in columns if column not in self.columns]:
            raise DataError(unknown_names(f"{self.name}: the table lacks columns", missing, self.columns))
        if twice := [column for column in columns if self.columns.count(column) > 1]:
            raise DataError(f"{self.name}: a column's name must be unique. Got {twice[0]!r} "
                            f"{self.columns.count(twice[0])} times. Rename or drop the others.")
        for column in columns:
            self._type_of(column)

    def type_of(self, column: str) -> pa.DataType:
        """The Arrow type in which a column is read."""
        self.require([column])
        return _without_view(self._type_of(column))

    def batches(self, columns: Sequence[str], rows: int = ROWS, coded: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
        """The rows in order, in batches of 1 to `rows` rows with exactly these columns in this order, each once.

        Text in the columns `coded` comes as dictionaries where the source has them.
        Raises: DataError for columns that the table cannot give, and where the source turns out to be broken.

        >>> [batch.to_pydict() for batch in Table.of(pa.table({"a": [1, 2, 3], "b": [4, 5, 6]})).batches(["b"], rows=2)]
        [{'b': [4, 5]}, {'b': [6]}]
        """
        self.require(columns := list(dict.fromkeys(columns)))
        for batch in self._batches(columns, rows, coded):
            arrays = [array.cast(_without_view(array.type)) for array in batch.columns]
            batch = pa.RecordBatch.from_arrays(arrays, columns)
            for start in range(0, len(batch), rows):
                yield batch.slice(start, rows)

    def numbered(self, columns: Sequence[str],
                 coded: Collection[str] = ()) -> Iterator[tuple[Callable[[int], int], pa.RecordBatch]]:
        """The same, each batch with a function from a row of it to the row of the source, for messages."""
        start = 0
        for batch in self.batches(columns, coded=coded):
            yield partial(self._row_from, start), batch
            start += len(batch)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the table's name before the message of a DataError about its content."""
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error

    def read(self, columns: Sequence[str]) -> pa.Table:
        """All rows of these columns, in memory."""
        kinds = pa.schema([(column, self.type_of(column)) for column in dict.fromkeys(columns)])
        return pa.Table.from_batches(self.batches(columns), kinds)

    def fingerprint(self, columns: Sequence[str]) -> str:
        """sha256 of these columns' values and types, however they are batched, chunked or dictionary-encoded; NaN is null.

        >>> one, two = pa.table({"age": [1, 2, 3]}), pa.table({"age": pa.chunked_array([[1], [2, 3]])})
        >>> Table.of(one).fingerprint(["age"]) == Table.of(two).fingerprint(["age"])
        True
        """
        streams: dict[tuple[str, ...], Any] = defaultdict(hashlib.sha256)
        for batch in self.batches(columns):
            for column, array in zip(batch.schema.names, batch.columns):
                _digest(array, (column, _logical(array.type)), streams)
        return _sha256(sorted([*key, stream.hexdigest()] for key, stream in streams.items()))

    def identity(self, columns: Sequence[str]) -> str:
        """sha256 that tells quickly whether these columns are what they were: of the bytes of files, whose cells are not read;
        of the values of what is in memory; of which rows were chosen.

        >>> Table.of(pa.table({"a": [1]})).identity(["a"]) == Table.of(pa.table({"a": [2]})).identity(["a"])
        False
        """
        kinds = [[column, str(self.type_of(column))] for column in dict.fromkeys(columns)]
        return _sha256([kinds, self._content([column for column, _ in kinds])])

    def where(self, mask: np.ndarray, name: str) -> Table:
        """The rows for which `mask` (rows,) is true, filtered as they are read; `name` says which they are.

        >>> Table.of(pa.table({"a": [1, 2, 3]})).where(np.array([True, False, True]), "odd rows").read(["a"])["a"].to_pylist()
        [1, 3]
        """
        return _Chosen(self, mask, name)

    def _row_from(self, start: int, row: int) -> int:
        """The source's number of a row that comes so many rows after the start."""
        return start + row

    def _content(self, columns: list[str]) -> Any:
        """What tells these rows from others, as plain values: here the fingerprint, found once."""
        known = vars(self).setdefault("_known", {})
        if tuple(columns) not in known:
            known[tuple(columns)] = self.fingerprint(columns)
        return known[tuple(columns)]

    @abstractmethod
    def _type_of(self, column: str) -> pa.DataType: ...

    @abstractmethod
    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]: ...


def _filled(table: Table) -> Table:
    if not table.num_rows:
        raise DataError(f"{table.name}: a table must have rows. Got none, only the columns {table.columns}. "
                        f"Give a table with rows.")
    return table


def _kind_in_words(source: Any) -> str:
    """The type of what is no table, with its module: there are many a DataFrame."""
    kind = type(source)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _way_out(source: Any) -> str:
    ways = [way for way in ("to_arrow", "to_pandas", "collect") if callable(getattr(source, way, None))]
    return f"Give what its .{ways[0]}() returns" if ways else "Turn it into one of these"


def _handed_over(source: Any) -> pa.Table:
    """What an object gives by the Arrow PyCapsule interface, whole; memory is shared with it where it can be."""
    try:
        return pa.table(source)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{_kind_in_words(source)}: a table that Arrow can take over has named columns, of types that pyarrow "
                        f"knows. Got: {first_line(error)}. Give a DataFrame, and cast or drop columns of other "
                        f"types.") from error


def _without_view(kind: pa.DataType) -> pa.DataType:
    """Arrow cannot filter views of text, nor lists or dictionaries of them (but views of lists it can); they are read as text.

    >>> _without_view(pa.list_(pa.string_view()))
    LargeListType(large_list<item: large_string>)
    """
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_view(kind.value_type), kind.ordered)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        value = _without_view(kind.value_type)
        return kind if value == kind.value_type else pa.large_list(value)
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    return pa.large_string() if pa.types.is_string_view(kind) else kind


class _Arrow(Table):
    """An Arrow table in memory."""

    def __init__(self, table: pa.Table, name: str = "Arrow table") -> None:
        self.name, self.columns, self.num_rows, self._table = name, table.column_names, table.num_rows, table

    def _type_of(self, column: str) -> pa.DataType:
        return self._table.schema.field(column).type

    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(columns).to_batches(max_chunksize=rows)


class _Frame(Table):
    """A DataFrame; each column becomes Arrow when it is first asked for, the index never."""

    def __init__(self, frame: Any) -> None:
        self.name, self.num_rows, self._frame, self._converted = "DataFrame", len(frame), frame, {}
        self.columns = [str(column) for column in frame.columns]

    def _type_of(self, column: str) -> pa.DataType:
        return self._column(column).type

    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        yield from pa.table([self._column(column) for column in columns], columns).to_batches(max_chunksize=rows)

    def _column(self, column: str) -> pa.Array | pa.ChunkedArray:
        if column not in self._converted:
            series = self._frame.iloc[:, self.columns.index(column)]
            try:
                self._converted[column] = pa.Array.from_pandas(series)
            except (pa.ArrowException, OverflowError, TypeError) as error:
                raise _mixed(column, series, error) from error
        return self._converted[column]


def _mixed(column: str, series: Any, error: Exception) -> DataError:
    """The error for a column of objects that Arrow cannot hold: its types, each with its first row."""
    import pandas as pd

    first: dict[str, int] = {}
    for row, value in enumerate(series):
        if not (pd.api.types.is_scalar(value) and pd.isna(value)):
            first.setdefault(type(value).__name__, row)
    if len(first) < 2:
        return DataError(f"DataFrame: column {column!r} cannot be read: {error}. Convert its values first.")
    found = " and ".join(f"{kind} (first in row {row})" for kind, row in first.items())
    return DataError(f"DataFrame: the values of a column are of one type. Got {found} in {column!r}. "
                     f"Convert them first, for example with .astype(str).")


def _of_path(path: str, schema: Schema | None, text: Collection[str]) -> Table:
    if os.path.isdir(path):
        if not (files := sorted(glob.glob(os.path.join(glob.escape(path), "*.parquet")))):
            raise DataError(f"{path}: a folder is read as its .parquet files. Got none. "
                            f"Give a folder of Parquet files, or one file.")
        return _filled(_Parquet(path, files))
    if os.path.exists(path):
        return _of_file(path, schema, text)
    if not glob.has_magic(path):
        raise DataError(f"{path}: there is no such file or folder. Correct the path.")
    if not (files := sorted(glob.glob(path, recursive=True))):
        raise DataError(f"{path}: no file matches this pattern. Correct it.")
    if others := [file for file in files if not file.lower().endswith(".parquet")]:
        raise DataError(f"{path}: a pattern must match .parquet files only. Got {others[0]!r}. Narrow the pattern.")
    return _filled(_Parquet(path, files))


def _of_file(path: str, schema: Schema | None, text: Collection[str]) -> Table:
    ending = os.path.splitext(path)[1].lower()
    if ending == ".parquet":
        return _filled(_Parquet(path, [path]))
    if ending == ".csv":
        return _Csv(path, schema, text)
    raise DataError(f"{path}: the ending says how a file is read, .parquet or .csv. Got {ending!r}. "
                    f"Convert or rename the file.")


class _Parquet(Table):
    """Parquet files, one below the other; asked columns must have one type in all of them."""

    def __init__(self, name: str, files: list[str]) -> None:
        self.name = name
        footers = {file: parquet_files.footer(file) for file in files}
        self._schemas = {file: schema for file, (schema, _) in footers.items()}
        self.num_rows = sum(rows for _, rows in footers.values())
        self.columns = next(iter(self._schemas.values())).names

    def _type_of(self, column: str) -> pa.DataType:
        (first, schema), *others = self._schemas.items()
        kind = schema.field(column).type
        for file, schema in others:
            found = [field.type for field in schema if field.name == column]
            if found != [kind]:
                got = " and ".join(map(str, found)) or "no such column"
                raise DataError(f"{file}: column {column!r} must be of type {kind}, as in {first!r}: the files of one table "
                                f"have one type per column. Got {got}. Write the file again with that type, or leave it out.")
        return kind

    def _content(self, columns: list[str]) -> Any:
        return [content_sha256(file) for file in self._schemas]

    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        for file in self._schemas:
            yield from parquet_files.batches(file, columns, rows, coded)


class _Csv(Table):
    """A CSV file: read as text, block by block; cells become what the schema says they are, empty ones null."""

    def __init__(self, path: str, schema: Schema | None, text: Collection[str] = ()) -> None:
        self.name = path
        _, self.columns = next(csv_files.records(path), (1, []))
        if not self.columns or next(csv_files.texts(path, self.columns[:1]), None) is None:
            raise DataError(f"{path}: a CSV file must have a header and rows. Got {len(self.columns)} columns and no rows. "
                            f"Give a file with rows.")
        self._markers = schema.missing if schema else ()
        self._features = set(schema.features) if schema else set()
        self._types = csv_files.declared_types(schema) if schema else self._guessed_types(text)

    @cached_property
    def num_rows(self) -> int:
        return sum(len(batch) for batch in csv_files.texts(self.name, self.columns[:1]))

    def _type_of(self, column: str) -> pa.DataType:
        return self._types.get(column, pa.string())

    def _content(self, columns: list[str]) -> Any:
        return [content_sha256(self.name), list(self._markers), sorted(self._features)]

    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        first_row = 0
        for texts in csv_files.texts(self.name, columns):
            arrays = [self._typed(text, column, first_row) for column, text in zip(columns, texts.columns)]
            yield pa.RecordBatch.from_arrays(arrays, columns)
            first_row += len(texts)

    def _typed(self, text: pa.Array, column: str, first_row: int) -> pa.Array:
        kind = self._type_of(column)
        if pa.types.is_string(kind):
            return text
        cells = _stripped(text, self._markers if column in self._features else ())
        try:
            return cells.cast(kind)
        except pa.ArrowInvalid as error:
            row = next(row for row in range(len(cells)) if not fits(cells.slice(row, 1), kind))
            line = csv_files.line(self.name, first_row + row)
            raise DataError(f"{self.name}, line {line}: column {column!r} is read as {kind}. "
                            f"Got {text[row].as_py()!r}. Correct the value, list it under `missing`, or declare the column "
                            f"categorical.") from error

    def _guessed_types(self, text: Collection[str]) -> dict[str, pa.DataType]:
        """The first of `GUESSES` that fits every cell, for each column with a cell, but for those in `text`; in one pass."""
        once = [column for column in self.columns if self.columns.count(column) == 1 and column not in text]
        left, filled = {column: list(GUESSES) for column in once}, set()
        for texts in csv_files.texts(self.name, once):
            for column, text in zip(once, texts.columns):
                cells = _stripped(text)
                codes = pc.any(pc.match_substring_regex(cells, CODE)).as_py()
                left[column] = [kind for kind in left[column] if fits(cells, kind) and not (codes and is_number(kind))]
                filled |= {column} if cells.null_count < len(cells) else set()
        return {column: left[column][0] for column in filled if left[column]}


def _stripped(text: pa.Array, markers: Sequence[str] = ()) -> pa.Array:
    """Cells without the blanks around them; null where nothing, or a missing marker, is left."""
    cells = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(cells, pa.array(["", *markers])), None, cells)


def fits(cells: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> bool:
    """Whether every cell can be cast to the type.

    >>> fits(pa.array(["1", None]), pa.int64()), fits(pa.array(["1", "a"]), pa.int64())
    (True, False)
    """
    try:
        cells.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


class _Chosen(Table):
    """The rows of another table for which `mask` (rows,) is true."""

    def __init__(self, table: Table, mask: np.ndarray, name: str) -> None:
        self.name, self.columns, self.num_rows = f"{table.name} ({name})", table.columns, int(mask.sum())
        self._table, self._mask = table, mask

    def _type_of(self, column: str) -> pa.DataType:
        return self._table.type_of(column)

    def _content(self, columns: list[str]) -> Any:
        chosen = hashlib.sha256(np.packbits(self._mask)).hexdigest()
        return [self._table.identity(columns), len(self._mask), chosen]

    def _row_from(self, start: int, row: int) -> int:
        return self._table._row_from(0, int(np.flatnonzero(self._mask)[start + row]))

    def _batches(self, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in self._table.batches(columns, rows, coded):
            yield batch.filter(pa.array(self._mask[start:start + len(batch)]))
            start += len(batch)


def _logical(kind: pa.DataType) -> str:
    """A type's name, the same for all ways to lay out the same values."""
    if pa.types.is_dictionary(kind):
        return _logical(kind.value_type)
    if is_list(kind):
        return f"list<{_logical(kind.value_type)}>"
    return "string" if is_text(kind) else str(kind)


def plain(array: pa.Array) -> pa.Array:
    """Values without a dictionary, text without views; NaN is null."""
    array = decoded(array)
    return pc.if_else(pc.is_nan(array), None, array) if pa.types.is_floating(array.type) else array


def _digest(array: pa.Array, key: tuple[str, ...], streams: dict[tuple[str, ...], Any]) -> None:
    """Feed the streams of one column: which cells are null, how long lists and texts are, and the values end to end."""
    array = plain(array)
    streams[*key, "null"].update(np.asarray(array.is_null()))
    array = array.drop_null()
    if is_list(array.type):
        streams[*key, "length"].update(np.asarray(pc.list_value_length(array), np.int64))
        return _digest(array.flatten(), (*key, "item"), streams)
    if is_text(array.type):
        return _digest_text(array, key, streams)
    numbers = array.to_numpy(zero_copy_only=False)
    if numbers.dtype != object:
        return streams[*key, "value"].update(np.ascontiguousarray(numbers).view(np.uint8))
    _digest_text(pa.array([str(value) for value in array.to_pylist()], pa.large_string()), key, streams)


def _digest_text(array: pa.Array, key: tuple[str, ...], streams: dict[tuple[str, ...], Any]) -> None:
    """Text without nulls: the bytes of each value, end to end, and how many they are."""
    array = array.cast(pa.large_binary())
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset:array.offset + len(array) + 1] if len(array) else np.zeros(1, np.int64)
    streams[*key, "length"].update(np.diff(ends))
    streams[*key, "value"].update(memoryview(content)[ends[0]:ends[-1]] if content else b"")


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def content_sha256(path: str) -> str:
    """The sha256 of a file's bytes, found anew if the file was written to."""
    try:
        found = os.stat(path)
        return _bytes_sha256(path, found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=1024)
def _bytes_sha256(path: str, *_: int) -> str:
    return file_sha256(path)
