"""The first stage, ready to answer: every item is encoded once, and the best of them are brought to each user."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from widedeep.recommend.catalogue import Known
from widedeep.recommend.histories import window
from widedeep.recommend.index import Index
from widedeep.recommend.lists import Lists
from widedeep.recommend.retrieval import Retrieval, TwoTowers
from widedeep.recommend.sides import HISTORY, reads_of
from widedeep.rows import Bag


class Trained(NamedTuple):
    """What training saw, under the numbers of now: how many users took each item (items,), which users were there (users,)."""

    items: np.ndarray
    users: np.ndarray


class Retriever:
    """The two towers beside all that is known; `index` is that of a retriever of the same items, made anew without one."""

    def __init__(self, settings: Retrieval, known: Known, trained: Trained, towers: TwoTowers, index: Index | None = None):
        self.settings, self.known, self.trained, self.towers = settings, known, trained, towers
        self.index = index or Index(settings.index, towers.of_items(self.items(), trained.items))

    def items(self) -> pa.Table:
        """Every item's row; training has not seen the id of one that nobody took, and so it is left out."""
        return pa.table(self.known.sides.item_rows(np.arange(len(self.trained.items)), blank=self.trained.items == 0))

    def user_rows(self, users: np.ndarray, taken: Bag, blank: np.ndarray | None = None) -> pa.Table:
        """What is known of users who took so much: a row each.

        Training has not seen the id of one who took nothing then, and so it is left out, as it is of those in `blank` (a mask).
        """
        unseen, last = ~self._seen(users), window(taken.flat, taken.splits[:-1], taken.splits[1:], self.settings.history)
        return pa.table(self.known.sides.user_rows(users, last, unseen if blank is None else unseen | blank))

    def brought(self, users: np.ndarray, depth: int, exclude_seen: bool = True, taken: Bag | None = None,
                blank: np.ndarray | None = None) -> Lists:
        """What retrieval brings users by number, −1 for one who is unknown; `taken` and `blank` as in `user_rows`."""
        taken = self.known.taken(users) if taken is None else taken
        vectors = self.towers.of_users(self.user_rows(users, taken, blank))
        items, scores = self.index.best(vectors, min(depth, len(self.trained.items)), taken if exclude_seen else None)
        sources = np.where(self._seen(users)[:, None] & (self.trained.items[items] > 0), 0, 1)
        return Lists(items, scores, sources, np.full(scores.shape, np.nan))

    def _seen(self, users: np.ndarray) -> np.ndarray:
        """Which of the users training saw take something: bool (users,)."""
        return (users >= 0) & self.trained.users[np.maximum(users, 0)]

    def described(self, users: np.ndarray, taken: Bag) -> np.ndarray:
        """Of whom something is known that the schema reads: his id in training, his history, or a feature. Bool (users,)."""
        described = (np.diff(taken.splits) > 0) & self._reads_histories
        described[users >= 0] |= self.known.described[users[users >= 0]]
        return described | self._seen(users) if self.known.names.user in reads_of(self.known.sides.schema) else described

    @cached_property
    def _reads_histories(self) -> bool:
        return any(name == HISTORY or name.startswith(f"{HISTORY}.") for name in reads_of(self.known.sides.schema))

    def extended(self, interactions: Any = None, users: Any = None, items: Any = None) -> Retriever:
        """One that knows more, with the same towers. Raises: DataError as `Known.extended` does."""
        old, known = self.known.interactions, self.known.extended(interactions, users, items)
        places = [old.item_numbers(known.interactions.item_ids), old.user_numbers(known.interactions.user_ids)]
        trained = Trained(*(np.where(at < 0, seen.dtype.type(0), seen[at]) for at, seen in zip(places, self.trained)))
        same = interactions is None and items is None
        return Retriever(self.settings, known, trained, self.towers, self.index if same else None)
