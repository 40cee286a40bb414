"""Negatives of the ranker, by a stated law, and what its scores mean under that law.

Each interaction of user u gets m negatives, drawn by q(i|u) out of the items that u had not taken before it: with chance `hard`
out of the first `depth` of them that retrieval brings for u as he was then, in proportion to exp(`sharp` · its score); else out
of all that somebody took, in proportion to popularity^`flatten`. What u takes later can be drawn, and so can the interaction's
own item: he might have taken either then, and a law that spared them would make them look likelier than they are. A model of
positives beside such negatives learns the logit log p(i|u) − log(m q(i|u)), where p(i|u) is the chance that the next thing
that u takes is i (noise-contrastive estimation, Gutmann & Hyvärinen 2012). `offset` is log(m q(i|u)), so logit + offset is
log p(i|u). The nearer `hard` and `sharp` are to 1, the more the ranker learns what retrieval has wrong, and the more of
retrieval's order stays where it has learned nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from widedeep.declarations import check_types, within
from widedeep.errors import SchemaError
from widedeep.recommend.histories import Histories
from widedeep.rows import Bag

TRIES = 100
"""So often an item that the user had is drawn again; then his others are looked up."""


@dataclass(frozen=True)
class Negatives:
    """The law, as this module says it: `each` is m.

    `sharp` 0 draws evenly from what retrieval brings; `flatten` 0 is uniform, 1 as popular as what was taken.

    >>> Negatives(hard=0, flatten=1).popular(np.array([0, 1, 3])).tolist()
    [0.0, 0.25, 0.75]
    """

    each: int = 4
    hard: float = 0.5
    sharp: float = 1.0
    flatten: float = 0.5
    depth: int = 500

    def __post_init__(self) -> None:
        check_types(self)
        within("Negatives", "each", self.each, 1)
        within("Negatives", "depth", self.depth, 1)
        for name in ("hard", "sharp", "flatten"):
            if not 0 <= getattr(self, name) <= 1:
                raise SchemaError(f"Negatives: {name} must lie in [0, 1]. Got {getattr(self, name)}.")
        if self.hard == 1:
            raise SchemaError("Negatives: hard must be below 1, so that every item can be drawn. Got 1. Pass 0.9.")

    def popular(self, popularity: np.ndarray) -> np.ndarray:
        """The chance of each item (items,) where retrieval has no part, of a user who had nothing: 0 of what nobody took."""
        weights = np.where(popularity > 0, np.maximum(popularity, 1).astype(np.float64) ** self.flatten, 0)
        return weights / weights.sum()

    def near(self, scores: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
        """The chance of each item among the first `depth` that retrieval brings, by its scores, the best first: (users, items).

        It is 0 behind them, and where scores are −inf. Items that the user had (`seen`, a mask of that shape) are none of the
        `depth`, and do not count in the sum for the others; theirs is what it would be beside those if he had not.

        >>> Negatives(depth=2).near(np.log([[4.0, 3, 1, 1]]), np.array([[True, False, False, False]])).round(3).tolist()
        [[0.5, 0.75, 0.25, 0.0]]
        """
        there = np.isfinite(scores)
        unseen = there if seen is None else there & ~seen
        inside = there & (np.cumsum(unseen, axis=1) - unseen < self.depth)
        best = scores.max(axis=1, keepdims=True, initial=-1e30).astype(np.float64)
        weights = np.where(inside, np.exp(self.sharp * (scores - best)), 0.0)
        beside = (weights * unseen).sum(axis=1, keepdims=True)
        return weights / np.maximum(beside + np.where(unseen, 0.0, weights), 1e-300)

    def offset(self, popularity: np.ndarray, items: np.ndarray, scores: np.ndarray, taken: Bag,
               seen: np.ndarray | None = None) -> np.ndarray:
        """log(m q(i|u)) of what retrieval brings, the best first, by number and score: (users, items).

        `taken` is what users had (a row each), `seen` which of the items are of it. What nobody took is never drawn beside
        `hard`: it counts there as the least popular item that somebody took.
        """
        law = self.popular(popularity)
        least = law[law > 0].min()
        had = np.bincount(taken.row_of, law[taken.flat], minlength=len(taken))
        even = np.maximum(law, least)[items] / np.maximum(1 - had, least)[:, None]
        return np.log(self.each * np.maximum(self.hard * self.near(scores, seen) + (1 - self.hard) * even, 1e-30))

    def draw(self, histories: Histories, rows: np.ndarray, popularity: np.ndarray, items: np.ndarray, scores: np.ndarray,
             rng: np.random.Generator) -> np.ndarray:
        """Negatives of these interactions: numbers of items, (rows, each).

        `items` and `scores` (rows, depth) are what retrieval brings each one's user, without what he had before it.
        """
        found, row, law = self._close(items, scores, rng).ravel(), np.repeat(rows, self.each), self.popular(popularity)
        rising, left = np.cumsum(law), np.flatnonzero(found < 0)
        for _ in range(TRIES):
            drawn = np.minimum(np.searchsorted(rising, rng.random(len(left)) * rising[-1], side="right"), len(law) - 1)
            fine = ~histories.had(row[left], drawn)
            found[left[fine]] = drawn[fine]
            left = left[~fine]
        for place in left:
            others = law.copy()
            others[histories.before(row[place:place + 1], len(histories.user)).flat] = 0
            found[place] = rng.choice(len(law), p=others / others.sum())
        return found.reshape(-1, self.each)

    def _close(self, items: np.ndarray, scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Those drawn from what retrieval brings, (rows, each); −1 where the draw is from all items."""
        found = np.full((len(items), self.each), -1, np.int64)
        if not self.hard:
            return found
        near, start = np.cumsum(self.near(scores), axis=1), np.arange(len(items))[:, None]
        rising = (near / np.maximum(near[:, -1:], 1e-300) + start).ravel()
        place = np.searchsorted(rising, rng.random(found.shape) + start, side="right")
        close = (rng.random(found.shape) < self.hard) & (near[:, -1:] > 0)
        return np.where(close, items.ravel()[np.minimum(place, (start + 1) * items.shape[1] - 1)], found)
