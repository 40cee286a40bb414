"""The index of items: which have the largest products with a user's vector. By the layers of `tfrs.layers.factorized_top_k`."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from widedeep._keras import tf, tfrs
from widedeep.errors import WidedeepError
from widedeep.rows import Bag

PIECE = 8_192
"""Items that the streaming index multiplies at once, and fewer than ScaNN is worth its while for."""

SEARCHED, REORDERED = 0.3, 4_000
"""Of its leaves ScaNN searches this share, and so many of the best it finds there are multiplied exactly."""


class Index:
    """Items' vectors, asked for the best of each user.

    Of fewer than 8,192 items "scann" is brute force, which is faster there; of more it brings 4,000 at most.
    Raises: WidedeepError if the index is "scann" and ScaNN cannot be had.

    >>> index = Index("brute", np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]], np.float32))
    >>> index.best(np.array([[1.0, 0.5]], np.float32), 2)[0].tolist()
    [[2, 0]]
    """

    def __init__(self, kind: str, vectors: np.ndarray):
        check(kind)
        self.kind, self.items, layers = kind, len(vectors), tfrs.layers.factorized_top_k
        if kind == "streaming":
            numbered = tf.data.Dataset.from_tensor_slices((np.arange(self.items, dtype=np.int32), vectors))
            self._layer = layers.Streaming(k=1).index_from_dataset(numbered.batch(PIECE))
        else:
            layer = _scann(self.items) if kind == "scann" and self.items >= PIECE else layers.BruteForce(k=1)
            self._layer = layer.index(tf.constant(vectors), tf.range(self.items))

    def best(self, queries: np.ndarray, k: int, without: Bag | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each user, the best first, and their products: int32 and float32 (users, k).

        Items of the bag `without` (a row per user) are left out; where fewer than k are left, −1 and −inf stand at the end.
        """
        taken = 0 if without is None else int(np.diff(without.splits).max(initial=0))
        asked = min(self.items, k + taken)
        return first((part.numpy() for part in self._layer(tf.constant(queries), k=asked)), k, without if taken else None)


def check(kind: str) -> None:
    """Raises: WidedeepError if the index is "scann" and ScaNN cannot be had."""
    if kind == "scann" and not tfrs.layers.factorized_top_k._HAVE_SCANN:
        raise WidedeepError(f"The index 'scann' needs the package scann, of a release that is built for TensorFlow "
                            f"{tf.__version__}. It is not installed, or of another. Install scann[tf], or use the index "
                            f"'brute', which is exact.")


def _scann(items: int) -> tf.keras.layers.Layer:
    leaves = max(1, round(math.sqrt(items)))
    return tfrs.layers.factorized_top_k.ScaNN(k=1, num_leaves=leaves, num_leaves_to_search=math.ceil(SEARCHED * leaves),
                                              num_reordering_candidates=REORDERED)


def first(found: Iterable[np.ndarray], k: int, without: Bag | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first k of what an index found, (users, n) products (NaN where nothing was found) and items, the best first.

    >>> [part.tolist() for part in first((np.array([[2.0, 1.0, np.nan]]), np.array([[7, 5, 0]])), 2,
    ...                                  Bag(np.array([7]), np.array([0, 1])))]
    [[[5, -1]], [[1.0, -inf]]]
    """
    scores, numbers = found
    gone = np.isnan(scores) if without is None else np.isnan(scores) | within(numbers, without)
    order = np.argsort(gone, axis=1, kind="stable")[:, :k]
    gone = np.take_along_axis(gone, order, 1)
    numbers = np.where(gone, -1, np.take_along_axis(numbers, order, 1))
    scores = np.where(gone, -np.inf, np.take_along_axis(scores, order, 1))
    missing = ((0, 0), (0, k - numbers.shape[1]))
    return (np.pad(numbers, missing, constant_values=-1).astype(np.int32),
            np.pad(scores, missing, constant_values=-np.inf).astype(np.float32))


def within(numbers: np.ndarray, bag: Bag) -> np.ndarray:
    """Which of the numbers (rows, n), −1 or more, a bag's row of the same place has: bool of their shape.

    >>> within(np.array([[1, 2], [2, 3]]), Bag(np.array([2, 3]), np.array([0, 1, 2]))).tolist()
    [[False, True], [False, True]]
    """
    wide = np.int64(max(numbers.max(initial=0), bag.flat.max(initial=0))) + 2
    return np.isin(np.arange(len(numbers))[:, None] * wide + numbers + 1, bag.row_of * wide + bag.flat + 1)
