"""Retrieval: two towers, one of a user's and one of an item's columns, whose product says how likely the user takes the item.

Trained with `tfrs.tasks.Retrieval` on interactions: each row's item against the other items of its batch. Those come as often
as they are popular, so log q of each is taken from its logit (Yi et al. 2019, "Sampling-bias-corrected neural modeling for
large corpus item recommendations"): the product then learns log p(i|u) up to a constant of the user. Without it, it learns
log(p(i|u) / q(i)), and popular items come too low. This holds while an item's own chance is small: other rows' copies of it are
left out of its batch (accidental hits), so batches should not be so large that one item fills much of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from widedeep import optimizers, training
from widedeep._keras import tf, tf_keras, tfrs
from widedeep.declarations import at_least, check_types, choose, within
from widedeep.encoder import Encoder
from widedeep.errors import ArtifactError, SchemaError
from widedeep.manifest import AGAIN
from widedeep.recommend.histories import Histories
from widedeep.recommend.lists import log_shares
from widedeep.recommend.made import Made
from widedeep.recommend.sides import COUNT, Sides
from widedeep.rows import Bag, Rows
from widedeep.schema import Deep, Optimizer
from widedeep.tables import Table
from widedeep.towers import DeepTower, Dense
from widedeep.tracing import named_weights
from widedeep.views import watched

SIDES = ("user", "item")
INDEXES = ("brute", "streaming", "scann")


@dataclass(frozen=True)
class Retrieval:
    """How candidates are found: the two towers, their training, and the index.

    `width` of the vectors that are multiplied; `embedding` of each id; `hidden` layers of each tower; the last `history` items
    of a user are a feature. `correct` takes log q from the logits of in-batch negatives; `hard_negatives` keeps only so many of
    them, the hardest. `blank`: this share of rows lacks the id of the user, and as many that of the item, so that newcomers are
    known by their features. `index`: brute (exact, the items in memory), streaming (exact, in pieces), scann (approximate).

    >>> Retrieval(width=16).batch
    1024
    """

    width: int = 32
    embedding: int = 32
    hidden: tuple[int, ...] = ()
    history: int = 20
    epochs: int = 5
    batch: int = 1024
    rate: float = 0.1
    l2: float = 10.0
    correct: bool = True
    hard_negatives: int | None = None
    blank: float = 0.05
    index: str = "brute"

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("width", "embedding", "history", "batch"):
            within("Retrieval", name, getattr(self, name), 1)
        at_least("Retrieval", "epochs", self.epochs, 1)
        at_least("Retrieval", "hard_negatives", self.hard_negatives, 1)
        choose("Retrieval", "index", self.index, INDEXES)
        for units in self.hidden:
            within("Retrieval", "hidden", units, 1)
        if not 0 < self.rate < math.inf:
            raise SchemaError(f"Retrieval: rate must be above 0 and finite. Got {self.rate}.")
        if not 0 <= self.l2 < math.inf:
            raise SchemaError(f"Retrieval: l2 must be 0 or more and finite. Got {self.l2}.")
        if not 0 <= self.blank < 1:
            raise SchemaError(f"Retrieval: blank is a share below 1. Got {self.blank}.")

    @property
    def deep(self) -> Deep:
        """The towers' settings."""
        return Deep(hidden=self.hidden, width=self.embedding, l2=self.l2)

    @property
    def optimizer(self) -> Optimizer:
        """AdaGrad, which sees the summed loss."""
        return Optimizer("adagrad", rate=self.rate)


class VectorTower(DeepTower):
    """Columns → a vector. Shape: features → (batch, width)."""

    def __init__(self, name: str, encoder: Encoder, width: int, seed: int):
        super().__init__(encoder.layout("deep"), encoder.schema.deep, seed)
        self._name = name
        self.head = Dense(width, seed, name="head")


class TwoTowers(tfrs.models.Model):
    """The two towers and their task. An item's score for a user is their vectors' product, the item's bias, and its log share
    of all interactions, from which training starts.

    Shape: features under `user/…` and `item/…`, `item` the items' numbers → scores (batch,), each user's of his own item.
    """

    def __init__(self, settings: Retrieval, user: Encoder, item: Encoder, popularity: np.ndarray, seed: int = 0):
        super().__init__(name="two_towers")
        self.settings = settings
        vars(self)["encoders"] = {"user": user, "item": item}
        self.user = VectorTower("user", user, settings.width, seed)
        self.item = VectorTower("item", item, settings.width + 1, seed + 1)
        shares = np.exp(log_shares(popularity))
        vars(self)["shares"] = tf.constant(shares, tf.float32)
        self.task = tfrs.tasks.Retrieval(remove_accidental_hits=True, num_hard_negatives=settings.hard_negatives)
        self.compile(optimizer=optimizers.make(settings.optimizer))

    def user_vectors(self, features: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """(batch, width + 1); the last number, 1, meets the items' bias."""
        found = self.user(features, training=training)
        return tf.concat([found, tf.ones_like(found[:, :1])], 1)

    def item_vectors(self, features: Mapping[str, tf.Tensor], log_share: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(batch, width + 1); the last number is the bias, with the log share (batch,) of the item."""
        found = self.item(features, training=training)
        return tf.concat([found[:, :-1], found[:, -1:] + log_share[:, tf.newaxis]], 1)

    def call(self, features: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        users, items = self._vectors(features, training)
        return tf.reduce_sum(users * items, 1)

    def _vectors(self, features: Mapping[str, tf.Tensor], training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        users, share = self.user_vectors(part_of(features, "user"), training), tf.gather(self.shares, features["item"])
        return users, self.item_vectors(part_of(features, "item"), tf.math.log(share), training)

    def compute_loss(self, inputs: tuple, training: bool = False) -> tf.Tensor:
        """Cross-entropy of each row's own item among those of its batch, summed over rows."""
        features, *_ = tf_keras.utils.unpack_x_y_sample_weight(inputs)
        users, items = self._vectors(features, training)
        number = features["item"]
        drawn = tf.gather(self.shares, number) / tf.reduce_max(self.shares)  # a softmax does not see the factor
        return self.task(users, items, candidate_ids=number, compute_metrics=False,
                         candidate_sampling_probability=drawn if self.settings.correct else None)

    def train_step(self, inputs: tuple) -> dict[str, tf.Tensor]:
        """One update; returns the mean loss of a row."""
        with tf.GradientTape() as tape:
            loss = self.compute_loss(inputs, training=True)
            penalised = tf.add_n([loss, *self.losses])
        self.optimizer.apply_gradients(zip(tape.gradient(penalised, self.trainable_variables), self.trainable_variables))
        return {"loss": loss / tf.cast(tf.shape(inputs[1])[0], tf.float32)}

    def weigh(self, rows: Rows) -> None:
        """Tell tables with a penalty how many training rows have each id."""
        for tower in (self.user, self.item):
            for table in tower.tables:
                if table.l2:
                    table.frequency.assign(_touches(table.layout, rows, tower.name))

    def of_users(self, table: pa.Table) -> np.ndarray:
        """The vectors of users' rows: float32 (rows, width + 1)."""
        return np.concatenate([self.user_vectors(training.tensors(rows).features).numpy()
                               for rows, _ in self.encoders["user"].stream(Table.of(table), labelled=False)])

    def of_items(self, table: pa.Table, popularity: np.ndarray) -> np.ndarray:
        """The vectors of items' rows, of which training saw so many interactions: float32 (rows, width + 1)."""
        parts, share = [], log_shares(popularity).astype(np.float32)
        for rows, _ in self.encoders["item"].stream(Table.of(table), labelled=False):
            parts.append(self.item_vectors(training.tensors(rows).features, tf.constant(share[:len(rows)])).numpy())
            share = share[len(rows):]
        return np.concatenate(parts)

    def state(self) -> dict[str, np.ndarray]:
        """All weights by name."""
        return {name: variable.numpy() for name, variable in named_weights(self).items()}


def restored(settings: Retrieval, encoders: Mapping[str, Encoder], sides: Sides, popularity: np.ndarray,
             state: Mapping[str, np.ndarray]) -> TwoTowers:
    """The towers whose `state` this is. Raises: ArtifactError naming what does not fit."""
    model = TwoTowers(settings, encoders["user"], encoders["item"], popularity)
    nothing = Bag(np.zeros(0, np.int32), np.zeros(2, np.int64))
    tables = {"user": pa.table(sides.user_rows(np.array([0]), nothing)), "item": pa.table(sides.item_rows(np.array([0])))}
    model(training.tensors(_encoded(encoders, tables, np.array([0]))).features)
    weights = named_weights(model)
    if shapes := {name: part.shape for name, part in state.items() if name not in weights or part.shape != weights[name].shape}:
        raise ArtifactError(f"The weights of retrieval must be those of its settings. Got others: {shapes}. {AGAIN}")
    if lost := sorted(set(weights) - set(state)):
        raise ArtifactError(f"The weights of retrieval must all be there. Got none of {lost[:6]}. {AGAIN}")
    for name, part in state.items():
        weights[name].assign(part)
    return model


def part_of(features: Mapping[str, Any], side: str) -> dict[str, Any]:
    """The features of one side, by their own names."""
    return {name.removeprefix(f"{side}/"): part for name, part in features.items() if name.startswith(f"{side}/")}


def _touches(layout: Any, rows: Rows, side: str) -> np.ndarray:
    """In how many places of the rows each id of a table stands: float32 (ids,)."""
    parts = [rows.features[f"{side}/{layout.matrix}"].ravel()] if layout.singles else []
    parts += [rows.features[f"{side}/{layout.ids_of(bag)}"].flat for bag in layout.bags]
    return sum(np.bincount(part[part >= 0], minlength=layout.rows) for part in parts).astype(np.float32)


def fit(settings: Retrieval, sides: Sides, histories: Histories, popularity: np.ndarray, seed: int = 0,
        progress: bool | None = None, only: np.ndarray | None = None) -> tuple[TwoTowers, training.History]:
    """Train the two towers on every interaction, or on those at the positions `only`, for all epochs.

    Raises: DataError for columns that cannot be encoded; TrainingError if the loss is not finite.
    """
    tf.random.set_seed(seed)
    rng = np.random.default_rng([seed, 1])
    only = np.arange(len(histories.user)) if only is None else only
    tables = {side: _rows_of(sides, side, histories, settings, only, rng) for side in SIDES}
    fitted = {side: Encoder.fit(sides.encoding(side == "item", settings.deep, settings.optimizer), table)
              for side, table in tables.items()}
    rows = _encoded(fitted, tables, histories.taken.flat[only], progress)
    model = TwoTowers(settings, fitted["user"], fitted["item"], popularity, seed)
    model(training.tensors(rows.slice(0, 1)).features)
    model.weigh(rows)
    history = training.fit(model, rows, batch=settings.batch, epochs=settings.epochs, seed=seed, progress=progress)
    return model, history


def _rows_of(sides: Sides, side: str, histories: Histories, settings: Retrieval, only: np.ndarray,
             rng: np.random.Generator) -> Made:
    """A row per interaction, of one side's columns and a counter."""
    blank = rng.random(len(only)) < settings.blank

    def make(rows: np.ndarray) -> pa.Table:
        these = only[rows]
        if side == "user":
            columns = sides.user_rows(histories.user[these], histories.before(these, settings.history), blank[rows])
        else:
            columns = sides.item_rows(histories.taken.flat[these], blank[rows])
        return pa.table(columns | {COUNT: rows})

    return Made(f"interactions ({side}s)", len(only), make)


def _encoded(encoders: Mapping[str, Encoder], tables: Mapping[str, Any], items: np.ndarray,
             progress: bool | None = False) -> Rows:
    features: dict[str, Any] = {"item": items.astype(np.int32)}
    for side, encoder in encoders.items():
        with watched(Table.of(tables[side]), f"encoding interactions ({side}s)", progress) as table:
            found = encoder.rows(table, labelled=False).features
        features |= {f"{side}/{name}": part for name, part in found.items()}
    return Rows(features, labels=np.zeros(len(items), np.float32))
