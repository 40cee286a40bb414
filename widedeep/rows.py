"""Rows ready for a model: plain NumPy arrays and bags, by name, with labels and weights. Knows no column and no tower."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

MANY = 8_192
"""From this many rows on, the parts of rows are gathered side by side."""


@dataclass(frozen=True)
class Bag:
    """Ragged numbers: row r has flat[splits[r]:splits[r + 1]].

    >>> Bag(np.array([7, 8, 9]), np.array([0, 2, 2, 3])).take(np.array([2, 0])).flat
    array([9, 7, 8])
    """

    flat: np.ndarray
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return self.flat.nbytes + self.splits.nbytes

    @property
    def row_of(self) -> np.ndarray:
        """The row of each element: int64 (elements,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.splits))

    def take(self, index: np.ndarray) -> Bag:
        """The rows at these positions, in that order."""
        starts = self.splits[index]
        lengths = self.splits[index + 1] - starts
        splits = np.concatenate([[0], np.cumsum(lengths)])
        inside = np.arange(splits[-1]) - np.repeat(splits[:-1], lengths)
        return Bag(self.flat[np.repeat(starts, lengths) + inside], splits)

    def __getitem__(self, rows: slice) -> Bag:
        """A stretch of rows; what they hold is not copied."""
        splits = self.splits[rows.start:rows.stop + 1]
        return Bag(self.flat[splits[0]:splits[-1]], splits - splits[0])


Part = np.ndarray | Bag | None
"""A feature, the labels or the weights of rows."""


class Source(Protocol):
    """What a model is trained on: rows that come in chunks, in as many passes as are asked for. `Rows` are such a source."""

    def __len__(self) -> int: ...

    def chunks(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Rows]:
        """Every row once, `size` rows at a time and at last what is left: in order, or as a generator shuffles them."""


@dataclass(frozen=True)
class Rows:
    """Features by name, each (rows, …) or a bag; labels and weights (rows,), absent where there are none.

    >>> rows = Rows({"x": np.arange(3.0)}, labels=np.array([0, 1, 0]))
    >>> len(rows), rows.take(np.array([1])).labels
    (3, array([1]))
    """

    features: Mapping[str, np.ndarray | Bag]
    labels: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))

    @property
    def nbytes(self) -> int:
        """The memory that they take."""
        return sum(part.nbytes for part in self._parts if part is not None)

    def take(self, index: np.ndarray) -> Rows:
        """The rows at these positions, in that order."""
        return self._each(lambda part: part.take(index) if isinstance(part, Bag) else np.take(part, index, axis=0),
                          apply=_threads().map if len(index) >= MANY else map)

    def slice(self, start: int, stop: int) -> Rows:
        """The rows from start up to, not including, stop; nothing is copied."""
        start, stop = min(start, len(self)), min(stop, len(self))
        return self._each(lambda part: part[start:stop])

    def chunks(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Rows]:
        """Every row once, `size` rows at a time and at last what is left: in order, or as a generator shuffles them.

        >>> [len(chunk) for chunk in Rows({"x": np.zeros(5)}).chunks(2, np.random.default_rng(0))]
        [2, 2, 1]
        """
        starts = range(0, len(self), size)
        if rng is None:
            yield from (self.slice(start, start + size) for start in starts)
        else:
            order = rng.permutation(np.arange(len(self), dtype=np.int32 if len(self) < 2**31 else np.int64))
            yield from (self.take(order[start:start + size]) for start in starts)

    def put(self, index: np.ndarray, rows: Rows) -> Rows:
        """The same with other rows at these positions; the arrays are written to, the bags are made anew."""
        return self._like(_put(part, index, new) for part, new in zip(self._parts, self._parts_of(rows)))

    @property
    def _parts(self) -> list[Part]:
        return self._parts_of(self)

    def _parts_of(self, rows: Rows) -> list[Part]:
        """The parts of rows in the order of these."""
        return [*(rows.features[name] for name in self.features), rows.labels, rows.weights]

    def _like(self, parts: Iterable[Part]) -> Rows:
        *features, labels, weights = parts
        return Rows(dict(zip(self.features, features)), labels, weights)

    def _each(self, change: Callable[[np.ndarray | Bag], np.ndarray | Bag], apply: Callable = map) -> Rows:
        return self._like(apply(lambda part: None if part is None else change(part), self._parts))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), "gather")


os.register_at_fork(after_in_child=_threads.cache_clear)


def concatenate(pieces: Sequence[Rows]) -> Rows:
    """Pieces of the same shape, one below the other.

    >>> len(concatenate([Rows({"x": np.zeros(2)}), Rows({"x": np.zeros(3)})]))
    5
    """
    first = pieces[0]
    return first._like(_join(parts) for parts in zip(*map(first._parts_of, pieces)))


def _join(parts: Sequence[Part]) -> Part:
    if parts[0] is None:
        return None
    if not isinstance(parts[0], Bag):
        return np.concatenate(parts)
    lengths = np.concatenate([np.diff(part.splits) for part in parts])
    return Bag(np.concatenate([part.flat for part in parts]), np.concatenate([[0], np.cumsum(lengths)]))


def _put(part: Part, index: np.ndarray, new: Part) -> Part:
    if isinstance(part, Bag):
        order = np.arange(len(part))
        order[index] = len(part) + np.arange(len(index))
        return _join([part, new]).take(order)
    if part is not None:
        part[index] = new
    return part
