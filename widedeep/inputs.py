"""What a run is trained on: an encoder and encoded rows, held in memory, kept in a cache, or streamed anew in every epoch."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from widedeep.atomic import file_sha256
from widedeep.cache import Cache, Entry, read_rows, write_rows
from widedeep.columns import Column, Crossed, to_dict
from widedeep.encoder import Encoder, require_weight, row_weights, warn_of_training
from widedeep.errors import DataError, WidedeepWarning
from widedeep.rows import Rows, Source, concatenate
from widedeep.schema import Deep, Schema, Training
from widedeep.stream import Stream
from widedeep.tables import Table
from widedeep.tally import Tally
from widedeep.views import Frugal, watched

OBSERVED = 65_536
"""Rows of a cache that are counted at once."""


@dataclass(frozen=True)
class Findings:
    """What encoding the training rows brought to light: shares of unseen values by column, and what is to be warned of."""

    unseen: dict[str, float]
    faults: list[str]

    @classmethod
    def of(cls, encoder: Encoder, tally: Tally) -> Findings:
        """The findings in a tally of all training rows."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_of_training(encoder, tally)
        return cls(tally.unseen_shares(), [str(warning.message) for warning in caught])

    def warn(self) -> None:
        """Warn of every fault, as if whoever called the caller had made it."""
        for fault in self.faults:
            warnings.warn(fault, WidedeepWarning, stacklevel=3)


class Inputs(ABC):
    """One way to an encoder and to encoded rows. All ways lead to the same rows."""

    def __init__(self, progress: bool | None):
        self.progress = progress

    @abstractmethod
    def encoder(self, schema: Schema, table: Table) -> Encoder:
        """The encoder fitted on training rows."""

    @abstractmethod
    def train(self, encoder: Encoder, table: Table, observe: Callable[[Rows], None]) -> tuple[Source, Callable[[], Findings]]:
        """The training rows, of which each is shown to `observe` once before the first epoch is over; then the findings hold.

        Raises: DataError for impossible labels and weights.
        """

    @abstractmethod
    def valid(self, encoder: Encoder, table: Table) -> Source:
        """The validation rows."""

    @abstractmethod
    def fingerprint(self, table: Table, columns: Sequence[str]) -> str:
        """The fingerprint of columns' values."""

    def fit(self, schema: Schema, table: Table) -> Encoder:
        """An encoder fitted now, behind a bar."""
        with watched(table, "fitting the encoder", self.progress) as seen:
            return Encoder.fit(schema, seen)

    def encode(self, encoder: Encoder, table: Table, tally: Tally | None = None) -> Iterator[Rows]:
        """Rows encoded now, behind a bar."""
        require_weight(encoder.schema, table)
        with watched(table, "encoding rows", self.progress) as seen:
            yield from (rows for rows, _ in encoder.stream(seen, tally))


class InMemory(Inputs):
    """Everything is encoded before training, and held in memory."""

    def encoder(self, schema: Schema, table: Table) -> Encoder:
        return self.fit(schema, table)

    def train(self, encoder: Encoder, table: Table, observe: Callable[[Rows], None]) -> tuple[Source, Callable[[], Findings]]:
        tally = Tally(collisions={})
        rows = _joined(self.encode(encoder, table, tally), table, observe)
        return rows, lambda: Findings.of(encoder, tally)

    def valid(self, encoder: Encoder, table: Table) -> Source:
        return _joined(self.encode(encoder, table), table)

    def fingerprint(self, table: Table, columns: Sequence[str]) -> str:
        return table.fingerprint(columns)


def _joined(batches: Iterator[Rows], table: Table, observe: Callable[[Rows], None] = len) -> Rows:
    """All rows at once. Warns: WidedeepWarning once it is seen that they will not fit into memory."""
    pieces = []
    for rows in batches:
        observe(rows)
        pieces.append(rows)
        if len(pieces) == 1:
            _warn_if_too_large(table, rows.nbytes / len(rows) * table.num_rows)
    return concatenate(pieces)


def _warn_if_too_large(table: Table, size: float) -> None:
    needed, free = 2 * size, free_memory()  # in pieces, and joined
    if needed > free:
        warnings.warn(f"{table.name}: to encode {table.num_rows:,} rows in memory takes {needed / 1e9:,.1f} GB. Free are "
                      f"{free / 1e9:,.1f} GB. Train from a cache on disk (cache=DIR, --cache DIR), or in one streaming pass an "
                      f"epoch (stream=True, --stream).", WidedeepWarning, stacklevel=2)


def free_memory() -> int:
    """The bytes of memory that are free or can be freed."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return next(int(amount) * 1024 for name, amount, *_ in lines if name == "MemAvailable:")


class Cached(Inputs):
    """Everything is on disk once any run has parsed and encoded it, and read from there."""

    def __init__(self, cache: Cache, progress: bool | None):
        super().__init__(progress)
        self.cache = cache

    def encoder(self, schema: Schema, table: Table) -> Encoder:
        made_of = {"what": "encoder", "label": asdict(schema.label), "missing": list(schema.missing),
                   "columns": {name: _declared(column) for name, column in schema.used.items()
                               if not isinstance(column, Crossed)}}
        entry = self._entry(made_of, table, _columns(schema), lambda folder: self.fit(schema, table).save(folder))
        return Encoder.load(entry.folder, schema)

    def train(self, encoder: Encoder, table: Table, observe: Callable[[Rows], None]) -> tuple[Source, Callable[[], Findings]]:
        tally = Tally(collisions={})

        def build(folder: Path) -> dict[str, Any]:
            arrays = write_rows(folder, self.encode(encoder, table, tally))
            return {"arrays": arrays, "findings": asdict(Findings.of(encoder, tally))}

        entry = self._entry({"what": "train", "encoder": _encoding(encoder)}, table, _columns(encoder.schema), build)
        rows = read_rows(entry, entry.about["arrays"])
        for chunk in rows.chunks(OBSERVED):
            observe(chunk)
        return rows, lambda: Findings(**entry.about["findings"])

    def valid(self, encoder: Encoder, table: Table) -> Source:
        entry = self._entry({"what": "valid", "encoder": _encoding(encoder)}, table, _columns(encoder.schema),
                            lambda folder: write_rows(folder, self.encode(encoder, table)))
        return read_rows(entry, entry.about)

    def fingerprint(self, table: Table, columns: Sequence[str]) -> str:
        return self._entry({"what": "fingerprint"}, table, columns, lambda _: table.fingerprint(columns)).about

    def _entry(self, made_of: dict[str, Any], table: Table, columns: Sequence[str], build: Callable[[Path], Any]) -> Entry:
        """The entry made of this and of the content of a table's columns."""
        data = table.identity(columns)

        def checked(folder: Path) -> Any:
            about = build(folder)
            if table.identity(columns) != data:
                raise DataError(f"{table.name}: the table was changed while it was read. Train again once it is complete.")
            return about

        return self.cache.entry({**made_of, "data": data}, checked)


def _columns(schema: Schema) -> list[str]:
    """The table's columns that an encoder needs."""
    return [*schema.features, *schema.roles]


def _declared(column: Column) -> dict[str, Any]:
    """A column's declaration, and the content of the file that it names."""
    plain = to_dict(column)
    if "pretrained" in plain and os.path.isfile(plain["pretrained"]):
        plain["pretrained"] = file_sha256(plain["pretrained"])
    return plain


def _encoding(encoder: Encoder) -> str:
    """What the encoder makes of rows, whatever the training: its fingerprint without settings that change no encoded row."""
    schema = encoder.schema
    bare = replace(schema, columns=schema.used, deep=Deep(schema.deep.columns, width=schema.deep.width), training=Training(),
                   group=None, time=None, search={})
    return replace(encoder, schema=bare).fingerprint


class Streamed(Inputs):
    """Rows are encoded anew in every pass; memory does not grow with their number.

    Arrow is told to use the system's allocator from now on: its own holds on to a sixth of a gigabyte that was freed.
    """

    def __init__(self, progress: bool | None):
        super().__init__(progress)
        pa.set_memory_pool(pa.system_memory_pool())

    def encoder(self, schema: Schema, table: Table) -> Encoder:
        return self.fit(schema, Frugal(table))

    def train(self, encoder: Encoder, table: Table, observe: Callable[[Rows], None]) -> tuple[Source, Callable[[], Findings]]:
        require_weight(encoder.schema, table)
        tally, passes = Tally(collisions={}), count()

        def batches() -> Iterator[Rows]:
            first = next(passes) == 0
            for rows, _ in encoder.stream(Frugal(table), tally if first else None):
                if first:
                    observe(rows)
                yield rows

        return Stream(batches, table.num_rows), lambda: Findings.of(encoder, tally)

    def valid(self, encoder: Encoder, table: Table) -> Source:
        require_weight(encoder.schema, table)
        return Stream(lambda: (rows for rows, _ in encoder.stream(Frugal(table))), table.num_rows)

    def fingerprint(self, table: Table, columns: Sequence[str]) -> str:
        return table.fingerprint(columns)


def answers(encoder: Encoder, table: Table) -> Rows:
    """A table's labels, also as its only feature, and weights: all that figures need besides the outputs."""
    schema, labels, weights = encoder.schema, [], []
    for source_row, batch in table.numbered([schema.label.column, *([schema.weight] if schema.weight else [])]):
        with table.named():
            labels.append(encoder.label.encode(batch.column(schema.label.column), source_row))
            if schema.weight:
                weights.append(row_weights(batch.column(schema.weight), schema.weight, source_row))
    joined = np.concatenate(labels)
    return Rows({"label": joined}, joined, np.concatenate(weights) if weights else None)
