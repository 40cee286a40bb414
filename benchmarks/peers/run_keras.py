"""Keras 3 on TensorFlow: functional model, `compile` and `fit`.

Differs from ours: one optimizer for the whole model, so AdaGrad for the wide tower too; that optimizer takes a table's gradient
as rows but passes over the whole table; the loss is the mean over the batch. bf16 is Keras's `mixed_bfloat16` policy, with the
embeddings' outputs and the logits in f32. Variants: one table for all columns, by offset, or one for each; XLA; several steps
per execution; NumPy arrays or a `tf.data` pipeline of whole batches.
"""

from __future__ import annotations

import os

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}

import time
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import protocol
import shapes

VARIANTS = {
    "one table, tf.data": {"pipeline": True},
    "one table, tf.data, 8 steps an execution": {"pipeline": True, "executions": 8},
    "one table, arrays": {},
    "a table a column, arrays": {"packed": False},
    "one table, tf.data, XLA": {"pipeline": True, "jit": True},
}


class Clock(keras.callbacks.Callback):
    """Times an epoch."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds = time.perf_counter() - self.start


class System:
    """A compiled model and its rows."""

    def __init__(self, shape: shapes.Shape, data: shapes.Data, precision: str, threads: int, packed: bool = True,
                 pipeline: bool = False, executions: int = 1, jit: bool = False):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        keras.utils.set_random_seed(0)
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if precision == "bf16" else "float32")
        self.shape, self.jit, self.steps = shape, jit, len(data.labels) // shape.batch
        self.model = _model(shape, packed)
        self.model.compile(_adagrad(), keras.losses.BinaryCrossentropy(from_logits=True), steps_per_execution=executions,
                           jit_compile=jit)
        columns = {"ids": shapes.packed(data.ids, shape.rows) if packed else data.ids, "numbers": data.numbers}
        columns |= {"wide": shapes.wide_ids(shape, data)} if shape.wide else {}
        self.columns = {name: columns[name].astype(np.float32 if name == "numbers" else np.int32)
                        for name in self.model.input}
        self.rows: dict[str, Any] = {"x": self.columns, "y": data.labels[:, None], "batch_size": shape.batch, "shuffle": True}
        if pipeline:
            self.rows = {"x": _batches(self.columns, data.labels[:, None], shape.batch)}
        self._bare: Bare | None = None

    def joint(self) -> tuple[float, float]:
        clock = Clock()
        history = self.model.fit(**self.rows, epochs=1, verbose=0, callbacks=[clock])
        return clock.seconds, float(history.history["loss"][-1])

    def bare(self) -> tuple[float, float]:
        self._bare = self._bare or Bare(self.shape, self.steps, self.jit)
        return self._bare.round()


class Bare:
    """The MLP's step on one dense random batch, whose own gradient is computed because embeddings would need it."""

    def __init__(self, shape: shapes.Shape, steps: int, jit: bool):
        inputs = keras.Input((shape.width,))
        plain = replace(shape, batch_norm=False, dropout=0.0)
        self.net, self.optimizer, self.steps = keras.Model(inputs, _mlp(plain, inputs)), _adagrad(), steps
        self.optimizer.build(self.net.trainable_variables)
        self.inputs, self.labels = tf.random.normal((shape.batch, shape.width)), tf.round(tf.random.uniform((shape.batch, 1)))
        self.step = tf.function(self._step, jit_compile=jit)

    def _step(self) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(self.inputs)
            logits = self.net(self.inputs, training=True)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(self.labels, logits))
        of_inputs, *gradients = tape.gradient(loss, [self.inputs, *self.net.trainable_variables])
        self.optimizer.apply(gradients, self.net.trainable_variables)
        return loss, of_inputs

    def round(self) -> tuple[float, float]:
        """All steps: seconds, mean loss."""
        start = time.perf_counter()
        losses = [float(self.step()[0]) for _ in range(self.steps)]
        return time.perf_counter() - start, float(np.mean(losses))


def _adagrad() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adagrad(protocol.RATE, initial_accumulator_value=protocol.ACCUMULATOR)


def _mlp(shape: shapes.Shape, values: Any) -> Any:
    """Linear, batch norm if any, ReLU, dropout if any, for each hidden layer; then one output in f32."""
    for units in shape.hidden:
        values = keras.layers.Dense(units, activation=None if shape.batch_norm else "relu")(values)
        if shape.batch_norm:
            values = keras.layers.ReLU()(keras.layers.BatchNormalization()(values))
        if shape.dropout:
            values = keras.layers.Dropout(shape.dropout)(values)
    return keras.layers.Dense(1, dtype="float32")(values)


def _model(shape: shapes.Shape, packed: bool) -> keras.Model:
    inputs = {"ids": keras.Input((len(shape.rows),), dtype="int32", name="ids")}
    if packed:
        embedded = [keras.layers.Flatten()(keras.layers.Embedding(sum(shape.rows), shape.dim, dtype="float32")(inputs["ids"]))]
    else:
        embedded = [keras.layers.Embedding(rows, shape.dim, dtype="float32")(inputs["ids"][:, i])
                    for i, rows in enumerate(shape.rows)]
    if shape.numbers:
        inputs["numbers"] = keras.Input((shape.numbers,), name="numbers")
    values = [*embedded, *([inputs["numbers"]] if shape.numbers else [])]
    logits = [_mlp(shape, keras.layers.Concatenate(dtype="float32")(values) if len(values) > 1 else values[0])]
    if shape.wide:
        inputs["wide"] = keras.Input((len(shape.wide_rows),), dtype="int32", name="wide")
        weights = keras.layers.Embedding(sum(shape.wide_rows), 1, embeddings_initializer="zeros", dtype="float32")
        logits.append(keras.ops.sum(weights(inputs["wide"]), axis=1))
        logits += [keras.layers.Dense(1, dtype="float32")(inputs["numbers"])] if shape.numbers else []
    return keras.Model(inputs, keras.layers.Add(dtype="float32")(logits) if len(logits) > 1 else logits[0])


def _batches(columns: dict[str, np.ndarray], labels: np.ndarray, batch: int) -> tf.data.Dataset:
    """Shuffled whole batches: row numbers are shuffled and batched, then rows gathered, which is cheaper than row by row."""
    whole = {name: tf.constant(values) for name, values in columns.items()}, tf.constant(labels)
    numbers = tf.data.Dataset.range(len(labels)).shuffle(len(labels)).batch(batch)
    return numbers.map(lambda rows: tf.nest.map_structure(lambda values: tf.gather(values, rows), whole),
                       num_parallel_calls=1).prefetch(2)


if __name__ == "__main__":
    protocol.serve(System, VARIANTS, ("keras", "tensorflow-cpu", "numpy"))
