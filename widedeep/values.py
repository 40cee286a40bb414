"""Raw table columns in one canonical form, whatever their Arrow type: numbers, or distinct values and codes into them.

Everything that reads a cell goes through here, so that text, dictionaries, integers, booleans, lists and missing markers
mean the same to every column kind. NaN and null are missing; null elements of a list are left out; booleans are the
texts "true" and "false". Text becomes what the column holds: in a column of booleans "True" and "TRUE" are true, in one of
floats "4" and "4.0" are 4. A column of text takes them for different values, unless its `dtype` says what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from widedeep.columns import DTYPE_OF, Categorical, Hashed
from widedeep.errors import DataError

LARGEST = float(np.finfo(np.float32).max)
"""Weights and scaled numbers become float32: nothing beyond this is finite there."""

CANONICAL = {"string": pa.large_string(), "bool": pa.large_string(), "int": pa.int64(), "float": pa.float64()}
"""The Arrow type of each canonical kind."""


SourceRow = Callable[[int], int]
"""From a row of a batch to the row of the table it came from, for messages; `int` where the batch is all there is."""


@dataclass(frozen=True)
class Place:
    """Where a batch comes from, for messages: the table column, and which of its rows."""

    column: str
    source_row: SourceRow = int


@dataclass(frozen=True)
class Values:
    """One id column of a batch: `codes` index `distinct`; −1 is missing.

    Single-valued: codes (rows,), `splits` None. Lists: codes of all elements, row r has codes[splits[r]:splits[r+1]] and
    `null` (rows,) marks the rows whose list is missing; `weights`, where declared, has one number per element. `known` is what
    was derived from `distinct`; batches that share the distinct values share it.
    """

    distinct: pa.Array
    codes: np.ndarray
    splits: np.ndarray | None = None
    null: np.ndarray | None = None
    weights: np.ndarray | None = None
    known: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.codes) if self.splits is None else len(self.splits) - 1

    def once(self, what: str, derive: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
        """What follows from the distinct values alone, by name: derived for the first batch that has them.

        >>> Values(pa.array([1, 2]), np.array([1, 0])).once("doubled", lambda distinct: 2 * np.asarray(distinct))
        array([2, 4])
        """
        if what not in self.known:
            self.known[what] = derive(self.distinct)
        return self.known[what]

    def present(self) -> pa.DictionaryArray:
        """The values that are not missing, as an Arrow dictionary array: what a vocabulary counts.

        >>> Values(pa.array(["a", "b"]), np.array([1, -1, 0, 1])).present().to_pylist()
        ['b', 'a', 'b']
        """
        return pa.DictionaryArray.from_arrays(pa.array(self.codes[self.codes >= 0]), self.distinct)


class Lexicon:
    """The dictionary that a column had last, in canonical form: batches that share a dictionary have it mapped once.

    Batches of one Parquet row group do. Dictionaries are compared by what they hold, not by where they lie.
    """

    def __init__(self) -> None:
        self._raw: pa.Array | None = None
        self._distinct, self._codes = pa.nulls(0), np.zeros(0, np.intp)
        self._known: dict[str, np.ndarray] = {}

    def values(self, encoded: pa.DictionaryArray, kind: str, missing: tuple[str, ...]) -> Values:
        """Single values by their whole dictionary. Raises: pa.ArrowInvalid or OverflowError if an entry is not of `kind`."""
        if self._raw is None or not self._raw.equals(encoded.dictionary):
            raw = decoded(encoded.dictionary)
            places = np.append(np.arange(len(raw)), -1)
            self._distinct, self._codes = _fitting(*_without(raw, places, _absent(raw, missing)), kind)
            self._raw, self._known = encoded.dictionary, {}
        codes = _codes(encoded)
        unmoved = len(self._distinct) == len(self._raw)
        return Values(self._distinct, codes if unmoved else self._codes[codes], known=self._known)


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
    kind = kind.value_type if is_list(kind) else kind
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def kind_of(column: Categorical | Hashed, kind: pa.DataType, name: str) -> str:
    """The canonical kind (string, int, float, bool) of an id column, from its settings or else from its table type.

    Raises: DataError for types that cannot be ids (timestamps, binary, decimals …), with the remedy.

    >>> kind_of(Categorical(), pa.list_(pa.int8()), "n"), kind_of(Categorical(dtype="string"), pa.int8(), "n")
    ('int', 'string')
    """
    if column.dtype:
        return column.dtype
    if getattr(column, "integers", None):
        return "int"
    if vocabulary := getattr(column, "vocabulary", ()):
        return DTYPE_OF[type(vocabulary[0])]
    return kind_of_type(element_type(kind), name)


def kind_of_type(kind: pa.DataType, name: str) -> str:
    """The canonical kind of single values of an Arrow type; of nulls it is text.

    Raises: DataError naming the column, with the remedy, for types that are no feature.

    >>> kind_of_type(pa.uint8(), "age"), kind_of_type(pa.null(), "age")
    ('int', 'string')
    """
    tests = {"bool": pa.types.is_boolean, "int": pa.types.is_integer, "float": pa.types.is_floating,
             "string": lambda t: is_text(t) or pa.types.is_null(t)}
    for canonical, test in tests.items():
        if test(kind):
            return canonical
    raise DataError(f"Column {name!r}: a feature is text, an integer, a boolean, a float, or a list of these. Got {kind}. "
                    + _remedy(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is of whole or decimal numbers.

    >>> is_number(pa.int8()), is_number(pa.float32()), is_number(pa.bool_())
    (True, True, False)
    """
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is text of any sort.

    >>> is_text(pa.large_string()), is_text(pa.binary())
    (True, False)
    """
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


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
    return _floats(_unmarked(decoded(array), missing), place)


def categories(array: pa.Array, kind: str, place: Place, *, missing: tuple[str, ...] = (), delimiter: str | None = None,
               weights: pa.Array | None = None, lexicon: Lexicon | None = None) -> Values:
    """An id column (rows,) in canonical form; text equal to one of `missing` is missing.

    A `delimiter` splits cells of text into lists, and those of `weights`; a cell without text is an empty list. Single values
    with a weight each are lists of one. The distinct values are those that occur; with a `lexicon`, which is the column's own,
    they may be all of a dictionary.
    Raises: DataError for values that are not of `kind` (first such value and its row), and for weights that do not match.

    >>> values = categories(pa.array(["a", "?", "a", None]), "string", Place("job"), missing=("?",))
    >>> values.codes
    array([ 0, -1,  0, -1])
    >>> categories(pa.array([[1, 2], [], [None, 2]]), "int", Place("shop")).splits
    array([0, 2, 2, 3])
    """
    if delimiter is not None and not is_list(array.type):
        array = _split_text(array, delimiter, place, missing)
        if weights is not None and is_text(element_type(weights.type)) and not is_list(weights.type):
            weights = _split_text(weights, delimiter, place, missing)
    if not is_list(array.type):
        if weights is None:
            return _encode(array, kind, place, missing, lexicon)
        if is_list(weights.type):
            raise DataError(f"Column {place.column!r}: lists of weights belong to a column of lists. Got {array.type}. "
                            f"Give one weight per value, leave the weights out, or give a delimiter.")
        array, weights = (_lists_of_one(part, array.is_null()) for part in (array, weights))
    splits = _splits(array)
    values = _encode(array.flatten(), kind, place, missing, lexicon, splits)
    return _without_missing(replace(values, splits=splits, null=np.asarray(array.is_null()),
                                    weights=_element_weights(weights, splits, place)))


def decoded(array: pa.Array) -> pa.Array:
    """Single values (n,) without a dictionary; views of text, and nulls, as ordinary text: Arrow lacks functions for them.

    >>> decoded(pa.array(["a", None]).dictionary_encode()).to_pylist(), decoded(pa.nulls(1)).type
    (['a', None], DataType(large_string))
    """
    if pa.types.is_dictionary(array.type):
        return pa.DictionaryArray.from_arrays(array.indices, decoded(array.dictionary)).dictionary_decode()
    return array.cast(pa.large_string()) if pa.types.is_null(array.type) or pa.types.is_string_view(array.type) else array


def _unmarked(array: pa.Array, missing: tuple[str, ...]) -> pa.Array:
    """Cells, null where their text is a missing marker."""
    if not missing or not is_text(array.type):
        return array
    return pc.if_else(pc.is_in(array, pa.array(missing, array.type)), pa.scalar(None, array.type), array)


def _split_text(array: pa.Array, delimiter: str, place: Place, missing: tuple[str, ...]) -> pa.Array:
    """Text cells as lists; an empty cell is an empty list, a missing marker a missing one."""
    text = decoded(array)
    if not is_text(text.type):
        raise DataError(f"Column {place.column!r}: a delimiter splits text. Got {array.type}. Leave the delimiter out.")
    text = _unmarked(text, missing)
    parts = pc.split_pattern(text.cast(pa.large_string()), delimiter)
    return pc.if_else(pc.fill_null(pc.equal(text, ""), False), pa.scalar([], parts.type), parts)


def _lists_of_one(array: pa.Array, null: pa.Array) -> pa.Array:
    """Single values (rows,) as lists; a list is missing where `null` (rows,) says so."""
    there = ~np.asarray(null)
    splits = pa.array(np.concatenate([[0], np.cumsum(there)]))
    return pa.LargeListArray.from_arrays(splits, array.filter(pa.array(there)), mask=null)


def _splits(array: pa.Array) -> np.ndarray:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
    return np.concatenate([[0], np.cumsum(lengths)])


def _encode(array: pa.Array, kind: str, place: Place, missing: tuple[str, ...], lexicon: Lexicon | None,
            splits: np.ndarray | None = None) -> Values:
    """Single values of the canonical kind; null, NaN and missing markers have the code −1."""
    is_dictionary = pa.types.is_dictionary(array.type)
    kind_of_type(array.type.value_type if is_dictionary else array.type, place.column)
    encoded = array if is_dictionary else array.dictionary_encode()
    if lexicon is not None:
        with suppress(pa.ArrowInvalid, OverflowError):
            return lexicon.values(encoded, kind, missing)
    raw, codes = decoded(encoded.dictionary), _codes(encoded)
    idle = np.ones(len(raw) + 1, bool)
    idle[codes] = False
    raw, codes = _without(raw, codes, idle[:-1] | _absent(raw, missing))
    try:
        return Values(*_fitting(raw, codes, kind))
    except (pa.ArrowInvalid, OverflowError):
        raise _misfit(raw, codes, kind, place, splits) from None


def _codes(encoded: pa.DictionaryArray) -> np.ndarray:
    """A dictionary array's indices, −1 for null: intp (n,)."""
    codes = encoded.indices.cast(pa.int64())
    return np.asarray(codes.fill_null(-1) if codes.null_count else codes).astype(np.intp, copy=False)


def _fitting(raw: pa.Array, codes: np.ndarray, kind: str) -> tuple[pa.Array, np.ndarray]:
    """Distinct values that are there in the canonical kind, and the codes into them; text may turn out to be a NaN."""
    values = _canonical(raw, kind)
    return _without(values, codes, _absent(values, ()))


def _absent(values: pa.Array, missing: tuple[str, ...]) -> np.ndarray:
    """Which distinct values stand for no value: bool (n,)."""
    gone = np.asarray(values.is_null(nan_is_null=True))
    return gone | np.asarray(pc.is_in(values, pa.array(missing, values.type))) if missing and is_text(values.type) else gone


def _without(values: pa.Array, codes: np.ndarray, gone: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Distinct values without some, and the codes into what is left; −1 for those that are gone."""
    if not gone.any():
        return values, codes
    kept = np.append(np.where(gone, -1, np.cumsum(~gone) - 1), -1)
    return values.filter(pa.array(~gone)), kept[codes]


def _canonical(raw: pa.Array, kind: str) -> pa.Array:
    """Non-null distinct values cast to the canonical kind. Raises: pa.ArrowInvalid where one does not fit."""
    if kind in ("string", "bool") and pa.types.is_floating(raw.type):
        raw = raw.cast(pa.int64())
    if kind == "bool":
        raw = raw.cast(pa.bool_())
    if kind in ("int", "float") and pa.types.is_boolean(raw.type):
        raw = raw.cast(pa.int8())
    cast = raw.cast(CANONICAL[kind])
    return pa.array(np.asarray(cast) + 0.0) if kind == "float" else cast


def _misfit(raw: pa.Array, codes: np.ndarray, kind: str, place: Place, splits: np.ndarray | None) -> DataError:
    """The error for the first cell whose value does not fit the kind."""
    wrong = np.array([not _fits(raw.slice(i, 1), kind) for i in range(len(raw))])
    cell = int(np.flatnonzero((codes >= 0) & wrong[codes])[0])
    return DataError(f"Column {place.column!r}: values must be of kind {kind}. Got {raw[int(codes[cell])].as_py()!r} in row "
                     f"{_row(cell, splits, place)}. Correct the value, or set the column's dtype.")


def _fits(value: pa.Array, kind: str) -> bool:
    try:
        _canonical(value, kind)
    except (pa.ArrowInvalid, OverflowError):
        return False
    return True


def _row(cell: int, splits: np.ndarray | None, place: Place) -> int:
    """The number of the row in which a cell, or an element of a list, stands."""
    return place.source_row(cell if splits is None else int(np.searchsorted(splits, cell, side="right")) - 1)


def _element_weights(weights: pa.Array | None, splits: np.ndarray, place: Place) -> np.ndarray | None:
    if weights is None:
        return None
    weights = weights.cast(pa.list_(pa.float64())) if pa.types.is_null(weights.type) else weights
    if not is_list(weights.type):
        raise DataError(f"Column {place.column!r}: its weights must be lists of numbers. Got {weights.type}. "
                        f"Give one list of weights beside each list of values.")
    theirs = _splits(weights)
    if (differ := np.flatnonzero(np.diff(theirs) != np.diff(splits))).size:
        row = int(differ[0])
        raise DataError(f"Column {place.column!r}: one weight per list element. Got {splits[row + 1] - splits[row]} elements "
                        f"and {theirs[row + 1] - theirs[row]} weights in row {place.source_row(row)}. Correct the weights.")
    flat = _floats(decoded(weights.flatten()), place, splits)
    if (bad := np.flatnonzero(~(np.abs(flat) <= LARGEST))).size:
        raise DataError(f"Column {place.column!r}: weights are finite numbers. Got {flat[bad[0]]} in row "
                        f"{_row(int(bad[0]), splits, place)}. Correct the weight.")
    return flat.astype(np.float32)


def _without_missing(values: Values) -> Values:
    """Lists without their missing elements."""
    keep = values.codes >= 0
    if keep.all():
        return values
    before = np.concatenate([[0], np.cumsum(keep)])
    return replace(values, codes=values.codes[keep], splits=before[values.splits],
                   weights=None if values.weights is None else values.weights[keep])


def _floats(array: pa.Array, place: Place, splits: np.ndarray | None = None) -> np.ndarray:
    """Single values as float64 (n,), NaN for null; integers beyond 2⁵³ are rounded. Raises: DataError for what is no number."""
    kind = kind_of_type(array.type, place.column)
    array = array.cast(pa.int8()) if kind == "bool" else array
    try:
        cast = array.cast(pa.float64(), safe=kind == "string")
    except pa.ArrowInvalid:
        cell = next(cell for cell in range(len(array)) if not _fits(array.slice(cell, 1), "float"))
        raise DataError(f"Column {place.column!r}: a numeric column holds numbers. Got {array[cell].as_py()!r} in row "
                        f"{_row(cell, splits, place)}. Correct the value, list it under `missing`, or declare the column "
                        f"categorical.") from None
    return np.asarray(cast.to_numpy(zero_copy_only=False), np.float64) + 0.0
