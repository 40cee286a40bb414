"""Rows ready for a model: plain NumPy arrays and bags, by name, with labels and weights. Knows no column and no tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


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
    def row_of(self) -> np.ndarray:
        """The row of each element: int64 (elements,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.splits))

    def take(self, index: np.ndarray) -> Bag:
        """The rows at these positions, in that order."""
        lengths = np.diff(self.splits)[index]
        splits = np.concatenate([[0], np.cumsum(lengths)])
        inside = np.arange(splits[-1]) - np.repeat(splits[:-1], lengths)
        return Bag(self.flat[np.repeat(self.splits[index], lengths) + inside], splits)


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

    def take(self, index: np.ndarray) -> Rows:
        """The rows at these positions, in that order."""
        return self._each(lambda part: part.take(index) if isinstance(part, Bag) else np.take(part, index, axis=0))

    def slice(self, start: int, stop: int) -> Rows:
        """The rows from start up to, not including, stop."""
        return self.take(np.arange(start, min(stop, len(self))))

    def _each(self, change) -> Rows:
        return Rows({name: change(part) for name, part in self.features.items()},
                    None if self.labels is None else change(self.labels),
                    None if self.weights is None else change(self.weights))


def concatenate(pieces: Sequence[Rows]) -> Rows:
    """Pieces of the same shape, one below the other.

    >>> len(concatenate([Rows({"x": np.zeros(2)}), Rows({"x": np.zeros(3)})]))
    5
    """
    first = pieces[0]
    features = {name: _join([piece.features[name] for piece in pieces]) for name in first.features}
    labels = None if first.labels is None else _join([piece.labels for piece in pieces])
    weights = None if first.weights is None else _join([piece.weights for piece in pieces])
    return Rows(features, labels, weights)


def _join(parts: Sequence[np.ndarray | Bag]) -> np.ndarray | Bag:
    if not isinstance(parts[0], Bag):
        return np.concatenate(parts)
    lengths = np.concatenate([np.diff(part.splits) for part in parts])
    return Bag(np.concatenate([part.flat for part in parts]), np.concatenate([[0], np.cumsum(lengths)]))
