"""A wide & deep model over many users × their candidates: each user and each item is encoded once, pairs only meet in sums.

What a tower's first layer gets from a pair is a part of the user plus a part of the item, and so is the wide logit but for the
crosses that join both. So pairs gather two rows and add them; the further hidden layers and those crosses are all that is
computed pair by pair. A user's part is what the model makes of him beside a reference item, less that of the references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from widedeep import training
from widedeep._keras import tf, tf_keras
from widedeep.columns import RESERVED
from widedeep.encoder import Found
from widedeep.fitted import BucketFit, is_missing
from widedeep.hashing import CROSS_KEY, chain, cross, remainder
from widedeep.model import WideDeep
from widedeep.recommend.sides import Sides
from widedeep.rows import Bag
from widedeep.tables import Table

AT_ONCE = 4_096
"""Users or items that are encoded at once."""

PAIRS = 32_768
"""Pairs that go through the hidden layers at once."""


@dataclass(frozen=True)
class Part:
    """One side: its part of the wide logit (n,), of the first hidden layer (n, units), and of each two-sided cross.

    `prints` has, by cross, the fingerprints that the side's sources contribute, in order.
    """

    wide: np.ndarray
    deep: np.ndarray
    prints: dict[str, list[np.ndarray | Bag]]

    def take(self, rows: np.ndarray) -> Part:
        """The users or items at these positions."""
        prints = {name: [_take(one, rows) for one in parts] for name, parts in self.prints.items()}
        return Part(self.wide[rows], self.deep[rows], prints)


def _take(part: np.ndarray | Bag, rows: np.ndarray) -> np.ndarray | Bag:
    return part.take(rows) if isinstance(part, Bag) else part[rows]


class Pairs:
    """Scores of users × candidates. `reference` is one row of each side, `item_rows` and `user_rows` those of `Sides`."""

    def __init__(self, model: WideDeep, sides: Sides, user: pa.Table, item: pa.Table):
        self.model, self.encoder, self.reference = model, model.encoder, {"user": user, "item": item}
        self.crosses = sides.two_sided("wide")
        self.is_item = {name: sides.is_item(name) for cross in self.crosses for name, _ in self.encoder.parts_of(cross)}
        self.towers = {tower.name: tower for tower in model.towers}
        self._both = self._parts("both", pa.table(dict(zip(user.column_names, user.columns)) |
                                                  dict(zip(item.column_names, item.columns))))
        self._weights = {name: _weights_of(self.towers["wide"], name) for name in self.crosses}

    def users(self, table: pa.Table) -> Part:
        """The users' part; their tables have the columns of `Sides.user_rows`."""
        return self._side("user", table)

    def items(self, table: pa.Table) -> Part:
        """The items' part; the references' own is taken off here, once."""
        part = self._side("item", table)
        return Part(part.wide - self._both.wide, part.deep - self._both.deep, part.prints)

    def _side(self, side: str, table: pa.Table) -> Part:
        other = self.reference["item" if side == "user" else "user"]
        parts = []
        for start in range(0, len(table), AT_ONCE):
            rows = table.slice(start, AT_ONCE)
            beside = other.take(np.zeros(len(rows), np.int64))
            columns = dict(zip(rows.column_names, rows.columns)) | dict(zip(beside.column_names, beside.columns))
            parts.append(self._parts(side, pa.table(columns)))
        return _joined(parts)

    def _parts(self, side: str, table: pa.Table) -> Part:
        """What both towers make of whole rows, two-sided crosses apart."""
        found = list(self.encoder.cells(Table.of(table)))
        wide, deep = [], []
        for rows, _ in found:
            features = training.tensors(rows).features
            wide.append(self._wide(features, len(rows)))
            deep.append(self._first_layer(features, len(rows)))
        prints = {name: [_join([self._print(source, place, cells) for _, cells in found])
                         for source, place in self.encoder.parts_of(name) if self.is_item[source] is (side == "item")]
                  for name in self.crosses} if side != "both" else {}
        return Part(np.concatenate(wide), np.concatenate(deep), prints)

    def _print(self, source: str, by_place: bool, found: Found) -> np.ndarray | Bag:
        """What a column contributes to a cross: a bag, empty where a single value is missing."""
        part, fit, cells = self.encoder.part(source, by_place, found.cells), self.encoder.columns[source], found.cells[source]
        if isinstance(part, Bag):
            return part
        gone = np.isnan(cells) if isinstance(fit, BucketFit) else is_missing(fit, cells)
        return Bag(part[~gone], np.concatenate([[0], np.cumsum(~gone)]))

    def _wide(self, features: dict, rows: int) -> np.ndarray:
        if "wide" not in self.towers:
            return np.zeros(rows, np.float32)
        tower = self.towers["wide"]
        return tower(self._without_crosses(features, rows))[:, 0].numpy()

    def _without_crosses(self, features: dict, rows: int) -> dict:
        features = dict(features)
        for table in self.towers["wide"].layout.tables:
            for name in self.crosses:
                if name in table.bags:
                    ids = features[table.ids_of(name)]
                    features[table.ids_of(name)] = tf.RaggedTensor.from_row_lengths(ids.values[:0], tf.zeros(rows, tf.int64))
                else:
                    keep = np.arange(len(table.singles)) != table.singles.index(name)
                    ids = features[table.matrix]
                    features[table.matrix] = tf.where(keep, ids, tf.constant(-1, ids.dtype))
        return features

    def _first_layer(self, features: dict, rows: int) -> np.ndarray:
        """What the first hidden layer puts out before its activation, in f32: (rows, units)."""
        if "deep" not in self.towers:
            return np.zeros((rows, 0), np.float32)
        tower = self.towers["deep"]
        read, added = tower.halves(tower.embedded(features))
        first = (tower.hidden or [tower.head])[0]
        out = tf.matmul(tf.cast(read, tf.float32), first.kernel) + (first.bias if first.use_bias else 0.0)
        return (out if added is None else out + added).numpy()

    def logits(self, users: Part, items: Part, candidates: np.ndarray) -> np.ndarray:
        """The model's logits, calibrated: (users, k) for candidates (users, k), places in `items`; those of −1 mean nothing."""
        candidates = np.maximum(candidates, 0)
        found = users.wide[:, None] + items.wide[candidates]
        for name in self.crosses:
            found = found + self._crossed(name, users, items, candidates)
        if "deep" in self.towers:
            found = found + self._deep(users.deep, items.deep, candidates)
        return self.model.decoded(found.ravel()).reshape(found.shape)

    def _deep(self, users: np.ndarray, items: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        at_once = max(1, PAIRS // candidates.shape[1])
        table = tf.constant(items)
        stretches = [slice(start, start + at_once) for start in range(0, len(users), at_once)]
        parts = [self._hidden_logits(tf.constant(users[some]), table, tf.constant(candidates[some])) for some in stretches]
        return np.concatenate([part.numpy() for part in parts])

    def _hidden_logits(self, users: tf.Tensor, items: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """All that follows the first hidden layer: (users, units), (items, units), (users, k) → (users, k)."""
        tower = self.towers["deep"]
        hidden = tf.gather(items, candidates) + users[:, tf.newaxis]
        hidden = tf.cast(tf.reshape(hidden, [-1, users.shape[1]]), tower.dtype_of_products)
        for layer in tower.hidden[1:]:
            hidden = layer(hidden, training=False)
        logits = tower.head(tf.cast(hidden, tf.float32)) if tower.hidden else hidden
        return tf.reshape(tf.cast(logits, tf.float32), tf.shape(candidates))

    def _crossed(self, name: str, users: Part, items: Part, candidates: np.ndarray) -> np.ndarray:
        """What a cross adds to the wide logit: (users, k)."""
        fit, table = self.encoder.columns[name], self._weights[name]
        sources = [self.is_item[source] for source, _ in self.encoder.parts_of(name)]
        ours, theirs = users.prints[name], items.prints[name]
        lookup = partial(_looked_up, table, fit.bins)
        if len(sources) == 2 and _at_most_one(theirs[0]):
            return _two_parts(lookup, ours[0], theirs[0], candidates, item_first=sources[0])
        every = np.repeat(np.arange(len(candidates)), candidates.shape[1])
        left, right = iter(_take(one, every) for one in ours), iter(_take(one, candidates.ravel()) for one in theirs)
        prints = cross([next(right) if item else next(left) for item in sources])
        return _sums(lookup(prints.flat), prints.splits).reshape(candidates.shape)


def _weights_of(tower: tf_keras.layers.Layer, name: str) -> np.ndarray:
    """The wide tower's weights of a cross, by bucket."""
    table = next(table for table in tower.tables if name in table.layout.ids)
    start = table.layout.offsets[name]
    return table.table.numpy()[start + RESERVED:start + table.layout.ids[name], 0]


def _looked_up(weights: np.ndarray, bins: int, prints: np.ndarray) -> np.ndarray:
    """The weights of fingerprints, of the same shape."""
    if bins & (bins - 1) == 0:
        ids = (prints & np.uint64(bins - 1)).view(np.int64)
    else:
        ids = remainder(prints.ravel(), bins).reshape(prints.shape)
    return weights.take(ids)


def _two_parts(lookup, ours: Bag, theirs: Bag, candidates: np.ndarray, item_first: bool) -> np.ndarray:
    """A cross of a user's list and an item's single value: every element beside every candidate, user by user."""
    key, found = np.uint64(CROSS_KEY), np.zeros(candidates.shape, np.float32)
    there = np.diff(theirs.splits) > 0
    prints = np.zeros(len(there), np.uint64)
    prints[there] = theirs.flat
    flat, items = (ours.flat, chain(key, prints)) if item_first else (chain(key, ours.flat), prints)
    for row, places in enumerate(candidates):
        mine, them = flat[ours.splits[row]:ours.splits[row + 1], None], items[places]
        if len(mine):
            found[row] = lookup(chain(them, mine) if item_first else chain(mine, them)).sum(0)
    return found * there[candidates]


def _at_most_one(part: Bag) -> bool:
    return bool((np.diff(part.splits) <= 1).all())


def _sums(values: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """The sum of each row's values, of a bag's flat ones: float32 (rows,)."""
    rising = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return (rising[splits[1:]] - rising[splits[:-1]]).astype(np.float32)


def _joined(parts: Sequence[Part]) -> Part:
    prints = {name: [_join([part.prints[name][place] for part in parts]) for place in range(len(first))]
              for name, first in parts[0].prints.items()}
    return Part(np.concatenate([part.wide for part in parts]), np.concatenate([part.deep for part in parts]), prints)


def _join(parts: Sequence[Bag]) -> Bag:
    lengths = np.concatenate([np.diff(part.splits) for part in parts])
    return Bag(np.concatenate([part.flat for part in parts]), np.concatenate([[0], np.cumsum(lengths)]))
