"""What honest papers lose to: popularity, recent popularity, items that go together, EASE. NumPy and SciPy only.

All have one face. `fit` learns from interactions; `scores` and `recommend` answer users by number, going by their rows in
training, or in a `history` given (of users who are new). Who has no rows there, and a user of number −1, who is unknown, gets
what is popular: `without_history` says who. Of equal scores the item more popular in training comes first, then the one of
lower number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, sparse

from widedeep.errors import DataError
from widedeep.recommend.interactions import Interactions
from widedeep.recommend.top_k import largest, top_k

BLOCK_BYTES = 128 << 20
"""About so much memory goes into scores that are in work at a time."""

BYTES_PER_SCORE = 16   # itself, its place while the best are found, and a mark or two


EASE_BLOCK = 1024
"""Columns of the Gram matrix that are made at a time."""


class Baseline(ABC):
    """A recommender that knows interactions only.

    >>> import pyarrow as pa
    >>> rows = pa.table({"who": ["ann", "ann", "bob", "cat"], "what": ["chess", "go", "chess", "go"]})
    >>> interactions = Interactions.of(rows, user="who", item="what")
    >>> found = ItemKNN().fit(interactions).recommend(interactions.user_numbers(["bob", "nobody"]), k=2)
    >>> found.tolist()   # bob has seen chess; to nobody the two are equally popular
    [[1, -1], [0, 1]]
    """

    def fit(self, interactions: Interactions) -> Self:
        """Learn from these rows. Raises: DataError for no rows."""
        if not len(interactions):
            raise DataError(f"{type(self).__name__}: there must be interactions to learn from. Got none. Split elsewhere.")
        self.users, self.items = interactions.users, interactions.items
        self._seen = _with_nobody(interactions)
        self.popularity = np.asarray(self._seen.sum(axis=0), np.float32).ravel()
        self.order = np.argsort(np.argsort(-self.popularity, kind="stable"))   # each item's place by popularity
        self.common = self.popularity
        self._learn(interactions)
        return self

    def scores(self, users: ArrayLike, history: Interactions | None = None) -> np.ndarray:
        """A score for each item, float32 (users, items), the higher the better: for a few users at a time.

        Shape: users, numbers (n,). Raises: DataError for numbers that no user has.
        """
        return self._scored(self._rows(users, history))

    def recommend(self, users: ArrayLike | None = None, k: int = 10, exclude_seen: bool = True,
                  history: Interactions | None = None) -> np.ndarray:
        """The numbers of the k best items for each user (for all), the best first, int32 (users, k), block by block.

        −1 stands where nothing is left: k may be above the catalogue. With `exclude_seen`, what a user has had is left out.
        Raises: DataError for k below 1, and numbers that no user has.
        """
        rows = self._rows(None if users is None else users, history)
        size = max(1, BLOCK_BYTES // (BYTES_PER_SCORE * max(self.items, 1)))
        parts = [self._best(rows[start:start + size], k, exclude_seen) for start in range(0, rows.shape[0], size)]
        return np.concatenate(parts) if parts else np.zeros((0, k), np.int32)

    def without_history(self, users: ArrayLike, history: Interactions | None = None) -> np.ndarray:
        """Which users are answered by popularity, since nothing else is known of them: bool (users,)."""
        return np.diff(self._rows(users, history).indptr) == 0

    def _rows(self, users: ArrayLike | None, history: Interactions | None) -> sparse.csr_matrix:
        """What users have done, a row each."""
        if not hasattr(self, "_seen"):
            raise DataError(f"{type(self).__name__} answers once it is fitted. Got one that is not. Call fit.")
        users = np.arange(self.users) if users is None else np.asarray(users)
        matrix = self._seen if history is None else _with_nobody(history)
        if matrix.shape[1] != self.items:
            raise DataError(f"history: its items have the numbers of the training. Got {matrix.shape[1]} items for "
                            f"{self.items}. Split one table, or give both the same ids.")
        last = matrix.shape[0] - 2
        if users.ndim != 1 or len(users) and (users.dtype.kind not in "iu" or users.min() < -1 or users.max() > last):
            span = f", {users.min()} to {users.max()}" if users.size and users.dtype.kind in "iu" else ""
            raise DataError(f"users: numbers from 0 to {last}, −1 for one who is unknown. Got {users.dtype} of the shape "
                            f"{users.shape}{span}. Look ids up: interactions.user_numbers(ids).")
        return matrix[users.astype(np.int64)]   # number −1 is the last row, which is empty

    def _scored(self, rows: sparse.csr_matrix) -> np.ndarray:
        found = self._scores(rows)
        found[np.diff(rows.indptr) == 0] = self.common
        return found

    def _best(self, rows: sparse.csr_matrix, k: int, exclude_seen: bool) -> np.ndarray:
        found = self._scored(rows)
        if exclude_seen:
            found[np.repeat(np.arange(len(found)), np.diff(rows.indptr)), rows.indices] = -np.inf
        return top_k(found, k, self.order)

    @abstractmethod
    def _learn(self, interactions: Interactions) -> None:
        """Whatever is to be learned beside popularity; `common` is what users without rows get."""

    @abstractmethod
    def _scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        """Scores of users by their rows, float32 (users, items), which may be written to."""


class Popularity(Baseline):
    """The same for everybody: an item's score is the sum of its weights in training, 1 for each user where there are none."""

    def _learn(self, interactions: Interactions) -> None:
        """Popularity is all."""

    def _scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        return np.tile(self.common, (rows.shape[0], 1))


class RecentPopularity(Baseline):
    """Popularity of late: of the last `days` before the end of training, or with weights that halve every `half_life` days.

    Source: Ji et al. 2020, "A re-visit of the popularity baseline in recommender systems".
    Raises: DataError unless exactly one of the two is given, above 0; when it is fitted, without times.
    """

    def __init__(self, days: float | None = None, half_life: float | None = None):
        if (days is None) == (half_life is None) or not (days or half_life or 0) > 0:
            raise DataError(f"RecentPopularity: `days` or `half_life`, one of them, above 0. Got days={days}, "
                            f"half_life={half_life}. Pass days=30.")
        self.days, self.half_life = days, half_life

    def _learn(self, interactions: Interactions) -> None:
        if interactions.time is None:
            raise DataError("RecentPopularity needs times. Got interactions without. Name their column: Interactions.of(…, "
                            "time=…).")
        age = (interactions.time.max() - interactions.time) / np.timedelta64(1, "D")
        shares = age < self.days if self.half_life is None else 0.5 ** (age / self.half_life)
        weights = shares * (1 if interactions.weight is None else interactions.weight)
        self.common = np.bincount(interactions.item, weights, self.items).astype(np.float32)

    def _scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        return np.tile(self.common, (rows.shape[0], 1))


class ItemKNN(Baseline):
    """What goes with what a user has: the sum of cosines between an item and those of the user that are among its k nearest.

    `shrink` is added to the cosine's denominator, so that items of few users are not near by chance.
    Source: Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms"; in this form Ferrari Dacrema et
    al. 2019, "Are we really making much progress?".
    Raises: DataError for k below 1, or shrink below 0.
    """

    def __init__(self, k: int = 100, shrink: float = 10.0):
        if k < 1 or not shrink >= 0:
            raise DataError(f"ItemKNN: k is at least 1, shrink at least 0. Got k={k}, shrink={shrink}. Pass k=100, shrink=10.")
        self.k, self.shrink = k, shrink

    def _learn(self, interactions: Interactions) -> None:
        by_user = interactions.matrix
        by_item = by_user.T.tocsr()
        norms = np.sqrt(np.asarray(by_item.power(2).sum(axis=1)).ravel())
        size = max(1, BLOCK_BYTES // (BYTES_PER_SCORE * self.items))
        parts = [self._nearest(by_item, by_user, norms, np.arange(start, min(start + size, self.items)))
                 for start in range(0, self.items, size)]
        self.near = sparse.vstack(parts).T.tocsr()   # (of the user, scored)

    def _nearest(self, by_item: sparse.csr_matrix, by_user: sparse.csr_matrix, norms: np.ndarray,
                 block: np.ndarray) -> sparse.csr_matrix:
        """Of each item of a block the cosines to its nearest, (block, items)."""
        shared = (by_item[block] @ by_user).tocsr()
        row, item = np.repeat(np.arange(len(block)), np.diff(shared.indptr)), shared.indices
        cosines = np.where(item == block[row], 0, shared.data / (norms[block[row]] * norms[item] + self.shrink))
        kept = np.concatenate([start + largest(cosines[start:stop], self.k, self.order[item[start:stop]])
                               for start, stop in pairwise(shared.indptr)])
        found = sparse.csr_matrix((cosines[kept].astype(np.float32), (row[kept], item[kept])), shared.shape)
        found.eliminate_zeros()
        return found

    def _scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        return (rows @ self.near).toarray()


class EASE(Baseline):
    """A linear model from all items to each item but itself, in closed form: hard to beat on the classic sets.

    With the Gram matrix G of users by items, and P the inverse of G + l2 · I, weights are −P_ij ÷ P_jj, 0 on the diagonal.
    Two matrices of items by items are held while it is solved, one afterwards; `most_bytes` is what they may take. Items
    without rows in training are left out of them, and score 0.
    Source: Steck 2019, "Embarrassingly shallow autoencoders for sparse data".
    Raises: DataError for l2 that is not above 0, another dtype, and when it is fitted, for a catalogue that is too large.
    """

    def __init__(self, l2: float = 250.0, dtype: str = "float32", most_bytes: float = 4e9):
        if not l2 > 0 or dtype not in ("float32", "float64"):
            raise DataError(f"EASE: l2 is above 0, dtype float32 or float64. Got l2={l2}, dtype={dtype!r}. Pass l2=250.")
        self.l2, self.dtype, self.most_bytes = l2, dtype, most_bytes

    def _learn(self, interactions: Interactions) -> None:
        self.active = np.flatnonzero(interactions.counts)
        count, each = len(self.active), np.dtype(self.dtype).itemsize
        if (needed := 2 * count**2 * each) > self.most_bytes:
            most = int((self.most_bytes / 2 / each) ** 0.5)
            raise DataError(f"EASE: two matrices of items by items must fit into {self.most_bytes / 1e9:.3g} GB: of "
                            f"{self.dtype}, {most:,} items. Got {count:,} items in training, {needed / 1e9:.3g} GB. Use "
                            f"ItemKNN, leave out rare items, or raise most_bytes.")
        self.weights = _ease(interactions.matrix[:, self.active].astype(self.dtype), self.l2)

    def _scores(self, rows: sparse.csr_matrix) -> np.ndarray:
        found = np.zeros((rows.shape[0], self.items), np.float32)
        found[:, self.active] = rows[:, self.active].astype(self.dtype) @ self.weights
        return found


def _ease(matrix: sparse.csr_matrix, l2: float) -> np.ndarray:
    """The weights (items, items) of users by items: the lower half is factored, inverted and divided where it stands."""
    items = matrix.shape[1]
    gram, by_item = np.empty((items, items), matrix.dtype, order="F"), matrix.T.tocsr()
    blocks = [slice(start, min(start + EASE_BLOCK, items)) for start in range(0, items, EASE_BLOCK)]
    for block in blocks:
        gram[:, block] = (by_item @ matrix[:, block]).toarray()
    gram[np.diag_indices(items)] += l2
    factor, inverse = linalg.get_lapack_funcs(("potrf", "potri"), (gram,))
    gram, failed = factor(gram, lower=1, clean=0, overwrite_a=1)
    if not failed:
        gram, failed = inverse(gram, lower=1, overwrite_c=1)
    if failed:
        raise DataError(f"EASE: the Gram matrix with l2 on its diagonal must be far enough from singular for {matrix.dtype}. "
                        f"Got l2 = {l2}. Raise it, or pass dtype=\"float64\".")
    for block in blocks:   # the upper half is the lower one's mirror
        corner = np.tril(gram[block, block])
        gram[block, block] = corner + np.tril(corner, -1).T
        gram[block, block.stop:] = gram[block.stop:, block].T
    weights = gram.T   # the same, since it is symmetric, and row by row in memory, as products want it
    weights /= -weights.diagonal().copy()
    np.fill_diagonal(weights, 0)
    return weights


def _with_nobody(interactions: Interactions) -> sparse.csr_matrix:
    """Users by items, and below them an empty row."""
    matrix = interactions.matrix
    return sparse.csr_matrix((matrix.data, matrix.indices, np.append(matrix.indptr, matrix.indptr[-1])),
                             (matrix.shape[0] + 1, matrix.shape[1]))
