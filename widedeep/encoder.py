"""Columns fitted on training rows: a row becomes ids and values, nothing else.

One streaming pass in bounded memory fits everything, whatever the order of rows and the size of batches. `encode` turns
an Arrow batch into the arrays that the towers read; `encoder_layer` has the same mapping as a Keras layer.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from widedeep import hashing, strict_json, vocabulary_files
from widedeep.ahead import ahead
from widedeep.columns import MISSING, RESERVED, Bucketized, Categorical, Column, Crossed, Hashed, Numeric
from widedeep.declarations import build, check_types
from widedeep.errors import DataError, WidedeepWarning, unknown_names
from widedeep.fitted import (
    BucketFit,
    CrossFit,
    Fitted,
    HashFit,
    NumericFit,
    VocabularyFit,
    cross_part,
    distinct_ids,
    element_weights,
    ids_of,
    in_table,
    is_missing,
    place_part,
    prints_of,
)
from widedeep.fitting import IdAccumulator, accumulator, is_multivalued
from widedeep.labels import LabelAccumulator, LabelFit
from widedeep.layout import TableLayout, TowerLayout, layout
from widedeep.rows import Bag, Rows, concatenate
from widedeep.schema import Schema
from widedeep.tables import Table
from widedeep.tally import Collisions, Tally
from widedeep.values import CANONICAL, LARGEST, Lexicon, Place, SourceRow, Values, categories, numbers

Ids = np.ndarray | Bag
"""Ids (rows,), or a bag of them; fingerprints and features of columns alike."""

Cells = Mapping[str, np.ndarray | Values]
"""Every column's cells in canonical form: float64 (rows,) for numbers, `Values` for ids."""

CROWDED = 0.2
"""A hashed column or cross is reported when this share of training rows shares a bucket with a different value."""


@dataclass(frozen=True)
class Found:
    """A batch of so many rows on its way: cells, fingerprints of crosses, and each tower column's own ids or values."""

    rows: int
    cells: Cells
    crosses: Mapping[str, Ids]
    columns: Mapping[str, Ids]


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
        fitting = {name: accumulator(column, name, table.type_of(column.source or name))
                   for name, column in schema.used.items() if not isinstance(column, Crossed)}
        _learn_together(schema, fitting)
        label, lexicons = LabelAccumulator(schema.label), {name: Lexicon() for name in fitting}
        with closing(_coded(schema, table, schema.roles)) as batches:
            for source_row, batch in batches:
                with table.named():
                    label.add(batch.column(schema.label.column), source_row)
                    for name, part in fitting.items():
                        part.add(_raw(schema, name, part, batch, source_row, lexicons[name]))
        with table.named():
            return cls(schema, _with_crosses(schema, {name: part.fit() for name, part in fitting.items()}), label.fit())

    def layout(self, tower: str) -> TowerLayout:
        """The tables and values of the `wide` or the `deep` tower."""
        sizes = {n: fit.width if isinstance(fit, NumericFit) else fit.ids for n, fit in self.columns.items()}
        return layout(self.schema, tower, sizes, self.multivalued)

    @property
    def multivalued(self) -> frozenset[str]:
        """The columns that hold lists."""
        return frozenset(n for n, fit in self.columns.items() if getattr(fit, "multivalued", False))

    @property
    def tower_columns(self) -> list[str]:
        """The columns that a tower reads, each once: all but mere parts of crosses."""
        return list(dict.fromkeys([*self.schema.wide.columns, *self.schema.deep.columns]))

    def encode(self, batch: pa.RecordBatch, tally: Tally | None = None,
               source_row: SourceRow = int) -> dict[str, np.ndarray | Bag]:
        """The features of a batch, by the names that `layout` explains: int matrices, bags of ids, float matrices.

        Raises: DataError for columns that the batch lacks, and for cells that are not what they were in training.
        """
        found = self._find(batch, source_row, {})
        if tally is not None:
            self._count(tally, found)
        return self._features(found)

    def _find(self, batch: pa.RecordBatch, source_row: SourceRow, lexicons: Mapping[str, Lexicon]) -> Found:
        if lost := [name for name in self.schema.features if name not in batch.schema.names]:
            raise DataError(unknown_names("the batch lacks columns", lost, batch.schema.names))
        cells = {name: self.cells_of(name, batch, source_row, lexicons.get(name))
                 for name, fit in self.columns.items() if not isinstance(fit, CrossFit)}
        crosses = self.crosses(cells)
        return Found(len(batch), cells, crosses, {name: self.column(name, cells, crosses) for name in self.tower_columns})

    def cells_of(self, name: str, batch: pa.RecordBatch, source_row: SourceRow = int,
                 lexicon: Lexicon | None = None) -> np.ndarray | Values:
        """One column's cells in canonical form. Raises: DataError for cells that are not what they were in training."""
        return _raw(self.schema, name, self.columns[name], batch, source_row, lexicon)

    def _features(self, found: Found) -> dict[str, np.ndarray | Bag]:
        features: dict[str, np.ndarray | Bag] = {}
        for tower in ("wide", "deep"):
            features |= self._tower(self.layout(tower), found.columns, found.cells)
        return features

    def column(self, name: str, cells: Cells, crosses: Mapping[str, Ids]) -> Ids:
        """One column's own ids (from 0; −1 for a dropped cross) or values."""
        fit = self.columns[name]
        if isinstance(fit, (NumericFit, BucketFit)):
            return fit.encode(cells[name])
        if not isinstance(fit, CrossFit):
            return ids_of(fit, cells[name])
        prints = crosses[name]
        if isinstance(prints, Bag):
            return Bag(_buckets(prints.flat, fit), prints.splits)
        ids = _buckets(prints, fit)
        ids[self._incomplete(name, cells)] = -1
        return ids

    def crosses(self, cells: Cells, names: Iterable[str] | None = None) -> dict[str, Ids]:
        """The fingerprints of each cross, or of these; a bag leaves out rows with a missing part."""
        names = self.columns if names is None else names
        wanted = {name: self.parts_of(name) for name in names if isinstance(self.columns[name], CrossFit)}
        found = {part: self.part(*part, cells) for part in dict.fromkeys(part for parts in wanted.values() for part in parts)}
        return {name: self._cross(name, [found[part] for part in parts], cells) for name, parts in wanted.items()}

    def parts_of(self, cross: str) -> list[tuple[str, bool]]:
        """The columns of a cross in the order in which they are hashed, and whether each takes part by its place."""
        column = self.schema.columns[cross]
        if column.parts == "values":
            return [(source, False) for source in column.sources]
        fits = {source: self.columns[source] for source in column.sources}
        last = {source for source, fit in fits.items() if isinstance(fit, HashFit) and not fit.multivalued}
        return [(source, self._by_place(source)) for source in sorted(fits, key=last.__contains__)]

    def _by_place(self, source: str) -> bool:
        """Whether a column's place differs from its value: a whole number without a default is its own place, seen or not."""
        fit = self.columns[source]
        return isinstance(fit, VocabularyFit) and not (self.schema.columns[source].integers and fit.default is None)

    def part(self, source: str, by_place: bool, cells: Cells) -> Ids:
        """What a column contributes to the fingerprints of a cross: uint64 (rows,), or a bag of them."""
        fit = self.columns[source]
        if isinstance(fit, BucketFit):
            return hashing.spread((fit.encode(cells[source]) - RESERVED).astype(np.uint64))
        return place_part(fit, cells[source]) if by_place else cross_part(cells[source])

    def _cross(self, name: str, parts: Sequence[Ids], cells: Cells) -> Ids:
        if self.columns[name].multivalued:
            keep = ~self._incomplete(name, cells)
            splits = np.concatenate([[0], np.cumsum(keep)])
            parts = [part if isinstance(part, Bag) else Bag(part[keep], splits) for part in parts]
        return hashing.cross(parts)

    def _incomplete(self, name: str, cells: Cells) -> np.ndarray:
        """The rows in which a single-valued part of a cross is missing: bool (n,)."""
        parts = [(self.columns[source], cells[source]) for source in self.schema.columns[name].sources]
        gone = [np.isnan(part) if isinstance(part, np.ndarray) else is_missing(fit, part)
                for fit, part in parts if isinstance(part, np.ndarray) or part.splits is None]
        return np.logical_or.reduce(gone) if gone else np.zeros(len(parts[0][1]), bool)

    def _tower(self, tower: TowerLayout, found: Mapping[str, Ids], cells: Cells) -> dict[str, np.ndarray | Bag]:
        features: dict[str, np.ndarray | Bag] = {}
        for table in tower.tables:
            features |= self._table(table, found, cells)
        if tower.values:
            features[tower.matrix] = np.concatenate([found[name] for name in tower.values], axis=1)
        return features

    def _table(self, table: TableLayout, found: Mapping[str, Ids], cells: Cells) -> dict[str, np.ndarray | Bag]:
        features: dict[str, np.ndarray | Bag] = {}
        if table.singles:
            features[table.matrix] = _matrix(table, [in_table(self.columns[name], found[name]) for name in table.singles])
        for name in table.bags:
            features |= self.bag(table, name, found[name], cells)
        return features

    def bag(self, table: TableLayout, name: str, found: Bag, cells: Cells) -> dict[str, Bag]:
        """The features of one column of lists in a table: its ids there, and their weights if it has some."""
        ids = in_table(self.columns[name], found.flat)
        bags = {table.ids_of(name): Bag(ids.astype(table.dtype) + table.offsets[name], found.splits)}
        if name in table.weighted:
            bags[table.weights_of(name)] = element_weights(cells[name])
        return bags if ids is found.flat else {key: _kept(bag, ids >= 0) for key, bag in bags.items()}

    def _count(self, tally: Tally, found: Found) -> None:
        if not found.rows:
            return
        tally.rows += found.rows
        for name, ids in found.columns.items():
            fit = self.columns[name]
            if isinstance(fit, NumericFit):
                continue
            tally.span(name, ids)
            if isinstance(fit, VocabularyFit):
                tally.add(name, ids, fit.known)
            if tally.collisions is not None and isinstance(fit, (HashFit, CrossFit)):
                if name not in tally.collisions:
                    tally.collisions[name] = Collisions(fit.bins)
                if isinstance(fit, HashFit):
                    tally.collisions[name].add_distinct(*_hashed(fit, found.cells[name]))
                else:
                    tally.collisions[name].add(*_crossed(ids, found.crosses[name]))

    def rows(self, source: Any, tally: Tally | None = None, labelled: bool = True) -> Rows:
        """All rows of a table, encoded in memory, with their labels and weights unless `labelled` is False.

        Raises: DataError for missing columns and impossible labels or weights, as `stream` does, and if every weight is 0.
        """
        table = Table.of(source, self.schema)
        if labelled:
            require_weight(self.schema, table)
        return concatenate([rows for rows, _ in self.stream(table, tally, labelled)])

    def stream(self, table: Table, tally: Tally | None = None, labelled: bool = True,
               also: tuple[str, ...] = ()) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """Encoded batches of a table, each with its Arrow batch (which has the columns `also` too).

        Raises: DataError for missing columns and impossible labels or weights.
        """
        schema = self.schema
        roles = [schema.label.column, *([schema.weight] if schema.weight else [])] if labelled else []
        with closing(self._counted(table, tally, labelled, [*roles, *also])) as batches:
            for rows, batch, _ in batches:
                yield rows, batch

    def cells(self, table: Table, tally: Tally | None = None) -> Iterator[tuple[Rows, Found]]:
        """Encoded batches of a table, without labels, each with what it was made of. Raises: DataError as `stream` does."""
        with closing(self._counted(table, tally, False, [])) as batches:
            for rows, _, found in batches:
                yield rows, found

    def _counted(self, table: Table, tally: Tally | None, labelled: bool,
                 others: Sequence[str]) -> Generator[tuple[Rows, pa.RecordBatch, Found], None, None]:
        table.require([*self.schema.features, *others])
        with closing(ahead(self._encoded(table, labelled, others))) as batches:
            for rows, batch, found in batches:
                if tally is not None:
                    self._count(tally, found)
                yield rows, batch, found

    def _encoded(self, table: Table, labelled: bool, others: Sequence[str]) -> Iterator[tuple[Rows, pa.RecordBatch, Found]]:
        """Encoded batches, each with what a tally counts; counting is left to the thread that takes them."""
        schema, lexicons = self.schema, {name: Lexicon() for name in self.columns}
        with closing(_coded(schema, table, others)) as batches:
            for source_row, batch in batches:
                with table.named():
                    found = self._find(batch, source_row, lexicons)
                    labels = self.label.encode(batch.column(schema.label.column), source_row) if labelled else None
                    weighted = labelled and schema.weight
                    weights = row_weights(batch.column(schema.weight), schema.weight, source_row) if weighted else None
                yield Rows(self._features(found), labels, weights), batch, found

    def save(self, directory: Path) -> None:
        """Write `encoder.json`, and one Parquet file per vocabulary, into an existing directory."""
        columns = {}
        for index, (name, fit) in enumerate(_without_crosses(self.columns).items()):
            if isinstance(fit, VocabularyFit):
                vocabulary_files.write(fit.vocabulary, _vocabulary_file(directory, index))
            columns[name] = _plain(fit)
        text = json.dumps({"columns": columns, "label": asdict(self.label)}, indent=1, allow_nan=False)
        (Path(directory) / "encoder.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, schema: Schema) -> Encoder:
        """The encoder that `save` wrote. Raises: DataError for files that are damaged or belong to another schema."""
        try:
            saved = strict_json.read(Path(directory) / "encoder.json")
            label = LabelFit(**saved["label"])
            fits = {name: _load_fit(_vocabulary_file(directory, index), settings)
                    for index, (name, settings) in enumerate(saved["columns"].items())}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
            raise DataError(f"The encoder in {str(directory)!r} cannot be read: {type(error).__name__}: {error}. "
                            f"Train the model again.") from error
        _check_belongs(fits, label, schema, directory)
        return cls(schema, _with_crosses(schema, fits), label)

    @property
    def fingerprint(self) -> str:
        """sha256 of the schema and of everything fitted; equal encoders encode alike."""
        digest = hashlib.sha256(self.schema.fingerprint.encode())
        for name, fit in self.columns.items():
            digest.update(json.dumps([name, _plain(fit)]).encode())
            if isinstance(fit, VocabularyFit):
                digest.update(json.dumps(fit.vocabulary.to_pylist()).encode())
        digest.update(json.dumps(asdict(self.label)).encode())
        return digest.hexdigest()


FITS: dict[str, type] = {kind.__name__: kind for kind in (NumericFit, BucketFit, HashFit, VocabularyFit)}
FIT_OF: dict[type[Column], type] = {Numeric: NumericFit, Bucketized: BucketFit, Hashed: HashFit, Categorical: VocabularyFit}


def _buckets(prints: np.ndarray, fit: CrossFit) -> np.ndarray:
    ids = hashing.remainder(prints, fit.bins)
    ids += RESERVED
    return ids


def _matrix(table: TableLayout, columns: Sequence[np.ndarray]) -> np.ndarray:
    """The columns' own ids (rows,) beside each other, each moved to its place in the table; −1 stays."""
    matrix = np.empty((len(columns[0]), len(columns)), table.dtype)
    for place, (name, ids) in enumerate(zip(table.singles, columns)):
        np.add(ids.astype(table.dtype, copy=False), table.offsets[name], out=matrix[:, place])
        if table.dropping and ids.min(initial=0) < 0:
            matrix[ids < 0, place] = -1
    return matrix


def _kept(bag: Bag, kept: np.ndarray) -> Bag:
    """A bag without the elements for which `kept` (elements,) is false."""
    return Bag(bag.flat[kept], np.concatenate([[0], np.cumsum(kept)])[bag.splits])


def _hashed(fit: HashFit, values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Buckets and fingerprints of a hashed column's distinct values, and how often each comes; one that is ignored never."""
    buckets = values.once("buckets", lambda _: (distinct_ids(fit, values)[:-1].astype(np.int64) - RESERVED).clip(0))
    times = np.bincount(values.codes + 1, minlength=len(buckets) + 1)[1:]
    return buckets, prints_of(values), np.where(distinct_ids(fit, values)[:-1] == MISSING, 0, times) if fit.drops else times


def _crossed(ids: Ids, prints: Ids) -> tuple[np.ndarray, np.ndarray]:
    """Buckets and fingerprints of a cross, without those that were dropped."""
    if isinstance(ids, Bag):
        return ids.flat - RESERVED, prints.flat
    kept = slice(None) if ids.min() >= RESERVED else ids >= RESERVED
    return ids[kept] - RESERVED, prints[kept]


def _vocabulary_file(directory: Path, index: int) -> Path:
    return Path(directory) / f"vocabulary-{index}.parquet"


def _plain(fit: Fitted) -> dict[str, Any]:
    """A fitted column as plain values, all but its vocabulary."""
    return {"type": type(fit).__name__} | {f.name: getattr(fit, f.name) for f in fields(fit) if f.name != "vocabulary"}


def _load_fit(file: Path, settings: Mapping[str, Any]) -> Fitted:
    """The column that `_plain` wrote, its vocabulary from a file. Raises: many errors if it is damaged."""
    settings = dict(settings)
    if (name := settings.pop("type")) not in FITS:
        raise ValueError(f"a fitted column is one of {sorted(FITS)}, not {name!r:.80}: a widedeep of another age wrote it")
    kind = FITS[name]
    if kind is VocabularyFit:
        settings["vocabulary"] = vocabulary_files.read(file, CANONICAL[settings["kind"]])
    fit = build(kind, settings, "a widedeep of another age wrote what is unknown to this one")
    check_types(fit)
    return fit


def _check_belongs(fits: Mapping[str, Fitted], label: LabelFit, schema: Schema, directory: Path) -> None:
    """Raises: DataError unless the fits are those of the schema's columns."""
    columns = {name: column for name, column in schema.used.items() if not isinstance(column, Crossed)}
    if set(fits) != set(columns) or (label.column, label.kind) != (schema.label.column, schema.label.kind):
        raise DataError(f"The encoder in {str(directory)!r} must belong to the schema. Got the label {label.column!r} and the "
                        f"columns {sorted(fits)}; the schema has {schema.label.column!r} and uses {sorted(columns)}. "
                        f"Train the model again.")
    if not _is_sound(label):
        raise DataError(f"The encoder in {str(directory)!r} must have a label of two classes, or of a mean and a "
                        f"deviation above 0. Got {label}. Train the model again.")
    for name, column in columns.items():
        if not isinstance(fits[name], FIT_OF[type(column)]) or not _fits_declaration(fits[name], column):
            raise DataError(f"The encoder in {str(directory)!r} must belong to the schema. Got {_plain(fits[name])} for column "
                            f"{name!r}, declared as {column}. Train the model again.")


def _is_sound(label: LabelFit) -> bool:
    if label.kind == "regression":
        return label.deviation > 0
    return None not in (label.positive, label.negative) and label.positive != label.negative


def _fits_declaration(fit: Fitted, column: Column) -> bool:
    """Whether a fitted column of the right kind has the declared settings, and parts that go together."""
    if isinstance(fit, HashFit):
        return (fit.bins, fit.drops) == (column.bins, column.unseen == "drop") and fit.kind in CANONICAL
    if isinstance(fit, NumericFit):
        return fit.scale == column.scale and fit.divisor > 0 and fit.minimum <= fit.maximum and _are_knots(fit)
    if isinstance(fit, VocabularyFit):
        declared = column.unseen == "drop", column.oov_bins, column.default is None
        known = fit.default is None or RESERVED <= fit.default < fit.known
        return known and declared == (fit.drops, fit.oov_bins, fit.default is None)
    if isinstance(fit, BucketFit):
        return _rises(fit.boundaries) and (not column.boundaries or fit.boundaries == column.boundaries)
    return True


def _are_knots(fit: NumericFit) -> bool:
    """Whether a quantile map is one, and there where it is asked for."""
    if len(fit.knots) != 2 or len(fit.knots[0]) != len(fit.knots[1]):
        return False
    return bool(fit.knots[0]) == (fit.scale == "quantile") and _rises(fit.knots[0])


def _rises(numbers: Sequence[float]) -> bool:
    return all(low < high for low, high in zip(numbers, numbers[1:]))


def _without_crosses(fits: Mapping[str, Fitted]) -> dict[str, Fitted]:
    return {name: fit for name, fit in fits.items() if not isinstance(fit, CrossFit)}


def _with_crosses(schema: Schema, fits: Mapping[str, Fitted]) -> dict[str, Fitted]:
    """All used columns in declared order, crosses among them."""
    def fit(name: str) -> Fitted:
        column = schema.columns[name]
        if not isinstance(column, Crossed):
            return fits[name]
        return CrossFit(column.bins, any(getattr(fits[s], "multivalued", False) for s in column.sources))
    return {name: fit(name) for name in schema.used}


def _learn_together(schema: Schema, fitting: Mapping[str, Any]) -> None:
    """Let columns that share an embedding count values into one vocabulary, those of one table column once.

    Raises: DataError if they hold different kinds.
    """
    first: dict[str, IdAccumulator] = {}
    read: set[tuple] = set()
    for name, part in fitting.items():
        if not getattr(schema.columns[name], "shared", None):
            continue
        shared = first.setdefault(schema.columns[name].shared, part)
        if shared.kind != part.kind:
            raise DataError(f"Columns {shared.name!r} and {name!r} share an embedding, so they must hold values of one kind. "
                            f"Got {shared.kind} and {part.kind}. Set the dtype of both.")
        part.counts = shared.counts
        counted = part.column.shared, part.column.source or name, part.column.delimiter, part.multivalued
        part.learned &= counted not in read
        read.add(counted)


def _coded(schema: Schema, table: Table, others: Sequence[str]) -> Generator[tuple[SourceRow, pa.RecordBatch], None, None]:
    """The rows of the features and of other columns, read ahead; what is nothing but a feature may come as dictionaries."""
    return ahead(table.numbered([*schema.features, *others], coded=set(schema.features) - set(others)))


def _raw(schema: Schema, name: str, fit: Fitted | IdAccumulator, batch: pa.RecordBatch, source_row: SourceRow,
         lexicon: Lexicon | None) -> np.ndarray | Values:
    """A column's cells in canonical form."""
    column = schema.columns[name]
    source = column.source or name
    place, array = Place(source, source_row), batch.column(source)
    if isinstance(column, (Numeric, Bucketized)):
        found = numbers(array, place, missing=schema.missing)
        return defaulted(column, found)
    if fit.multivalued and pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.null()))
    if fit.multivalued != is_multivalued(column, array.type):
        shapes = ("lists", "single values") if fit.multivalued else ("single values", "lists")
        raise DataError(f"Column {source!r}: it held {shapes[0]} in training. Got {shapes[1]}, {array.type}. "
                        f"Give it in its old shape, or train the model again.")
    weights = batch.column(column.weights) if column.weights else None
    return categories(array, fit.kind, place, missing=schema.missing, delimiter=column.delimiter, weights=weights,
                      lexicon=lexicon)


def defaulted(column: Numeric | Bucketized, found: np.ndarray) -> np.ndarray:
    """A column's numbers float64 (n,), missing ones as its default if it has one."""
    return found if column.default is None else np.where(np.isnan(found), column.default, found)


def row_weights(array: pa.Array, name: str, source_row: SourceRow) -> np.ndarray:
    """Row weights as float32 (n,). Raises: DataError naming the first row that is not a number of at least 0.

    >>> row_weights(pa.array([1, 0.5]), "w", 0)
    array([1. , 0.5], dtype=float32)
    """
    weights = numbers(array, Place(name, source_row))
    if (bad := np.flatnonzero(~((weights >= 0) & (weights <= LARGEST)))).size:
        raise DataError(f"Weight {name!r}: a weight is a finite number of at least 0. Got {weights[bad[0]]} in row "
                        f"{source_row(int(bad[0]))}. Correct it, or leave the weight out of the schema.")
    return weights.astype(np.float32)


def require_weight(schema: Schema, table: Table) -> None:
    """Check that some row has a weight, if rows have weights at all. Raises: DataError if every one is 0."""
    if schema.weight is None:
        return
    with table.named():
        for source_row, batch in table.numbered([schema.weight]):
            if row_weights(batch.column(0), schema.weight, source_row).any():
                return
    raise DataError(f"{table.name}: Weight {schema.weight!r}: some row must have a weight above 0. Got 0 in all "
                    f"{table.num_rows:,} rows. Correct the weights, or leave the weight out of the schema.")


def warn_of_training(encoder: Encoder, tally: Tally) -> None:
    """Warn, naming the column, of what is legal in training rows but rarely meant: constants and crowded buckets."""
    for name in encoder.tower_columns:
        if _constant(encoder.columns[name], tally.spans.get(name)):
            warnings.warn(f"Column {name!r} never varies in the training rows, so nothing can be learned from it. "
                          f"Take it out of the schema.", WidedeepWarning, stacklevel=3)
    for name, collisions in (tally.collisions or {}).items():
        if collisions.share > CROWDED:
            warnings.warn(f"Column {name!r}: {collisions.share:.0%} of its training values share one of "
                          f"{collisions.bins} buckets with a different value. Give it more bins.",
                          WidedeepWarning, stacklevel=3)


def _constant(fit: Fitted, span: tuple[int, int] | None) -> bool:
    """Whether a column had one value in all training rows, or one id."""
    if isinstance(fit, NumericFit):
        return fit.minimum == fit.maximum and not fit.flag
    return span is not None and span[0] == span[1]


def warn_of_unseen(tally: Tally, trained: Mapping[str, float]) -> None:
    """Warn of columns all of whose values are unseen, as a renamed or recoded column would be."""
    for name, share in tally.unseen_shares().items():
        if share == 1:
            warnings.warn(f"Column {name!r}: none of its {tally.cells[name]} values was seen in training (there the share of "
                          f"unseen values was {trained.get(name, 0):.1%}). Was it renamed or recoded?",
                          WidedeepWarning, stacklevel=3)
