"""What a recommender answers: a list for each user, what each place rests on, and how likely it is what he takes next."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from widedeep.rows import Bag

SOURCES = ("model", "features", "popularity")
"""What a recommendation rests on: `model`, training saw this user and this item take something; `features`, it did not see one
of them; `popularity`, nothing is known of the user that the schema reads."""


class Lists(NamedTuple):
    """A list for each user, the best first: items' numbers (−1 where nothing is left), the log of each one's chance to be what
    the user takes next, as far as it was learned, the place in `SOURCES` of what it rests on, and the chance that it is what he
    takes next if that is among what was brought for him (NaN where none is known); (users, k) each."""

    items: np.ndarray
    scores: np.ndarray
    sources: np.ndarray
    chances: np.ndarray

    @classmethod
    def blank(cls, users: int, k: int) -> Lists:
        """Lists that hold nothing."""
        return cls(np.full((users, k), -1, np.int32), np.full((users, k), -np.inf), np.full((users, k), 1),
                   np.full((users, k), np.nan))

    def put(self, rows: np.ndarray, found: Lists) -> None:
        """Set the lists of these users to the first of what was found for them."""
        k = min(self.items.shape[1], found.items.shape[1])
        for mine, theirs in zip(self, found):
            mine[rows, :k] = theirs[:, :k]


class Popular(NamedTuple):
    """Items by number, the most popular first, and the log of each one's share: (items,) each."""

    items: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, popularity: np.ndarray) -> Popular:
        """Of how many users took each item."""
        order = np.argsort(-popularity, kind="stable")
        return cls(order, log_shares(popularity)[order])

    def lists(self, had: Bag, k: int, depth: int) -> Lists:
        """The k most popular items that each of these users (a bag of what they had) has not; chances are among `depth`, k at
        least.

        >>> found = Popular.of(np.array([1, 3, 4])).lists(Bag(np.array([2]), np.array([0, 1, 1])), 2, 2)
        >>> found.items.tolist(), found.chances.round(2).tolist()
        ([[1, 0], [2, 1]], [[0.75, 0.25], [0.57, 0.43]])
        """
        found = Lists.blank(len(had), k)
        for row in range(len(had)):
            without = had.flat[had.splits[row]:had.splits[row + 1]]
            most = slice(max(k, depth) + len(without))
            left = ~np.isin(self.items[most], without)
            items, scores = (part[most][left][:max(k, depth)] for part in self)
            parts = items, scores, np.full(len(items), 2), np.exp(scores) / np.exp(scores).sum()
            for mine, part in zip(found, parts):
                mine[row, :len(part)] = part[:k]
        return found


def shares(scores: np.ndarray) -> np.ndarray:
    """The chance of each of the items that are ranked (users, items), if the next one is among them.

    >>> shares(np.log([[3.0, 1.0, 0.5, 0.5]])).round(3).tolist()
    [[0.6, 0.2, 0.1, 0.1]]
    """
    weights = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-1e30))
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)


def log_shares(popularity: np.ndarray) -> np.ndarray:
    """The log of each item's share of all interactions; of what nobody took, that of half an interaction.

    >>> np.exp(log_shares(np.array([3, 1, 0]))).round(3).tolist()
    [0.75, 0.25, 0.125]
    """
    return np.log(np.maximum(popularity, 0.5) / max(1, popularity.sum()))
