"""What a feature is. Frozen values that know nothing of TensorFlow, of tables, or of each other.

A column emits *ids* (`Categorical`, `Hashed`, `Bucketized`, `Crossed`) or *values* (`Numeric`). What becomes of them is
the tower's business: one weight per id in the wide tower, one embedding per id in the deep one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import singledispatch
from typing import Any, Union

from widedeep.errors import SchemaError, did_you_mean, unknown_names

SCALES = ("standard", "quantile", "log", "none")
COMBINERS = ("sum", "mean", "sqrtn")
DTYPES = ("string", "int", "float", "bool")

MISSING, UNSEEN, EMPTY = 0, 1, 2
RESERVED = 3
"""Ids 0, 1 and 2 of every id column are missing, unseen and empty list; the first value has id 3."""


def _choose(column: str, field: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SchemaError(f"{column}: {field} must be one of {list(allowed)}. Got {value!r}.{did_you_mean(value, allowed)}")


def _at_least(column: str, field: str, value: Any, low: int) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
        raise SchemaError(f"{column}: {field} must be a whole number of at least {low}. Got {value!r}.")


@dataclass(frozen=True)
class Numeric:
    """A number, scaled; a missing one becomes the mean of the training rows, beside a flag that says so.

    `scale`: `standard` (mean 0, deviation 1), `quantile` (the share of training rows below, in [0, 1], as in Cheng et al.
    2016), `log` (sign · log(1 + |x|), then standard), `none`. Infinite values count as the largest or smallest finite
    value of the training rows.

    >>> Numeric(scale="quantile")
    Numeric(source='', scale='quantile')
    """

    source: str = ""
    scale: str = "standard"

    def __post_init__(self) -> None:
        _choose("Numeric", "scale", self.scale, SCALES)


@dataclass(frozen=True)
class Bucketized:
    """A number cut into buckets: id = how many boundaries are ≤ the number.

    Give the `boundaries` (ascending), or a number of `quantiles` of the training rows; exactly one of the two.

    >>> Bucketized("age", boundaries=(18, 25, 65))
    Bucketized(source='age', boundaries=(18.0, 25.0, 65.0), quantiles=None, width=None)
    """

    source: str = ""
    boundaries: tuple[float, ...] = ()
    quantiles: int | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", tuple(float(b) for b in self.boundaries))
        if bool(self.boundaries) == (self.quantiles is not None):
            raise SchemaError(f"Bucketized: give boundaries or quantiles, exactly one of them. "
                              f"Got boundaries={self.boundaries}, quantiles={self.quantiles}.")
        if not all(a < b for a, b in zip(self.boundaries, self.boundaries[1:])):
            raise SchemaError(f"Bucketized: boundaries must ascend and be numbers. Got {self.boundaries}.")
        if not all(math.isfinite(b) for b in self.boundaries):
            raise SchemaError(f"Bucketized: boundaries must be finite. Got {self.boundaries}.")
        _at_least("Bucketized", "quantiles", self.quantiles, 2)
        _at_least("Bucketized", "width", self.width, 1)


@dataclass(frozen=True)
class Categorical:
    """A value out of a vocabulary, learned on the training rows (most frequent first) or given.

    `min_count` and `max_size` bound a learned vocabulary; `dtype` says how text in a CSV file is to be read;
    `delimiter` splits text into a list; `weights` names a table column of one number per list element;
    `width` asks for an embedding width of its own; `combiner` joins the embeddings of a list (sum, mean, sqrtn).
    `pretrained` is a Parquet file with columns `value` and `vector`: its values are the vocabulary, its vectors the
    initial embeddings, held still unless `trainable`.

    >>> Categorical(min_count=2).combiner
    'mean'
    """

    source: str = ""
    vocabulary: tuple[str | int | float | bool, ...] = ()
    min_count: int = 1
    max_size: int | None = None
    dtype: str | None = None
    delimiter: str | None = None
    weights: str | None = None
    width: int | None = None
    combiner: str = "mean"
    pretrained: str | None = None
    trainable: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        _check_ids(self)
        _at_least("Categorical", "min_count", self.min_count, 1)
        _at_least("Categorical", "max_size", self.max_size, 1)
        if len(set(self.vocabulary)) < len(self.vocabulary):
            twice = next(v for v in self.vocabulary if self.vocabulary.count(v) > 1)
            raise SchemaError(f"Categorical: a vocabulary holds each value once. Got {twice!r} more than once.")
        if len({type(v) for v in self.vocabulary}) > 1:
            raise SchemaError(f"Categorical: a vocabulary holds values of one type. Got {self.vocabulary[:6]}.")
        if self.vocabulary and self.pretrained:
            raise SchemaError("Categorical: the pretrained file is the vocabulary. Leave out `vocabulary` or `pretrained`.")
        if self.pretrained and self.width:
            raise SchemaError("Categorical: the pretrained vectors have their own width. Leave out `width`.")
        if not self.trainable and not self.pretrained:
            raise SchemaError("Categorical: trainable = false is for pretrained vectors. Give `pretrained`, or leave it out.")


@dataclass(frozen=True)
class Hashed:
    """A value hashed into `bins` ids: no vocabulary to keep, at the price of collisions.

    The id is 3 + `tf.strings.to_hash_bucket_fast(tf.strings.as_string(value), bins)`.

    >>> Hashed("user", bins=1000).bins
    1000
    """

    source: str = ""
    bins: int = 0
    dtype: str | None = None
    delimiter: str | None = None
    weights: str | None = None
    width: int | None = None
    combiner: str = "mean"

    def __post_init__(self) -> None:
        _check_ids(self)
        if not self.bins:
            raise SchemaError("Hashed: bins, the number of ids, must be given.")
        _at_least("Hashed", "bins", self.bins, 1)


@dataclass(frozen=True)
class Crossed:
    """Joint value of several columns, hashed into `bins` ids: what the wide tower memorises.

    `sources` are names of `Categorical`, `Hashed` or `Bucketized` columns of the same schema, two or more, single- or
    multi-valued (every combination of list elements is a cross). A missing part drops the cross. The id is 3 + the bucket
    that `tf.sparse.cross_hashed` gives for the raw values (for bucketized columns: the bucket).

    >>> Crossed(("education", "occupation"), bins=1000).sources
    ('education', 'occupation')
    """

    sources: tuple[str, ...]
    bins: int = 0
    width: int | None = None
    combiner: str = "mean"

    def __post_init__(self) -> None:
        if isinstance(self.sources, str):
            raise SchemaError(f"Crossed: sources is a list of column names. Got the text {self.sources!r}.")
        object.__setattr__(self, "sources", tuple(self.sources))
        if len(self.sources) < 2 or len(set(self.sources)) < len(self.sources):
            raise SchemaError(f"Crossed: needs two or more different columns. Got {self.sources}.")
        if not self.bins:
            raise SchemaError(f"Crossed{self.sources}: bins, the number of ids, must be given.")
        _at_least("Crossed", "bins", self.bins, 1)
        _at_least("Crossed", "width", self.width, 1)
        _choose("Crossed", "combiner", self.combiner, COMBINERS)


def _check_ids(column: Categorical | Hashed) -> None:
    name = type(column).__name__
    _choose(name, "combiner", column.combiner, COMBINERS)
    _at_least(name, "width", column.width, 1)
    if column.dtype is not None:
        _choose(name, "dtype", column.dtype, DTYPES)
    if column.delimiter == "":
        raise SchemaError(f"{name}: a delimiter is at least one character.")


Column = Union[Numeric, Bucketized, Categorical, Hashed, Crossed]
KINDS: dict[str, type] = {"numeric": Numeric, "bucketized": Bucketized, "categorical": Categorical,
                          "hashed": Hashed, "crossed": Crossed}


@singledispatch
def table_columns(column: Column, name: str) -> tuple[str, ...]:
    """The columns of the table that a column called `name` reads; a cross reads none, its sources do.

    >>> table_columns(Numeric(), "age"), table_columns(Categorical("tags", weights="w"), "tag")
    (('age',), ('tags', 'w'))
    """
    return (column.source or name,)


@table_columns.register
def _(column: Crossed, name: str) -> tuple[str, ...]:
    return ()


@table_columns.register(Categorical)
@table_columns.register(Hashed)
def _(column: Categorical | Hashed, name: str) -> tuple[str, ...]:
    source = column.source or name
    return (source, column.weights) if column.weights else (source,)


def to_dict(column: Column) -> dict[str, Any]:
    """A column as plain values for TOML: its kind and the settings that differ from the defaults.

    >>> to_dict(Hashed("user", bins=10))
    {'kind': 'hashed', 'source': 'user', 'bins': 10}
    """
    kind = next(k for k, t in KINDS.items() if t is type(column))
    given = {f.name: getattr(column, f.name) for f in fields(column) if getattr(column, f.name) != f.default}
    return {"kind": kind} | {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}


def from_dict(name: str, settings: dict[str, Any]) -> Column:
    """The column that `to_dict` wrote; unknown kinds and settings are errors that name the column.

    >>> from_dict("user", {"kind": "hashed", "bins": 10})
    Hashed(source='', bins=10, dtype=None, delimiter=None, weights=None, width=None, combiner='mean')
    """
    if not isinstance(settings, dict) or "kind" not in settings:
        raise SchemaError(f"Column {name!r}: needs a kind, one of {sorted(KINDS)}. Got {settings!r}.")
    kind, settings = settings["kind"], {k: v for k, v in settings.items() if k != "kind"}
    if kind not in KINDS:
        raise SchemaError(f"Column {name!r}: kind must be one of {sorted(KINDS)}. Got {kind!r}.{did_you_mean(kind, KINDS)}")
    known = {f.name for f in fields(KINDS[kind])}
    if extra := [key for key in settings if key not in known]:
        raise SchemaError(unknown_names(f"Column {name!r}: unknown settings of kind {kind!r}", extra, known))
    if kind == "crossed" and "sources" not in settings:
        raise SchemaError(f"Column {name!r}: a cross needs sources, a list of column names.")
    try:
        return KINDS[kind](**settings)
    except (SchemaError, TypeError, ValueError) as error:
        raise SchemaError(f"Column {name!r}: {error}") from error
