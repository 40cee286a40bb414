"""Ours, as a user runs it: `wd.fit` on a table of strings, with shipped defaults; a round is one epoch of it.

The fit runs in a thread that waits between epochs, so that other systems can have their turn. The bare MLP beside it is
written by hand in TensorFlow, all steps in one compiled call.
"""

from __future__ import annotations

import threading
import time
from queue import Queue
from typing import Any

import numpy as np
import pyarrow as pa

import protocol
import shapes
import widedeep as wd
from widedeep._keras import tf, tf_keras
from widedeep.run import start

VARIANTS: dict[str, dict[str, Any]] = {"shipped defaults": {}}


def schema_of(shape: shapes.Shape, precision: str) -> wd.Schema:
    """Hashed columns of strings, numbers and crosses, in the sizes of the shape."""
    ids, numbers = [f"c{i}" for i in range(len(shape.rows))], [f"x{i}" for i in range(shape.numbers)]
    columns: dict[str, Any] = {name: wd.Hashed(bins=rows) for name, rows in zip(ids, shape.rows)}
    columns |= {name: wd.Numeric() for name in numbers}
    crosses = {f"{ids[a]} x {ids[b]}": wd.Crossed((ids[a], ids[b]), bins=shape.cross_rows) for a, b in shape.crosses}
    wide = wd.Wide((*ids, *crosses, *numbers)) if shape.wide else wd.Wide()
    deep = wd.Deep((*ids, *numbers), hidden=shape.hidden, batch_norm=shape.batch_norm, dropout=shape.dropout, width=shape.dim,
                   precision=precision) if shape.hidden else wd.Deep()
    training = wd.Training(batch=shape.batch, epochs=1_000_000)
    return wd.Schema(wd.Label("y"), columns | crosses, wide, deep, training)


def table_of(data: shapes.Data) -> pa.Table:
    """The drawn rows as a user has them: ids are text."""
    columns = {f"c{i}": _text(i, column) for i, column in enumerate(data.ids.T)}
    columns |= {f"x{i}": pa.array(column) for i, column in enumerate(data.numbers.T)}
    return pa.table(columns | {"y": pa.array(data.labels.astype(np.int8))})


def _text(index: int, ids: np.ndarray) -> pa.Array:
    distinct, codes = np.unique(ids, return_inverse=True)
    words = pa.array([f"{index}-{number:x}" for number in distinct.tolist()])
    return words.take(pa.array(codes))


class Turns(tf_keras.callbacks.Callback):
    """Lets an epoch begin when it is asked for, and hands over its figures."""

    def __init__(self):
        super().__init__()
        self.asked, self.done = threading.Semaphore(0), Queue()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.asked.acquire()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.done.put((logs["seconds"], logs["loss"]))


class System:
    """A fit under way, and the bare MLP."""

    def __init__(self, shape: shapes.Shape, data: shapes.Data, precision: str, threads: int):
        start(threads)
        self.shape, self.precision, self.steps = shape, precision, len(data.labels) // shape.batch
        self.turns, self._bare = Turns(), None
        threading.Thread(target=self._fit, args=(data,), daemon=True).start()

    def _fit(self, data: shapes.Data) -> None:
        try:
            wd.fit(schema_of(self.shape, self.precision), table_of(data), valid=None, callbacks=[self.turns], progress=False)
        except BaseException as error:
            self.turns.done.put(error)
            raise

    def joint(self) -> tuple[float, float]:
        self.turns.asked.release()
        done = self.turns.done.get()
        if isinstance(done, BaseException):
            raise done
        return done

    def bare(self) -> tuple[float, float]:
        self._bare = self._bare or bare(self.shape, self.precision, self.steps)
        begun = time.perf_counter()
        loss = float(self._bare())
        return time.perf_counter() - begun, loss


def bare(shape: shapes.Shape, precision: str, steps: int) -> tf.types.experimental.PolymorphicFunction:
    """All steps of the shape's MLP under AdaGrad, the gradient of its input included, as one compiled call → mean loss.

    Dense layers and ReLUs, without batch norm and dropout.
    """
    widths = (shape.width, *shape.hidden, 1)
    weights = [tf.Variable(tf.random.normal((a, b), stddev=a**-0.5)) for a, b in zip(widths, widths[1:])]
    weights += [tf.Variable(tf.zeros(b)) for b in widths[1:]]
    slots = [tf.Variable(tf.fill(weight.shape, protocol.ACCUMULATOR)) for weight in weights]
    inputs = tf.random.normal((shape.batch, shape.width))
    labels = tf.cast(tf.random.uniform((shape.batch, 1)) < 0.5, tf.float32)
    kind, layers = tf.bfloat16 if precision == "bf16" else tf.float32, len(shape.hidden)

    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            hidden = tf.cast(inputs, kind)
            for kernel, bias in zip(weights[:layers], weights[layers + 1:]):
                hidden = tf.nn.relu(tf.nn.bias_add(hidden @ tf.cast(kernel, kind), tf.cast(bias, kind)))
            logits = tf.cast(hidden, tf.float32) @ weights[layers] + weights[-1]
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, [*weights, inputs])
        for weight, slot, gradient in zip(weights, slots, gradients):
            tf.raw_ops.ResourceApplyAdagradV2(
                var=weight.handle, accum=slot.handle, lr=protocol.RATE, epsilon=1e-7, grad=gradient)
        return loss + 1e-30 * gradients[-1][0, 0]  # or the input's gradient would be pruned

    @tf.function
    def run() -> tf.Tensor:
        total = tf.zeros(())
        for _ in tf.range(steps):
            total += step()
        return total / steps
    return run


if __name__ == "__main__":
    protocol.serve(System, VARIANTS, ("widedeep", "tensorflow", "tf_keras", "tensorflow-recommenders"))
