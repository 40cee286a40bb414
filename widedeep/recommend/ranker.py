"""The second stage, ready to answer: the wide & deep model puts what retrieval brings in order, with chances that hold."""

from __future__ import annotations

import numpy as np

from widedeep.model import WideDeep
from widedeep.recommend.lists import Lists, shares
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.next_item import NextItem
from widedeep.recommend.pairs import Pairs
from widedeep.recommend.retriever import Retriever
from widedeep.rows import Bag

AT_ONCE = 256
"""Users who are answered at once."""

MOST_HELD = 4_096
"""So many held-out interactions say how far scores can be trusted."""


class Ranker:
    """The model behind a retriever, trained on negatives by a law; every item is encoded once.

    `before` is a ranker of the same model and items, whose encoding is taken over.
    """

    def __init__(self, model: WideDeep, retriever: Retriever, negatives: Negatives, next_item: NextItem | None = None,
                 before: Ranker | None = None):
        self.model, self.retriever, self.negatives, self.next_item = model, retriever, negatives, next_item or NextItem()
        if before is not None:
            self.pairs, self.item_part = before.pairs, before.item_part
            return
        nobody, items = Bag(np.zeros(0, np.int32), np.zeros(2, np.int64)), retriever.items()
        self.pairs = Pairs(model, retriever.known.sides, retriever.user_rows(np.array([-1]), nobody), items.slice(0, 1))
        self.item_part = self.pairs.items(items)

    def ranked(self, users: np.ndarray, taken: Bag, found: Lists, count: int, seen: np.ndarray | None = None) -> Lists:
        """The first `count` of what retrieval brings users who took so much, ranked; `seen` masks what they had.

        All that it brings says by what law negatives were drawn.
        """
        offset = self.negatives.offset(self.retriever.trained.items, found.items, found.scores, taken, seen)[:, :count]
        items, sources = found.items[:, :count], found.sources[:, :count]
        part = self.pairs.users(self.retriever.user_rows(users, taken))
        scores = self.next_item.applied(self.pairs.logits(part, self.item_part, items) + offset)
        scores = np.where(items < 0, -np.inf, scores)
        order = np.argsort(-scores, axis=1, kind="stable")
        return Lists(*(np.take_along_axis(one, order, 1) for one in (items, scores, sources, shares(scores))))

    def held_to(self, held: np.ndarray) -> None:
        """Find what scores before these interactions, which no stage saw, say of what was taken; `next_item` is that now."""
        self.next_item, scores, places = NextItem(), [], []
        histories, depth = self.retriever.known.histories, self.negatives.depth
        some = held[np.linspace(0, len(held) - 1, min(len(held), MOST_HELD)).astype(int)]
        for start in range(0, len(some), AT_ONCE):
            rows = some[start:start + AT_ONCE]
            users, had = histories.user[rows], histories.before(rows, len(histories.user))
            lists = self.ranked(users, had, self.retriever.brought(users, depth, taken=had), depth)
            described = self.retriever.described(users, had)
            hit = (lists.items == histories.taken.flat[rows][:, None])[described]
            scores.append(lists.scores[described])
            places.append(np.where(hit.any(axis=1), hit.argmax(axis=1), -1))
        if scores:
            self.next_item = NextItem.found(np.concatenate(scores), np.concatenate(places))
