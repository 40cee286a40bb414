"""Columns fitted on training rows: a row becomes ids and values, nothing else.

One streaming pass in bounded memory fits everything, whatever the order of rows and the size of batches. `encode` turns
an Arrow batch into the arrays that the towers read; `encoder_layer` has the same mapping as a Keras layer.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from widedeep import hashing
from widedeep.columns import RESERVED, UNSEEN, Bucketized, Categorical, Crossed, Hashed, Numeric
from widedeep.errors import DataError, WidedeepWarning
from widedeep.fitted import (BucketFit, CrossFit, Fitted, HashFit, NumericFit, VocabularyFit, accumulator, element_weights,
                             fingerprints_of, ids_of)
from widedeep.labels import LabelFit, LabelAccumulator
from widedeep.layout import TableLayout, TowerLayout, layout
from widedeep.rows import Bag, Rows, concatenate
from widedeep.schema import Schema
from widedeep.tables import Table
from widedeep.values import Place, Values, categories, numbers

CROWDED = 0.2
"""A hashed column or cross is reported when this share of training rows shares a bucket with a different value."""


@dataclass
class Tally:
    """What encoding met, additive and order-free: cells, unseen and missing ones by column, and hash collisions."""

    rows: int = 0
    cells: dict[str, int] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)
    collisions: dict[str, Collisions] | None = None

    def add(self, name: str, ids: np.ndarray | Bag) -> None:
        flat = ids.flat if isinstance(ids, Bag) else ids
        self.cells[name] = self.cells.get(name, 0) + int((flat >= UNSEEN).sum())
        self.unseen[name] = self.unseen.get(name, 0) + int((flat == UNSEEN).sum())

    def unseen_shares(self) -> dict[str, float]:
        """Unseen values ÷ values that are not missing, by column."""
        return {name: self.unseen[name] / cells for name, cells in self.cells.items() if cells}


class Collisions:
    """Per bucket: how many values fell in, and the smallest and largest fingerprint among them."""

    def __init__(self, bins: int):
        self.count = np.zeros(bins, np.int64)
        self.low, self.high = np.full(bins, 2**64 - 1, np.uint64), np.zeros(bins, np.uint64)

    def add(self, bucket: np.ndarray, fingerprint: np.ndarray) -> None:
        np.add.at(self.count, bucket, 1)
        np.minimum.at(self.low, bucket, fingerprint)
        np.maximum.at(self.high, bucket, fingerprint)

    @property
    def share(self) -> float:
        """The share of values in buckets that more than one distinct value fell into."""
        crowded = (self.low != self.high) & (self.count > 0)
        return float(self.count[crowded].sum() / max(1, self.count.sum()))

    @property
    def constant(self) -> bool:
        """Whether all values were one."""
        return bool((self.count > 0).sum() == 1 and self.share == 0)


@dataclass(frozen=True)
class Encoder:
    """The fitted columns of a schema and its fitted label.

    `Encoder.fit(schema, table)` reads training rows only; `encode` gives the features of a batch, `rows` those of a whole
    table with labels and weights.
    """

    schema: Schema
    columns: Mapping[str, Fitted]
    label: LabelFit

    @classmethod
    def fit(cls, schema: Schema, source: Any) -> Encoder:
        """The encoder of these training rows. Raises: DataError for columns that are absent, mistyped or all missing.

        >>> import pandas as pd, widedeep as wd
        >>> schema = wd.Schema(wd.Label("y"), {"city": wd.Categorical()}, deep=wd.Deep(("city",)))
        >>> encoder = Encoder.fit(schema, pd.DataFrame({"city": ["Rome", "Oslo", "Rome"], "y": [1, 0, 1]}))
        >>> encoder.encode(pa.RecordBatch.from_pydict({"city": ["Oslo", "Bern", None]}))["deep.16/ids"].ravel().tolist()
        [4, 1, 0]
        """
        table = Table.of(source, schema)
        table.require([*schema.features, *schema.roles])
        fitting = {n: accumulator(c, n, table.type_of(c.source or n)) for n, c in schema.used.items() if not isinstance(c, Crossed)}
        label = LabelAccumulator(schema.label)
        for first_row, batch in _numbered(table.batches([*schema.features, *schema.roles])):
            label.add(batch, first_row, schema.weight)
            for name, part in fitting.items():
                part.add(_raw(schema, name, getattr(part, "kind", None), batch, first_row))
        fits: dict[str, Fitted] = {name: part.fit() for name, part in fitting.items()}
        return cls(schema, _with_crosses(schema, fits), label.fit())

    def layout(self, tower: str) -> TowerLayout:
        """The tables and values of the `wide` or the `deep` tower."""
        sizes = {n: fit.width if isinstance(fit, NumericFit) else fit.ids for n, fit in self.columns.items()}
        return layout(self.schema, tower, sizes, self.multivalued)

    @property
    def multivalued(self) -> frozenset[str]:
        """The columns that hold lists."""
        return frozenset(n for n, fit in self.columns.items() if getattr(fit, "multivalued", False))

    def encode(self, batch: pa.RecordBatch, tally: Tally | None = None, first_row: int = 0) -> dict[str, np.ndarray | Bag]:
        """The features of a batch, by the names that `layout` explains: int matrices, bags of ids, float matrices."""
        cells = self.cells(batch, first_row)
        found = {name: self._column(name, cells) for name in {*self.schema.wide.columns, *self.schema.deep.columns}}
        if tally is not None:
            self._count(tally, cells, found, len(batch))
        features: dict[str, np.ndarray | Bag] = {}
        for tower in ("wide", "deep"):
            features |= self._tower(self.layout(tower), found, cells)
        return features

    def cells(self, batch: pa.RecordBatch, first_row: int = 0) -> dict[str, np.ndarray | Values]:
        """Every column's cells in canonical form: float64 for numbers, `Values` for ids."""
        return {name: _raw(self.schema, name, getattr(fit, "kind", None), batch, first_row)
                for name, fit in self.columns.items() if not isinstance(fit, CrossFit)}

    def _column(self, name: str, cells: Mapping[str, np.ndarray | Values]) -> np.ndarray | Bag:
        """One column's own ids (from 0; −1 for a dropped cross) or values."""
        fit = self.columns[name]
        if isinstance(fit, CrossFit):
            prints = self._cross(name, cells)
            flat = prints.flat if isinstance(prints, Bag) else prints
            ids = (flat % np.uint64(fit.bins)).astype(np.int64) + RESERVED
            return Bag(ids, prints.splits) if isinstance(prints, Bag) else np.where(self._incomplete(name, cells), -1, ids)
        if isinstance(fit, (NumericFit, BucketFit)):
            return fit.encode(cells[name])
        return ids_of(fit, cells[name])

    def _cross(self, name: str, cells: Mapping[str, np.ndarray | Values]) -> np.ndarray | Bag:
        """The fingerprints of a cross; a bag leaves out rows with a missing part."""
        parts = []
        for source in self.schema.columns[name].sources:
            fit = self.columns[source]
            parts.append((fit.encode(cells[source]) - RESERVED).astype(np.uint64) if isinstance(fit, BucketFit)
                         else fingerprints_of(cells[source]))
        if self.columns[name].multivalued:
            keep = ~self._incomplete(name, cells)
            parts = [part if isinstance(part, Bag) else Bag(part[keep], np.concatenate([[0], np.cumsum(keep)])) for part in parts]
        return hashing.cross(parts)

    def _incomplete(self, name: str, cells: Mapping[str, np.ndarray | Values]) -> np.ndarray:
        """The rows in which a single-valued part of a cross is missing: bool (n,)."""
        parts = [cells[source] for source in self.schema.columns[name].sources]
        gone = [np.isnan(p) if isinstance(p, np.ndarray) else p.codes < 0 for p in parts if isinstance(p, np.ndarray) or p.splits is None]
        return np.logical_or.reduce(gone) if gone else np.zeros(len(parts[0]), bool)

    def _tower(self, tower: TowerLayout, found: Mapping[str, np.ndarray | Bag], cells: Mapping[str, Any]) -> dict[str, np.ndarray | Bag]:
        features: dict[str, np.ndarray | Bag] = {}
        for table in tower.tables:
            features |= self._table(table, found, cells)
        if tower.values:
            features[f"{tower.tower}/values"] = np.concatenate([found[name] for name in tower.values], axis=1)
        return features

    def _table(self, table: TableLayout, found: Mapping[str, np.ndarray | Bag], cells: Mapping[str, Any]) -> dict[str, np.ndarray | Bag]:
        kind = np.int32 if table.rows < 2**31 else np.int64
        offsets, features = table.offsets, {}
        if table.singles:
            features[f"{table.name}/ids"] = np.stack(
                [np.where(found[n] < 0, -1, found[n] + offsets[n]).astype(kind) for n in table.singles], axis=1)
        for name in table.bags:
            bag = found[name]
            features[f"{table.name}/{name}"] = Bag((bag.flat + offsets[name]).astype(kind), bag.splits)
            if name in table.weighted:
                features[f"{table.name}/{name}/weights"] = element_weights(cells[name])
        return features

    def _count(self, tally: Tally, cells: Mapping[str, Any], found: Mapping[str, Any], rows: int) -> None:
        tally.rows += rows
        for name, ids in found.items():
            fit = self.columns[name]
            if isinstance(fit, VocabularyFit):
                tally.add(name, ids)
            if tally.collisions is not None and isinstance(fit, (HashFit, CrossFit)):
                self._count_collisions(tally.collisions.setdefault(name, Collisions(fit.bins)), name, cells, ids)

    def _count_collisions(self, collisions: Collisions, name: str, cells: Mapping[str, Any], ids: np.ndarray | Bag) -> None:
        prints = self._cross(name, cells) if isinstance(self.columns[name], CrossFit) else fingerprints_of(cells[name])
        flat_ids, flat = (x.flat if isinstance(x, Bag) else x for x in (ids, prints))
        there = flat_ids >= RESERVED
        if len(flat) != len(flat_ids):
            collisions.add(flat_ids[there] - RESERVED, flat)
        else:
            collisions.add(flat_ids[there] - RESERVED, flat[there])

    def rows(self, source: Any, tally: Tally | None = None, labelled: bool = True) -> Rows:
        """All rows of a table, encoded in memory, with their labels and weights unless `labelled` is False."""
        table = Table.of(source, self.schema)
        return concatenate([rows for rows, _ in self.stream(table, tally, labelled)])

    def stream(self, table: Table, tally: Tally | None = None, labelled: bool = True, also: tuple[str, ...] = ()) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """Encoded batches of a table, each with its Arrow batch (which has the columns `also` too).

        Raises: DataError for missing columns and impossible labels or weights.
        """
        schema = self.schema
        roles = [schema.label.column, *([schema.weight] if schema.weight else [])] if labelled else []
        names = list(dict.fromkeys([*schema.features, *roles, *also]))
        table.require(names)
        for first_row, batch in _numbered(table.batches(names)):
            features = self.encode(batch, tally, first_row)
            labels = self.label.encode(batch.column(schema.label.column), first_row) if labelled else None
            weights = row_weights(batch.column(schema.weight), schema.weight, first_row) if labelled and schema.weight else None
            yield Rows(features, labels, weights), batch

    def save(self, directory: Path) -> None:
        """Write `encoder.json`, and one Parquet file per learned or given vocabulary, into an existing directory."""
        columns = {}
        for index, (name, fit) in enumerate(self.columns.items()):
            settings = {k: v for k, v in asdict(fit).items() if k != "vocabulary"} if not isinstance(fit, VocabularyFit) else {
                "kind": fit.kind, "multivalued": fit.multivalued, "file": f"vocabulary-{index}.parquet"}
            columns[name] = {"type": type(fit).__name__} | settings
            if isinstance(fit, VocabularyFit):
                pq.write_table(pa.table({"value": fit.vocabulary}), Path(directory) / settings["file"])
        text = json.dumps({"columns": columns, "label": asdict(self.label)}, indent=1, allow_nan=False)
        (Path(directory) / "encoder.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, schema: Schema) -> Encoder:
        """The encoder that `save` wrote. Raises: DataError for files that do not belong to the schema."""
        try:
            saved = json.loads((Path(directory) / "encoder.json").read_text(encoding="utf-8"))
            columns = {name: _load_fit(Path(directory), dict(settings)) for name, settings in saved["columns"].items()}
            encoder = cls(schema, columns, LabelFit(**saved["label"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise DataError(f"The encoder in {str(directory)!r} cannot be read: {type(error).__name__}: {error}. Train the model again.") from error
        if set(columns) != set(schema.used):
            raise DataError(f"The encoder in {str(directory)!r} belongs to another schema: it has the columns {sorted(columns)}, "
                            f"the schema uses {sorted(schema.used)}.")
        return encoder

    @property
    def fingerprint(self) -> str:
        """sha256 of the schema and of everything fitted; equal encoders encode alike."""
        digest = hashlib.sha256(self.schema.fingerprint.encode())
        for name, fit in self.columns.items():
            digest.update(f"{name}{type(fit).__name__}".encode())
            if isinstance(fit, VocabularyFit):
                digest.update(json.dumps([fit.kind, fit.multivalued, fit.vocabulary.to_pylist()]).encode())
            else:
                digest.update(json.dumps(asdict(fit)).encode())
        return digest.hexdigest()


FITS: dict[str, type] = {kind.__name__: kind for kind in (NumericFit, BucketFit, HashFit, CrossFit)}


def _load_fit(directory: Path, settings: dict[str, Any]) -> Fitted:
    kind = settings.pop("type")
    if kind == "VocabularyFit":
        if Path(settings["file"]).name != settings["file"]:
            raise ValueError(f"a vocabulary file lies in the encoder's own directory, not at {settings['file']!r}")
        vocabulary = pq.read_table(directory / settings["file"])["value"].combine_chunks()
        return VocabularyFit(settings["kind"], vocabulary, settings["multivalued"])
    if kind == "NumericFit":
        settings["knots"] = tuple(tuple(part) for part in settings["knots"])
    if kind == "BucketFit":
        settings["boundaries"] = tuple(settings["boundaries"])
    return FITS[kind](**settings)


def _with_crosses(schema: Schema, fits: dict[str, Fitted]) -> dict[str, Fitted]:
    """All used columns in declared order, crosses among them."""
    def fit(name: str) -> Fitted:
        column = schema.columns[name]
        if not isinstance(column, Crossed):
            return fits[name]
        return CrossFit(column.bins, any(getattr(fits[s], "multivalued", False) for s in column.sources))
    return {name: fit(name) for name in schema.used}


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches, each with the number of its first row."""
    row = 0
    for batch in batches:
        yield row, batch
        row += len(batch)


def _raw(schema: Schema, name: str, kind: str | None, batch: pa.RecordBatch, first_row: int) -> np.ndarray | Values:
    """A column's cells in canonical form."""
    column = schema.columns[name]
    source = column.source or name
    place, array = Place(source, first_row), batch.column(source)
    if isinstance(column, (Numeric, Bucketized)):
        return numbers(array, place, missing=schema.missing)
    weights = batch.column(column.weights) if column.weights else None
    return categories(array, kind, place, missing=schema.missing, delimiter=column.delimiter, weights=weights)


def row_weights(array: pa.Array, name: str, first_row: int) -> np.ndarray:
    """Row weights as float32 (n,). Raises: DataError naming the first row that is not a number of at least 0."""
    weights = numbers(array, Place(name, first_row))
    if (bad := np.flatnonzero(~(weights >= 0) | np.isinf(weights))).size:
        raise DataError(f"Weight {name!r}: a weight is a finite number of at least 0. Got {weights[bad[0]]} in row "
                        f"{first_row + int(bad[0])}. Correct it, or leave the weight out of the schema.")
    return weights.astype(np.float32)


def warn_of_training(encoder: Encoder, tally: Tally) -> None:
    """Warn, naming the column, of what is legal in training rows but rarely meant: constants and crowded buckets."""
    for name, fit in encoder.columns.items():
        if _constant(encoder, name, fit, tally):
            warnings.warn(f"Column {name!r} never varies in the training rows, so nothing can be learned from it. "
                          f"Take it out of the schema.", WidedeepWarning, stacklevel=3)
    for name, collisions in (tally.collisions or {}).items():
        if collisions.share > CROWDED:
            warnings.warn(f"Column {name!r}: {collisions.share:.0%} of its training values share one of {len(collisions.count)} "
                          f"buckets with a different value. Give it more bins.", WidedeepWarning, stacklevel=3)


def _constant(encoder: Encoder, name: str, fit: Fitted, tally: Tally) -> bool:
    if isinstance(fit, NumericFit):
        return fit.minimum == fit.maximum and not fit.flag
    if isinstance(fit, VocabularyFit):
        return len(fit.vocabulary) == 1 and isinstance(encoder.schema.columns[name], Categorical) and \
            tally.cells.get(name) == tally.rows and not tally.unseen.get(name)
    if isinstance(fit, HashFit) and tally.collisions and name in tally.collisions:
        return tally.collisions[name].constant and tally.collisions[name].count.sum() == tally.rows
    return False


def warn_of_unseen(tally: Tally, trained: Mapping[str, float]) -> None:
    """Warn of columns all of whose values are unseen, as a renamed or recoded column would be."""
    for name, share in tally.unseen_shares().items():
        if share == 1:
            warnings.warn(f"Column {name!r}: none of its {tally.cells[name]} values was seen in training (there the share of unseen "
                          f"values was {trained.get(name, 0):.1%}). Was it renamed or recoded?", WidedeepWarning, stacklevel=3)
