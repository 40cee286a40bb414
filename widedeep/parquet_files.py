"""Parquet files: what they hold, and their rows in Arrow batches, text as dictionaries where that is less work."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa
from pyarrow import parquet

from widedeep.errors import DataError, first_line
from widedeep.values import is_text

CODED_BYTES = 8
"""What a row's text may take in a file, on average, to be read as dictionaries. Text that is mostly different, or written
out because its dictionary became too long, takes more: Arrow would hand out a dictionary that grows with every batch."""

BUFFER_BYTES = 1 << 16
"""What is read ahead of each column, instead of all of its row group: local files come no faster by that."""


def footer(file: str) -> tuple[pa.Schema, int]:
    """A file's schema and how many rows it has. Raises: DataError if it is none."""
    try:
        with parquet.ParquetFile(file) as opened:
            return opened.schema_arrow, opened.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from error


def batches(file: str, columns: list[str], rows: int, coded: Collection[str]) -> Iterator[pa.RecordBatch]:
    """The rows in order, `rows` at a time, with these columns; text in those `coded` as dictionaries if they are small.

    The batches of a row group share its dictionaries. Raises: DataError if the file is none, or damaged.
    """
    try:
        metadata = parquet.read_metadata(file)
        with parquet.ParquetFile(file, metadata=metadata, read_dictionary=_small(metadata, coded), pre_buffer=False,
                                 buffer_size=BUFFER_BYTES) as opened:
            yield from (batch.select(columns) for batch in opened.iter_batches(rows, columns=columns))
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from error


def _small(metadata: parquet.FileMetaData, columns: Collection[str]) -> list[str]:
    """Those columns of text that take little in every row group."""
    texts = {field.name for field in metadata.schema.to_arrow_schema() if is_text(field.type)} & set(columns)
    places = {metadata.schema.column(place).path: place for place in range(metadata.num_columns)}
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)] if texts else []
    return [name for name in texts if all(_is_small(group.column(places[name])) for group in groups)]


def _is_small(chunk: parquet.ColumnChunkMetaData) -> bool:
    return chunk.has_dictionary_page and chunk.total_uncompressed_size <= CODED_BYTES * chunk.num_values


def _broken(file: str, error: Exception) -> DataError:
    return DataError(f"{file}: not a Parquet file, or a truncated or damaged one: {first_line(error)}. "
                     f"Write or download it again.")
