"""Raw table columns in one canonical form, whatever their Arrow type: numbers, or distinct values and codes into them.

Everything that reads a cell goes through here, so that text, dictionaries, integers, booleans, lists and missing markers
mean the same to every column kind. NaN and null are missing; null elements of a list are left out; booleans are the
texts "true" and "false".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from widedeep.columns import Categorical, Hashed
from widedeep.errors import DataError

CANONICAL = {"string": pa.large_string(), "bool": pa.large_string(), "int": pa.int64(), "float": pa.float64()}


@dataclass(frozen=True)
class Place:
    """Where a batch comes from, for messages: the table column and the number of its first row."""

    column: str
    first_row: int = 0


@dataclass(frozen=True)
class Values:
    """One id column of a batch: `codes` index `distinct`; −1 is missing.

    Single-valued: codes (rows,), `splits` None. Lists: codes of all elements, row r has codes[splits[r]:splits[r+1]] and
    `null` (rows,) marks the rows whose list is missing; `weights`, where declared, has one number per element.
    """

    distinct: pa.Array
    codes: np.ndarray
    splits: np.ndarray | None = None
    null: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes) if self.splits is None else len(self.splits) - 1

    def present(self) -> pa.DictionaryArray:
        """The values that are not missing, as an Arrow dictionary array: what a vocabulary counts."""
        return pa.DictionaryArray.from_arrays(pa.array(self.codes[self.codes >= 0]), self.distinct)


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a list of any sort.

    >>> is_list(pa.list_(pa.string())), is_list(pa.string())
    (True, False)
    """
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list,
                                       pa.types.is_list_view, pa.types.is_large_list_view))


def element_type(kind: pa.DataType) -> pa.DataType:
    """The type of one value: of a list its elements', of a dictionary its values'.

    >>> element_type(pa.list_(pa.dictionary(pa.int32(), pa.string())))
    DataType(string)
    """
    if is_list(kind) or pa.types.is_dictionary(kind):
        return element_type(kind.value_type)
    return kind


def kind_of(column: Categorical | Hashed, kind: pa.DataType, name: str) -> str:
    """The canonical kind (string, int, float, bool) of an id column, from its settings or else from its table type.

    Raises: DataError for types that cannot be ids (timestamps, binary, decimals …), with the remedy.
    """
    if column.dtype:
        return column.dtype
    if vocabulary := getattr(column, "vocabulary", ()):
        return {str: "string", bool: "bool", int: "int", float: "float"}[type(vocabulary[0])]
    return _kind_of_type(element_type(kind), name)


def _kind_of_type(kind: pa.DataType, name: str) -> str:
    tests = {"bool": pa.types.is_boolean, "int": pa.types.is_integer, "float": pa.types.is_floating,
             "string": lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t) or pa.types.is_null(t)}
    for canonical, test in tests.items():
        if test(kind):
            return canonical
    raise DataError(f"Column {name!r}: a feature is text, an integer, a boolean, a float, or a list of these. Got {kind}. " + _remedy(kind))


def _remedy(kind: pa.DataType) -> str:
    if pa.types.is_temporal(kind):
        return ("Declare it as `time` at the top of the schema, or make features of it first (hour, weekday, days since …) "
                "as integer columns.")
    if pa.types.is_decimal(kind):
        return "Cast it to float64 first."
    return "Turn it into text or numbers first."


def numbers(array: pa.Array, place: Place, *, missing: tuple[str, ...] = ()) -> np.ndarray:
    """A numeric column as float64 (rows,), NaN where missing; text equal to one of `missing` is missing.

    Raises: DataError for lists and timestamps, and for text that is no number (first such value and its row).

    >>> numbers(pa.array(["1.5", None]), Place("price"))
    array([1.5, nan])
    """
    if is_list(array.type):
        raise DataError(f"Column {place.column!r}: a numeric column has one number per row. Got {array.type}. "
                        f"Declare it as categorical or hashed, or reduce each list to one number first.")
    flat = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    kind = _kind_of_type(flat.type, place.column)
    if kind == "bool":
        flat = flat.cast(pa.int8())
    if kind == "string" and missing:
        flat = pc.if_else(pc.is_in(flat, pa.array(missing, flat.type)), pa.scalar(None, flat.type), flat)
    return np.asarray(_cast(flat, pa.float64(), place).to_numpy(zero_copy_only=False), np.float64) + 0.0


def categories(array: pa.Array, kind: str, place: Place, *, missing: tuple[str, ...] = (), delimiter: str | None = None,
               weights: pa.Array | None = None) -> Values:
    """An id column in canonical form; text equal to one of `missing` is missing.

    Raises: DataError for values that are not of `kind` (first such value and its row), and for weights that do not match.

    >>> values = categories(pa.array(["a", "?", "a", None]), "string", Place("job"), missing=("?",))
    >>> values.codes
    array([ 0, -1,  0, -1], dtype=int32)
    """
    if delimiter is not None and not is_list(array.type):
        array = _split_text(array, delimiter, place)
    if not is_list(array.type):
        if weights is not None:
            raise DataError(f"Column {place.column!r}: weights belong to a column of lists. Got {array.type}.")
        return Values(*_encode(array, kind, place, missing))
    null = np.asarray(array.is_null())
    splits = _splits(array)
    distinct, codes = _encode(array.flatten(), kind, place, missing, splits)
    values = Values(distinct, codes, splits, null, _element_weights(weights, splits, place))
    return _without_missing(values)


def _split_text(array: pa.Array, delimiter: str, place: Place) -> pa.Array:
    """Text cells as lists; an empty cell is an empty list."""
    text = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    if _kind_of_type(text.type, place.column) != "string":
        raise DataError(f"Column {place.column!r}: a delimiter splits text. Got {array.type}. Leave the delimiter out.")
    parts = pc.split_pattern(text.cast(pa.large_string()), delimiter)
    blank = pc.fill_null(pc.equal(text, ""), False)
    return pc.if_else(blank, pa.scalar([], parts.type), parts)


def _splits(array: pa.Array) -> np.ndarray:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
    return np.concatenate([[0], np.cumsum(lengths)])


def _encode(array: pa.Array, kind: str, place: Place, missing: tuple[str, ...], splits: np.ndarray | None = None) -> tuple[pa.Array, np.ndarray]:
    """Distinct values of the canonical kind, and each cell's code; −1 where null, NaN or a missing marker."""
    _kind_of_type(element_type(array.type), place.column)
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    raw, codes = encoded.dictionary, np.asarray(pc.fill_null(encoded.indices.cast(pa.int32()), -1))
    gone = np.asarray(raw.is_null())
    if missing and _kind_of_type(raw.type, place.column) == "string":
        gone = gone | np.asarray(pc.is_in(raw, pa.array(missing, raw.type)))
    if pa.types.is_floating(raw.type):
        gone = gone | np.asarray(pc.fill_null(pc.is_nan(raw), True))
    if gone.any():
        kept = np.cumsum(~gone) - 1
        codes = np.where((codes >= 0) & ~gone[codes], kept[codes], -1).astype(np.int32) if len(gone) else codes
        raw = raw.filter(pa.array(~gone))
    try:
        return _canonical(raw, kind), codes
    except (pa.ArrowInvalid, OverflowError):
        raise _misfit(raw, codes, kind, place, splits) from None


def _canonical(raw: pa.Array, kind: str) -> pa.Array:
    """Non-null distinct values cast to the canonical kind. Raises: pa.ArrowInvalid where one does not fit."""
    if kind in ("string", "bool") and pa.types.is_floating(raw.type):
        raw = raw.cast(pa.int64())
    if kind == "bool" and pa.types.is_integer(raw.type):
        raw = raw.cast(pa.bool_())
    if kind in ("int", "float") and pa.types.is_boolean(raw.type):
        raw = raw.cast(pa.int8())
    cast = raw.cast(CANONICAL[kind])
    return pa.array(np.asarray(cast) + 0.0) if kind == "float" else cast


def _misfit(raw: pa.Array, codes: np.ndarray, kind: str, place: Place, splits: np.ndarray | None) -> DataError:
    """The error for the first cell whose value does not fit the kind."""
    wrong = np.array([not _fits(raw.slice(i, 1), kind) for i in range(len(raw))])
    cell = int(np.flatnonzero((codes >= 0) & wrong[codes])[0])
    row = cell if splits is None else int(np.searchsorted(splits, cell, side="right")) - 1
    return DataError(f"Column {place.column!r}: values must be of kind {kind}. Got {raw[int(codes[cell])].as_py()!r} in row "
                     f"{place.first_row + row}. Correct the value, or set the column's dtype.")


def _fits(value: pa.Array, kind: str) -> bool:
    try:
        _canonical(value, kind)
    except (pa.ArrowInvalid, OverflowError):
        return False
    return True


def _element_weights(weights: pa.Array | None, splits: np.ndarray, place: Place) -> np.ndarray | None:
    if weights is None:
        return None
    if pa.types.is_string(element_type(weights.type)) or not is_list(weights.type):
        raise DataError(f"Column {place.column!r}: its weights must be lists of numbers. Got {weights.type}.")
    theirs = _splits(weights)
    if (differ := np.flatnonzero(np.diff(theirs) != np.diff(splits))).size:
        row = int(differ[0])
        raise DataError(f"Column {place.column!r}: one weight per list element. Got {splits[row + 1] - splits[row]} elements and "
                        f"{theirs[row + 1] - theirs[row]} weights in row {place.first_row + row}.")
    flat = np.asarray(weights.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False), np.float32)
    if (bad := np.flatnonzero(~np.isfinite(flat))).size:
        row = int(np.searchsorted(splits, bad[0], side="right")) - 1
        raise DataError(f"Column {place.column!r}: weights are finite numbers. Got {flat[bad[0]]} in row {place.first_row + row}.")
    return flat


def _without_missing(values: Values) -> Values:
    """Lists without their missing elements."""
    keep = values.codes >= 0
    if keep.all():
        return values
    before = np.concatenate([[0], np.cumsum(keep)])
    return replace(values, codes=values.codes[keep], splits=before[values.splits],
                   weights=None if values.weights is None else values.weights[keep])


def _cast(array: pa.Array, kind: pa.DataType, place: Place) -> pa.Array:
    try:
        return array.cast(kind)
    except pa.ArrowInvalid:
        for row in range(len(array)):
            try:
                array.slice(row, 1).cast(kind)
            except pa.ArrowInvalid:
                raise DataError(f"Column {place.column!r}: a numeric column holds numbers. Got {array[row].as_py()!r} in row "
                                f"{place.first_row + row}. Correct the value, list it under `missing`, or declare the column "
                                f"categorical.") from None
        raise
