"""CSV files: their cells as text, block by block, the types that a schema gives them, and the line of a mistake."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
from pyarrow import csv as arrow_csv

from widedeep.columns import Categorical, Column, Hashed, table_columns
from widedeep.errors import DataError, first_line
from widedeep.schema import Schema

BLOCK_BYTES = 4 << 20
SHOWN_CHARACTERS = 60
TYPES = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


def texts(path: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The cells of these columns as they stand in the file; empty ones null."""
    convert = arrow_csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string()),
                                       null_values=[""], strings_can_be_null=True)
    try:
        with arrow_csv.open_csv(path, arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
                                arrow_csv.ParseOptions(newlines_in_values=True), convert) as reader:
            yield from reader
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error


def declared_types(schema: Schema) -> dict[str, pa.DataType]:
    """How a CSV column is read, by name; text where declarations differ, for text can become any of them later."""
    asked: dict[str, set[str]] = defaultdict(set)
    for name, column in schema.used.items():
        for source, kind in zip(table_columns(column, name), (_cell_kind(column), "string")):
            asked[source].add(kind)
    for column in (schema.group, schema.time):
        asked[column].add("string")
    asked[schema.weight].add("float")
    asked[schema.label.column].add("float" if schema.label.kind == "regression" else _kind_of(schema.label.positive))
    return {source: TYPES[kinds.pop() if len(kinds) == 1 else "string"] for source, kinds in asked.items() if source}


def _cell_kind(column: Column) -> str:
    if not isinstance(column, (Categorical, Hashed)):
        return "float"
    return "string" if column.delimiter else column.dtype or "string"


def _kind_of(value: str | int | float | bool) -> str:
    return {str: "string", bool: "bool", int: "int", float: "float"}[type(value)]


def records(path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each record that is not blank, the header first; for messages, not for speed."""
    line = 1
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file)
            for cells in reader:
                if not _is_utf8(text := ",".join(cells)):
                    raise DataError(f"{path}, line {line}: a CSV file is UTF-8 text. Got {text[:SHOWN_CHARACTERS]!a}. "
                                    f"Save it as UTF-8.")
                if cells:
                    yield line, cells
                line = reader.line_num + 1
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}, line {line}: cannot be read: {error}.") from error


def line(path: str, row: int) -> int:
    """The line in which a row of a CSV file begins; counted from the header where the csv module finds fewer rows."""
    return next((line for place, (line, _) in enumerate(records(path)) if place == row + 1), row + 2)


def _broken(path: str, error: Exception) -> DataError:
    """The error for a file that Arrow could not parse: the first row with too few or too many fields, if there is one."""
    fields = 0
    for line, cells in records(path):
        fields = fields or len(cells)
        if len(cells) != fields:
            return DataError(f"{path}, line {line}: a row has as many fields as the header, {fields}. Got {len(cells)}: "
                             f"{','.join(cells)[:SHOWN_CHARACTERS]!r}. Correct the row, or quote the cell that holds a comma.")
    return DataError(f"{path}: cannot be read as CSV: {first_line(error)}.")


def _is_utf8(text: str) -> bool:
    """Whether text read with `surrogateescape` had no bytes to escape."""
    return not any("\udc80" <= character <= "\udcff" for character in text)
