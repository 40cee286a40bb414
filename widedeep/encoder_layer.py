"""The encoder's mapping as a Keras layer: raw strings, numbers and lists in, the towers' features out, in one graph."""

from __future__ import annotations

from collections.abc import Mapping

from widedeep._keras import tf, tf_keras
from widedeep.columns import EMPTY, MISSING, RESERVED
from widedeep.encoder import Encoder
from widedeep.fitted import BucketFit, CrossFit, HashFit, NumericFit, VocabularyFit, as_text
from widedeep.layout import TableLayout, TowerLayout

PRESENT = "/present"
"""`inputs["city/present"]`, a bool (batch,), says which rows of `inputs["city"]` hold a value; absent, all do."""


class EncoderLayer(tf_keras.layers.Layer):
    """Raw table columns as tensors → the features that `Encoder.encode` gives, with identical ids.

    Shape: a dict by table column of (batch,) tensors, ragged (batch, None) for lists; strings, integers or floats as the
    column was in training (booleans as the texts "true" and "false"). A NaN is missing, and so is a row whose
    `<column>/present` is False, whatever stands in it. Weights of list elements come as ragged floats.
    """

    def __init__(self, encoder: Encoder):
        super().__init__(name="encoder", trainable=False)
        self.encoder = encoder

    def call(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        schema = self.encoder.schema
        found = {name: self._column(name, inputs) for name in {*schema.wide.columns, *schema.deep.columns}}
        features: dict[str, tf.Tensor | tf.RaggedTensor] = {}
        for tower in ("wide", "deep"):
            features |= self._tower(self.encoder.layout(tower), found, inputs)
        return features

    def _column(self, name: str, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor | tf.RaggedTensor:
        fit = self.encoder.columns[name]
        if isinstance(fit, CrossFit):
            return self._cross(name, fit, inputs)
        if isinstance(fit, (NumericFit, BucketFit)):
            return fit.tensor(self._number(name, inputs))
        values, there = self._values(name, fit, inputs)
        if isinstance(values, tf.RaggedTensor):
            stand_in = tf.where(self._present(name, inputs, values.nrows()), EMPTY, MISSING)
            return _fill_empty(values.with_flat_values(fit.tensor_ids(values.flat_values)), tf.cast(stand_in, tf.int64))
        return tf.where(there, fit.tensor_ids(values), tf.constant(MISSING, tf.int64))

    def _source(self, name: str) -> str:
        return self.encoder.schema.columns[name].source or name

    def _present(self, name: str, inputs: Mapping[str, tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        return inputs.get(self._source(name) + PRESENT, tf.fill([rows], True))

    def _number(self, name: str, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float64 (batch,), NaN where missing."""
        x = tf.cast(inputs[self._source(name)], tf.float64)
        return tf.where(self._present(name, inputs, tf.shape(x)[0]), x, tf.constant(float("nan"), tf.float64)) + 0.0

    def _values(self, name: str, fit: VocabularyFit | HashFit, inputs: Mapping[str, tf.Tensor]) -> tuple:
        """Canonical values and which rows have one; lists without their missing elements."""
        values = inputs[self._source(name)]
        flat = values.flat_values if isinstance(values, tf.RaggedTensor) else values
        flat, there = _canonical(flat, fit.kind, self.encoder.schema.missing)
        if isinstance(values, tf.RaggedTensor):
            return tf.ragged.boolean_mask(values.with_flat_values(flat), values.with_flat_values(there)), there
        return flat, there & self._present(name, inputs, tf.shape(flat)[0])

    def _cross(self, name: str, fit: CrossFit, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor | tf.RaggedTensor:
        parts = [self._part(source, inputs) for source in self.encoder.schema.columns[name].sources]
        crossed = tf.ragged.cross_hashed(parts, num_buckets=fit.bins) + RESERVED
        return crossed if fit.multivalued else crossed.to_tensor(default_value=-1, shape=[None, 1])[:, 0]

    def _part(self, source: str, inputs: Mapping[str, tf.Tensor]) -> tf.RaggedTensor:
        """A cross's part: raw values (buckets of numbers), a row without one where it is missing."""
        fit = self.encoder.columns[source]
        if isinstance(fit, BucketFit):
            ids = fit.tensor(self._number(source, inputs))
            return _optional(ids - RESERVED, ids != MISSING)
        values, there = self._values(source, fit, inputs)
        if isinstance(values, tf.RaggedTensor):
            rows = values.with_flat_values(_crossable(values.flat_values))
            kept = tf.repeat(self._present(source, inputs, rows.nrows()), rows.row_lengths())
            return tf.ragged.boolean_mask(rows, rows.with_flat_values(kept))
        return _optional(_crossable(values), there)

    def _tower(self, tower: TowerLayout, found: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]) -> dict:
        features = {}
        for table in tower.tables:
            features |= self._table(table, found, inputs)
        if tower.values:
            features[f"{tower.tower}/values"] = tf.concat([found[name] for name in tower.values], 1)
        return features

    def _table(self, table: TableLayout, found: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]) -> dict:
        kind = tf.int32 if table.rows < 2**31 else tf.int64
        offsets, features = table.offsets, {}
        if table.singles:
            columns = [tf.where(found[n] < 0, found[n], found[n] + offsets[n]) for n in table.singles]
            features[f"{table.name}/ids"] = tf.cast(tf.stack(columns, 1), kind)
        for name in table.bags:
            features[f"{table.name}/{name}"] = tf.cast(found[name] + offsets[name], kind)
            if name in table.weighted:
                features[f"{table.name}/{name}/weights"] = self._weights(name, inputs)
        return features

    def _weights(self, name: str, inputs: Mapping[str, tf.Tensor]) -> tf.RaggedTensor:
        column, fit = self.encoder.schema.columns[name], self.encoder.columns[name]
        values = inputs[self._source(name)]
        _, there = _canonical(values.flat_values, fit.kind, self.encoder.schema.missing)
        weights = tf.ragged.boolean_mask(tf.cast(inputs[column.weights], tf.float32), values.with_flat_values(there))
        return _fill_empty(weights, tf.ones([weights.nrows()]))


def _canonical(values: tf.Tensor, kind: str, missing: tuple[str, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Values of a column's canonical kind, and which of them are there."""
    if kind == "float":
        values = tf.cast(values, tf.float64) + 0.0
        return values, ~tf.math.is_nan(values)
    if kind == "int":
        return tf.cast(values, tf.int64), tf.ones_like(values, tf.bool)
    values = as_text(values)
    there = tf.ones_like(values, tf.bool)
    for marker in missing:
        there &= values != marker
    return values, there


def _crossable(values: tf.Tensor) -> tf.Tensor:
    return values if values.dtype == tf.int64 else as_text(values)


def _optional(values: tf.Tensor, there: tf.Tensor) -> tf.RaggedTensor:
    """Rows of one value, or none."""
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(values, there), tf.cast(there, tf.int64))


def _fill_empty(bag: tf.RaggedTensor, stand_in: tf.Tensor) -> tf.RaggedTensor:
    """A bag in which every row without elements holds its stand-in."""
    return tf.concat([bag, _optional(stand_in, bag.row_lengths() == 0)], 1)
