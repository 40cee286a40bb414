"""What the ranker learns from: each interaction among negatives drawn by law, all beside what the user had before it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from widedeep.recommend.made import Made
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.retriever import Retriever

AT_ONCE = 256
"""Interactions whose candidates are retrieved at once."""


def rows(retriever: Retriever, negatives: Negatives, held: np.ndarray, seed: int) -> tuple[Made, Made | None]:
    """Training rows, and validation rows of the interactions that are `held` out (a mask), if any: each with its negatives.

    What is kept of a row is its item's number; the row is made when it is read.
    """
    histories, rng = retriever.known.histories, np.random.default_rng([seed, 2])
    every = np.arange(len(histories.user))
    blank = rng.random(len(every)) < retriever.settings.blank
    stretches = (every[start:start + AT_ONCE] for start in range(0, len(every), AT_ONCE))
    drawn = [_negatives(retriever, negatives, some, blank[some], rng).astype(np.int32) for some in stretches]
    items = np.column_stack([histories.taken.flat, np.concatenate(drawn)])
    train, kept = (_made(name, retriever, every[part], items[part], blank[part], rng)
                   for name, part in (("training rows", ~held), ("validation rows", held)))
    return train, kept if kept.num_rows else None


def _negatives(retriever: Retriever, negatives: Negatives, some: np.ndarray, blank: np.ndarray,
               rng: np.random.Generator) -> np.ndarray:
    """Negatives of these interactions, (rows, each): from what retrieval brings their users with what they had before."""
    histories, depth = retriever.known.histories, negatives.depth if negatives.hard else 1
    had = histories.before(some, len(histories.user))
    found = retriever.brought(histories.user[some], depth, taken=had, blank=blank)
    return negatives.draw(histories, some, retriever.trained.items, found.items, found.scores, rng)


def _made(name: str, retriever: Retriever, interactions: np.ndarray, items: np.ndarray, blank: np.ndarray,
          rng: np.random.Generator) -> Made:
    """A row for each item of these interactions (rows, each), the first of which was taken; `blank` have no user's id."""
    sides, histories, length = retriever.known.sides, retriever.known.histories, retriever.settings.history
    without = rng.random(items.size) < retriever.settings.blank
    label, each = sides.schema.label.column, items.shape[1]

    def make(rows: np.ndarray) -> pa.Table:
        mine = rows // each
        row = interactions[mine]
        columns = sides.user_rows(histories.user[row], histories.before(row, length), blank[mine])
        columns |= sides.item_rows(items.ravel()[rows], without[rows])
        return pa.table(columns | {label: (rows % each == 0).astype(np.int8)})

    return Made(name, items.size, make)
