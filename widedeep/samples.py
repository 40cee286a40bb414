"""Marks: 64 even bits for any value, and what their smallest ones tell of a stream, whatever its order.

Cells are marks of their values (0 is missing), so that text, numbers and lists are all the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from widedeep.rows import Bag, Rows, concatenate

MARKS = 2.0**64
"""Marks lie below this, evenly."""

LIMIT = 1 << 16
"""Distinct rows in a sample."""


def scrambled(numbers: np.ndarray) -> np.ndarray:
    """A bijection of uint64 in which every bit depends on all of them. Source: Steele et al. 2014, SplitMix64."""
    state = numbers + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def marks(distinct: pa.Array) -> np.ndarray:
    """A number other than 0 for each canonical value (large_string, int64, float64): uint64 (n,).

    >>> len(set(marks(pa.array(["a", "b", ""], pa.large_string())).tolist()))
    3
    """
    if pa.types.is_large_string(distinct.type):
        raw = np.array([zlib.crc32(text) for text in distinct.cast(pa.large_binary()).to_pylist()], np.uint64)
    else:
        raw = np.asarray(distinct).view(np.uint64)
    return scrambled(raw) | np.uint64(1)


def row_marks(cells: Iterable[np.ndarray | Bag]) -> np.ndarray:
    """A mark for each row's content, from the marks of its cells: uint64 (rows,). In a list the order does not matter."""
    total = np.zeros(1, np.uint64)
    for part in cells:
        total = scrambled(total ^ (_bag_marks(part) if isinstance(part, Bag) else part))
    return total


def _bag_marks(bag: Bag) -> np.ndarray:
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(scrambled(bag.flat))])
    return sums[bag.splits[1:]] - sums[bag.splits[:-1]] + np.diff(bag.splits).astype(np.uint64)


class Sample:
    """The `limit` distinct rows of smallest mark, and how often each came: a function of the multiset of rows.

    >>> sample = Sample(limit=2)
    >>> for _ in range(3):
    ...     sample.add({"x": marks(pa.array([7, 8, 9]))}, {})
    >>> sample.rows().weights
    array([3., 3.])
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self._parts, self._waiting = limit, [], 0
        self._edge = np.uint64(2**64 - 1)

    def add(self, cells: Mapping[str, np.ndarray | Bag], numbers: Mapping[str, np.ndarray]) -> None:
        """Take in rows: the marks of their cells, and under other names what the cells are as numbers, float64 (n,)."""
        found = row_marks(cells.values())
        near = np.flatnonzero(found <= self._edge)
        self._parts.append(Rows({**cells, **numbers}, found, np.ones(len(found))).take(near))
        self._waiting += len(near)
        if self._waiting > 2 * self.limit:
            self.rows()

    def rows(self) -> Rows:
        """The sample, in the order of the rows' marks, which stand in for `labels`; `weights` says how often each came."""
        waiting = concatenate(self._parts)
        found, first, place = np.unique(waiting.labels, return_index=True, return_inverse=True)
        counts = np.bincount(place, waiting.weights)[:self.limit]
        rows = replace(waiting.take(first[:self.limit]), weights=counts)
        if len(found) > self.limit:
            self._edge = rows.labels[-1]
        self._parts, self._waiting = [rows], 0
        return rows


class Spread:
    """How many distinct values a stream has, by the smallest of their marks: exact below `limit`, then within about 2 %.

    >>> spread = Spread()
    >>> spread.add(marks(pa.array(range(1_000_000))))
    >>> round(spread.count / 1e6, 1)
    1.0
    """

    def __init__(self, limit: int = 1 << 12) -> None:
        self.limit, self._smallest = limit, np.zeros(0, np.uint64)

    def add(self, found: np.ndarray) -> None:
        """Take in marks uint64 (n,)."""
        near = found[found <= self._smallest[-1]] if len(self._smallest) == self.limit else found
        self._smallest = np.unique(np.concatenate([self._smallest, near]))[:self.limit]

    @property
    def count(self) -> int:
        if len(self._smallest) < self.limit:
            return len(self._smallest)
        return round((self.limit - 1) / (float(self._smallest[-1]) / MARKS))
