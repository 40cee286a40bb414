"""Who did something with what, and when: numbers of users and items in place of their ids, which are kept.

One rule for each thing that tables are like:

- A missing user, item, time or weight is refused, with its row.
- Of rows of the same user and item the earliest stays, with its own weight; the others are dropped, and counted. (What comes
  later must not change what a model is trained on before.)
- Rows are put in order of time, those of one time in that of user and item: the table's own order says nothing. How many came
  after a later one is counted. Without times rows stay as they are, and nothing is split by time.
- Numbers are given in the order of ids, so they do not depend on the order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike
from scipy import sparse

from widedeep.errors import DataError, first_line
from widedeep.rows import Bag
from widedeep.splits import times_of
from widedeep.tables import Table
from widedeep.values import decoded, is_text

UNITS = ("s", "ms", "us", "ns", "D")
"""What times that are numbers may count, since 1970."""

EARLIEST, LATEST = np.datetime64("1900-01-01", "us"), np.datetime64("2200-01-01", "us")
"""Numbers beyond these were written in another unit."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Rows in order of time: `user` and `item` are numbers, int32 (rows,), that index `user_ids` and `item_ids`.

    `time` datetime64[us] (rows,) and `weight` float64 (rows,) are None where there are none. `duplicates`: rows that were
    dropped because the same user and item came before. `unordered`: rows that came after a later one.

    >>> table = pa.table({"who": ["bob", "ann", "bob"], "what": [7, 9, 7], "when": [30, 20, 10]})
    >>> found = Interactions.of(table, user="who", item="what", time="when")
    >>> found.user.tolist(), found.item.tolist(), found.user_ids.to_pylist(), found.item_ids.to_pylist()
    ([1, 0], [0, 1], ['ann', 'bob'], [7, 9])
    >>> found.duplicates, found.unordered
    (1, 2)
    """

    user: np.ndarray
    item: np.ndarray
    user_ids: pa.Array
    item_ids: pa.Array
    time: np.ndarray | None = None
    weight: np.ndarray | None = None
    duplicates: int = 0
    unordered: int = 0

    @classmethod
    def of(cls, table: Any, *, user: str, item: str, time: str | None = None, weight: str | None = None, unit: str = "s",
           users: Any = None, items: Any = None) -> Interactions:
        """The interactions of whatever `Table.of` takes: a DataFrame, an Arrow table, a path.

        `time` is a column of dates, timestamps or numbers, which count `unit`s since 1970: s, ms, us, ns or D (days). `weight`
        is a column of numbers above 0, 1 where there is none. `users` and `items` are further ids that get numbers, such as
        those of a whole catalogue.
        Raises: DataError for columns that the table lacks, missing values, ids that are neither text nor whole numbers, times
        outside 1900 to 2200, weights that are not above 0.
        """
        table = Table.of(table)
        names = [name for name in (user, item, time, weight) if name is not None]
        table.require(names)
        read = table.read(names)
        for name in names:
            _refuse_missing(table, name, read[name])
        who, user_ids = _coded(table, user, read[user], users)
        what, item_ids = _coded(table, item, read[item], items)
        when = None if time is None else _times(table, time, unit)
        weights = None if weight is None else _weights(table, weight, read[weight])
        return cls(who, what, user_ids, item_ids, when, weights)._settled()

    def _settled(self) -> Interactions:
        """In order of time, each pair once, and counted."""
        rows, when = len(self), self.time
        order = np.arange(rows) if when is None else np.lexsort((self.item, self.user, when))
        unordered = 0 if when is None else int((when < np.maximum.accumulate(when)).sum())
        found = self.take(order)
        first = np.sort(np.unique(found.pairs, return_index=True)[1])
        return replace(found.take(first), duplicates=self.duplicates + rows - len(first), unordered=self.unordered + unordered)

    def joined(self, other: Interactions) -> Interactions:
        """These and other interactions, with the ids of both; what is counted is the sum, and pairs that both have.

        Raises: DataError for ids of another type, and if one has times or weights and the other none.
        """
        users, items = union(self.user_ids, other.user_ids, "user"), union(self.item_ids, other.item_ids, "item")
        one, two, parts = self.numbered(users, items), other.numbered(users, items), {}
        for name in ("user", "item", "time", "weight"):
            mine, theirs = getattr(one, name), getattr(two, name)
            if (mine is None) != (theirs is None):
                raise DataError(f"joined: both have a {name}, or neither. Got one without. Make both alike.")
            parts[name] = None if mine is None else np.concatenate([mine, theirs])
        both = replace(one, **parts, duplicates=one.duplicates + two.duplicates, unordered=0)
        found = both._settled()
        return replace(found, unordered=one.unordered + two.unordered)

    def __len__(self) -> int:
        return len(self.user)

    @property
    def users(self) -> int:
        """How many users have a number, whether or not they have rows."""
        return len(self.user_ids)

    @property
    def items(self) -> int:
        """How many items have a number: the catalogue."""
        return len(self.item_ids)

    @property
    def pairs(self) -> np.ndarray:
        """A number for each row's user and item together, int64 (rows,)."""
        return self.user.astype(np.int64) * max(self.items, 1) + self.item

    @property
    def counts(self) -> np.ndarray:
        """Each item's rows, int64 (items,)."""
        return np.bincount(self.item, minlength=self.items)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """Users by items, float32: the weight of their row, 1 where there are no weights. Rows are sorted by item."""
        values = np.ones(len(self), np.float32) if self.weight is None else self.weight.astype(np.float32)
        return sparse.csr_matrix((values, (self.user, self.item)), (self.users, self.items))

    def take(self, rows: np.ndarray) -> Interactions:
        """The rows at these positions, or where a mask is true, with the same numbers for users and items."""
        parts = {name: getattr(self, name) for name in ("user", "item", "time", "weight")}
        return replace(self, **{name: part[rows] for name, part in parts.items() if part is not None})

    def of_users(self, users: ArrayLike | None = None) -> Bag:
        """The items of each of these users (of all), in order of time; none for a user without rows or of number −1."""
        bag = self._by_user
        return bag[:self.users] if users is None else bag.take(np.where(np.asarray(users) < 0, self.users, users))

    @cached_property
    def _by_user(self) -> Bag:
        """A row for each user, and a last one that holds nothing."""
        order = np.argsort(self.user, kind="stable")
        return Bag(self.item[order], np.concatenate([[0], np.cumsum(np.bincount(self.user, minlength=self.users + 1))]))

    def user_numbers(self, ids: Any) -> np.ndarray:
        """The numbers of users, int64 (ids,), −1 for those that are unknown. Raises: DataError for ids of another type."""
        return _numbers("user", ids, self.user_ids)

    def item_numbers(self, ids: Any) -> np.ndarray:
        """The numbers of items, int64 (ids,), −1 for those that are unknown. Raises: DataError for ids of another type."""
        return _numbers("item", ids, self.item_ids)

    def numbered(self, user_ids: pa.Array, item_ids: pa.Array) -> Interactions:
        """The same rows under the numbers of other tables of ids, which hold all of these."""
        who, what = pc.index_in(self.user_ids, user_ids), pc.index_in(self.item_ids, item_ids)
        if who.null_count or what.null_count:
            raise DataError("numbered: other tables of ids hold all that these interactions have. Got some that lack one. Pass "
                            "the union.")
        user, item = (np.asarray(place).astype(np.int32) for place in (who, what))
        return replace(self, user=user[self.user], item=item[self.item], user_ids=user_ids, item_ids=item_ids)


def union(one: pa.Array, other: pa.Array, what: str = "ids") -> pa.Array:
    """The ids of two tables, sorted; `what` they are called. Raises: DataError if one is of text and the other of numbers.

    >>> union(pa.array([7, 9]), pa.array([8, 9])).to_pylist()
    [7, 8, 9]
    """
    if one.type != other.type:
        raise DataError(f"{what}: text in both tables, or whole numbers in both. Got {one.type} and {other.type}. Convert one.")
    both = pa.concat_arrays([one, other]).unique()
    return both.take(pc.sort_indices(both))


def _coded(table: Table, column: str, values: pa.ChunkedArray, more: Any) -> tuple[np.ndarray, pa.Array]:
    """Numbers of a column's values, and the ids that they index, sorted."""
    with table.named():
        values = _ids(values.combine_chunks(), column)
        ids = values.unique()
        ids = union(ids, ids[:0] if more is None else _ids(_array(more, column), column), f"ids in {column!r}")
    return np.asarray(pc.index_in(values, ids)).astype(np.int32), ids


def _refuse_missing(table: Table, column: str, values: pa.ChunkedArray) -> None:
    missing = values.is_null(nan_is_null=True)
    if pc.any(missing).as_py():
        row = pc.index(missing, True).as_py()
        raise DataError(f"{table.name}: every interaction has its {column!r}. Got none in row {row}. Fill it in or drop the "
                        f"row.")


def _array(ids: Any, what: str) -> pa.Array:
    try:
        found = ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else pa.array(ids, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DataError(f"{what}: ids are all text, or all whole numbers. Got: {first_line(error)}. Convert them.") from error
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if found.null_count:
        place = int(np.flatnonzero(np.asarray(found.is_null()))[0])
        raise DataError(f"{what}: an id is there. Got none at place {place}. Drop it.")
    return found


def _ids(array: pa.Array, what: str) -> pa.Array:
    """Ids as large_string or int64."""
    array = decoded(array)
    kind = array.type
    wanted = pa.large_string() if is_text(kind) or not len(array) and pa.types.is_null(kind) else pa.int64()
    if not is_text(kind) and not pa.types.is_integer(kind) and len(array):
        raise DataError(f"{what!r}: ids are text or whole numbers. Got {kind}, first {array[0].as_py()!r}. Convert them first.")
    try:
        return array.cast(wanted)
    except pa.ArrowInvalid as error:
        raise DataError(f"{what!r}: whole numbers as ids fit 64 bits. Got: {first_line(error)}. Use text.") from error


def ids_like(what: str, ids: Any, known: pa.Array) -> pa.Array:
    """Ids of users or items in the type of those that are known. Raises: DataError if they are of another."""
    asked = _array(ids, what)
    asked = _ids(asked, what) if len(asked) else known[:0]
    if asked.type != known.type:
        raise DataError(f"{what}: ids are of one type, here {known.type}. Got {asked.type}, first {asked[0].as_py()!r}. "
                        f"Convert them.")
    return asked


def _numbers(what: str, ids: Any, known: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.index_in(ids_like(what, ids, known), known), -1)).astype(np.int64)


def _times(table: Table, column: str, unit: str) -> np.ndarray:
    if unit not in UNITS:
        raise DataError(f"unit says what times that are numbers count since 1970, one of {list(UNITS)}. Got {unit!r}. Pass "
                        f"\"s\" for seconds.")
    times = times_of(table, column)
    if pa.types.is_time(times.type):
        raise DataError(f"{table.name}: the time column {column!r} holds times with their day. Got {times.type}. Add the date.")
    if pa.types.is_floating(times.type):
        steps = np.timedelta64(1, unit) / np.timedelta64(1, "us")
        found = np.clip(np.asarray(times) * steps, -9e18, 9e18).round().astype("datetime64[us]")
    elif pa.types.is_integer(times.type):
        found = np.asarray(times.cast(pa.int64(), safe=False)).astype(f"datetime64[{unit}]")
    else:
        found = np.asarray(times.cast(pa.timestamp("us"), safe=False))
    low, high = EARLIEST.astype(found.dtype), LATEST.astype(found.dtype)
    if (wrong := ~((found >= low) & (found < high))).any():
        row = int(np.argmax(wrong))
        got = times[row].as_py()
        raise DataError(f"{table.name}: times in {column!r} lie between 1900 and 2200; numbers count {unit!r} since 1970. Got "
                        f"{got!r} in row {row}. Pass unit=, one of {list(UNITS)}, or repair the row.")
    return found.astype("datetime64[us]")


def _weights(table: Table, column: str, values: pa.ChunkedArray) -> np.ndarray:
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"{table.name}: weights are numbers. Got {kind} in {column!r}. Convert them first.")
    found = np.asarray(values.cast(pa.float64()))
    if (wrong := ~(np.isfinite(found) & (found > 0))).any():
        row = int(np.argmax(wrong))
        raise DataError(f"{table.name}: a weight is finite and above 0. Got {found[row]} in {column!r}, row {row}. Drop the "
                        f"row if nothing happened.")
    return found
