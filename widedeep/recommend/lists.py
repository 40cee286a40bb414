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

    def first(self, k: int) -> Lists:
        """The k best, with blanks behind the last."""
        return Lists(*(np.pad(part[:, :k], ((0, 0), (0, max(0, k - part.shape[1]))), constant_values=blank)
                       for part, blank in zip(self, (-1, -np.inf, 1, np.nan))))

    def popular(self, rows: np.ndarray, popularity: np.ndarray, had: Bag) -> Lists:
        """The same with the most popular items for these users (a mask), without those that they had (a row for each user)."""
        order, score = np.argsort(-popularity, kind="stable"), log_shares(popularity)
        found = Lists(*(np.where(rows[:, None], blank, part) for part, blank in zip(self, (-1, -np.inf, 2, np.nan))))
        for row in np.flatnonzero(rows):
            theirs = had.flat[had.splits[row]:had.splits[row + 1]]
            left = order[~np.isin(order, theirs)] if len(theirs) else order
            best = left[:self.items.shape[1]]
            found.items[row, :len(best)], found.scores[row, :len(best)] = best, score[best]
            found.chances[row, :len(best)] = np.exp(score[best]) / np.exp(score[left]).sum()
        return found


def none(k: int) -> Lists:
    """The lists of nobody."""
    return Lists(np.zeros((0, k), np.int32), np.zeros((0, k)), np.zeros((0, k), np.int64), np.zeros((0, k)))


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
