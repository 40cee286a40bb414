"""What users took, in order: who has what, and what he had before. By numbers of users and items."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from widedeep.rows import Bag


@dataclass(frozen=True)
class Histories:
    """Each user's items, earliest first, each once: a bag with a row per user. An interaction is an element of it.

    `time` (interactions,), where there are times, tells what was taken at once: none of that came before the rest.

    >>> Histories(Bag(np.array([7, 5, 6]), np.array([0, 2, 3]))).user.tolist()
    [0, 0, 1]
    """

    taken: Bag
    time: np.ndarray | None = None

    @cached_property
    def user(self) -> np.ndarray:
        """Whose each taken item is: (interactions,)."""
        return self.taken.row_of

    @cached_property
    def since(self) -> np.ndarray:
        """Of each interaction the first that its user made at the same time: (interactions,).

        >>> Histories(Bag(np.array([7, 5, 6, 8]), np.array([0, 3, 4])), np.array([1, 2, 2, 2])).since.tolist()
        [0, 1, 1, 3]
        """
        every = np.arange(len(self.user))
        if self.time is None:
            return every
        new = np.append(True, (np.diff(self.user) != 0) | (self.time[1:] != self.time[:-1]))[:len(every)]
        return np.maximum.accumulate(np.where(new, every, 0))

    def before(self, rows: np.ndarray, length: int) -> Bag:
        """What the user of each of these interactions had just before it, at most `length` items: never the item itself.

        >>> Histories(Bag(np.array([7, 5, 6]), np.array([0, 3]))).before(np.array([0, 2]), 1).flat.tolist()
        [5]
        """
        return window(self.taken.flat, self.taken.splits[self.user[rows]], self.since[rows], length)

    def had(self, rows: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Whether the user of each of these interactions had the item before it: bool (rows,). Its own item he had not.

        >>> Histories(Bag(np.array([7, 5, 6]), np.array([0, 3]))).had(np.array([1, 1, 1]), np.array([7, 5, 6])).tolist()
        [True, False, False]
        """
        width, keys, order = self._sorted
        asked = self.user[rows] * width + item
        place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return (item < width) & (keys[place] == asked) & (order[place] < self.since[rows])

    @cached_property
    def _sorted(self) -> tuple[np.int64, np.ndarray, np.ndarray]:
        """A number for each user's item, of so many to a user, sorted; and which interaction each is."""
        width = np.int64(self.taken.flat.max(initial=0)) + 1
        keys = self.user * width + self.taken.flat
        order = np.argsort(keys)
        return width, keys[order], order


def window(flat: np.ndarray, start: np.ndarray, stop: np.ndarray, length: int) -> Bag:
    """The last `length` of the numbers from each start to each stop: (rows,) each → a bag.

    >>> window(np.array([7, 5, 6, 8]), np.array([0, 3]), np.array([3, 4]), 2).flat.tolist()
    [5, 6, 8]
    """
    lengths = np.minimum(stop - start, length)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    inside = np.arange(splits[-1]) - np.repeat(splits[:-1], lengths)
    return Bag(flat[np.repeat(stop - lengths, lengths) + inside], splits)
