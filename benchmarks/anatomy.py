"""Where a training step's time goes, and what each way to do it costs: the Criteo-shaped step, all ways in turn in one run.

    python benchmarks/anatomy.py [--json] [--save]

`shipped` is the library; every other way takes one thing back, or does one thing that it does not. Steps are timed alone,
without input. `parts` are single operations of the step, in isolation, less the time of an empty call.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import record

sys.path.append(str(Path(__file__).parent / "peers"))

import shapes
from run_widedeep import bare, schema_of

from widedeep import optimizers, towers
from widedeep._keras import tf
from widedeep.encoder import Encoder
from widedeep.model import WideDeep
from widedeep.rows import Rows
from widedeep.training import _slice, tensors

SHAPE = shapes.SHAPES["criteo"]
ROUNDS, STEPS = 9, 12
RATE = 0.05


@contextmanager
def patched(*changes: tuple[type | Any, str, Any]) -> Iterator[None]:
    """Attributes changed for a while."""
    kept = [(owner, name, vars(owner).get(name)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in kept:
            delattr(owner, name) if value is None else setattr(owner, name, value)


def _gather_every_id(table: towers.EmbeddingTable, ids: tf.Tensor) -> tf.Tensor:
    rows = tf.gather(table.table, tf.maximum(ids, 0))
    return rows * tf.cast(ids >= 0, rows.dtype)[:, tf.newaxis] if table.layout.dropping else rows


@tf.custom_gradient
def _spread_by_segments(rows: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.math.unsorted_segment_sum(upstream, place, tf.shape(rows)[0]), None
    return tf.gather(rows, place), gradient


def _subtract(self: optimizers.AdaGrad, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor, apply_state: Any = None) -> Any:
    settings, squares = apply_state[(var.device, var.dtype.base_dtype)], self.get_slot(var, "accumulator")
    n = tf.gather(squares, indices) + tf.square(grad)
    change = settings["lr_t"] * grad / (tf.sqrt(n) + settings["epsilon"])
    return tf.group(var.scatter_sub(tf.IndexedSlices(change, indices)), squares.scatter_update(tf.IndexedSlices(n, indices)))


def _kernels(kind: type) -> tuple[type, str, Any]:
    base = next(base for base in kind.__mro__ if base.__module__.startswith("tf_keras"))
    return kind, "_resource_apply_sparse", vars(base)["_resource_apply_sparse"]


KERNELS = (_kernels(optimizers.FTRL), _kernels(optimizers.AdaGrad))
FIND_AGAIN = (optimizers.TowerOptimizers, "apply_distinct", optimizers.TowerOptimizers.apply_gradients)
WAYS: dict[str, tuple] = {
    "every id gathered, rows found and summed by the optimizer, TensorFlow's sparse kernels":
        (*KERNELS, FIND_AGAIN, (towers.EmbeddingTable, "_gather", _gather_every_id)),
    "each distinct row gathered once, TensorFlow's sparse kernels": KERNELS,
    "shipped": (),
    "shipped, but the optimizer finds distinct rows again": (FIND_AGAIN,),
    "shipped, but the wide tower's gradients summed as segments": ((towers, "_spread", _spread_by_segments),),
    "shipped, but AdaGrad subtracts from rows in place": ((optimizers.AdaGrad, "_resource_apply_sparse", _subtract),),
    "shipped, but TensorFlow's own bias gradient": ((towers, "_add_bias", tf.nn.bias_add),),
}


def batches() -> Rows:
    """Encoded rows of all the batches of a round."""
    data = shapes.draw(SHAPE, STEPS * SHAPE.batch)
    wide = shapes.packed(np.concatenate([data.ids, data.crosses], 1) + 3, tuple(rows + 3 for rows in SHAPE.wide_rows))
    deep = shapes.packed(data.ids + 3, tuple(rows + 3 for rows in SHAPE.rows))
    return Rows({"wide/ids": wide.astype(np.int32), "wide/values": data.numbers, "deep.16/ids": deep.astype(np.int32),
                 "deep/values": data.numbers}, data.labels)


def step_of(precision: str, rows: Rows, changes: tuple) -> Callable[[], tf.Tensor]:
    """All steps of one way as one compiled call."""
    schema = schema_of(SHAPE, precision)
    names = {name: ["a", "b"] for name in schema.features if name.startswith("c")}
    frame = pd.DataFrame(names | {name: [0.0, 1.0] for name in schema.features if name not in names} | {"y": [0, 1]})
    data = tensors(rows)

    @tf.function
    def run() -> tf.Tensor:
        total = tf.zeros(())
        for i in tf.range(STEPS):
            total += model.train_step(_slice(data, i * SHAPE.batch, (i + 1) * SHAPE.batch))["loss"]
        return total

    with patched(*changes):
        model = WideDeep(schema, Encoder.fit(schema, frame))
        run()
    return run


def packed_of(precision: str, rows: Rows) -> Callable[[], tf.Tensor]:
    """The same step by hand, a row's weights and slots lying side by side in one table: AdaGrad's (w, n), FTRL's (z, n)."""
    data, dim, kind = tensors(rows), SHAPE.dim, tf.bfloat16 if precision == "bf16" else tf.float32
    deep = tf.Variable(tf.concat([tf.random.uniform((sum(SHAPE.rows) + 3 * len(SHAPE.rows), dim), -0.05, 0.05),
                                  tf.fill((sum(SHAPE.rows) + 3 * len(SHAPE.rows), dim), 0.1)], 1))
    wide = tf.Variable(tf.tile([[0.0, 0.1]], [sum(SHAPE.wide_rows) + 3 * len(SHAPE.wide_rows), 1]))
    widths = (SHAPE.width, *SHAPE.hidden, 1)
    layers = [(tf.Variable(tf.random.normal((a, b), stddev=a**-0.5)), tf.Variable(tf.zeros(b)))
              for a, b in zip(widths, widths[1:])]
    dense = [(weight, tf.Variable(tf.fill(weight.shape, 0.1))) for layer in layers for weight in layer]

    def step(start: tf.Tensor) -> tf.Tensor:
        part = {name: values[start:start + SHAPE.batch] for name, values in data.features.items()}
        labels = data.labels[start:start + SHAPE.batch, tf.newaxis]
        mine, place = tf.unique(tf.reshape(part["deep.16/ids"], [-1]))
        ours, spot = tf.unique(tf.reshape(part["wide/ids"], [-1]))
        w, squares = tf.split(tf.gather(deep, mine), 2, 1)
        z, n = tf.split(tf.gather(wide, ours), 2, 1)
        flat, weight = tf.gather(w, place), -RATE * z / tf.sqrt(n)
        linear = tf.reduce_sum(tf.reshape(tf.gather(weight, spot), [SHAPE.batch, -1]), 1, keepdims=True)
        with tf.GradientTape() as tape:
            tape.watch([flat, linear])
            hidden = tf.cast(tf.concat([tf.reshape(flat, [SHAPE.batch, -1]), part["deep/values"]], 1), kind)
            for kernel, bias in layers[:-1]:
                hidden = tf.nn.relu(towers._add_bias(hidden @ tf.cast(kernel, kind), tf.cast(bias, kind)))
            logits = tf.cast(hidden, tf.float32) @ layers[-1][0] + layers[-1][1] + linear
            loss = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, [flat, linear, *(weight for weight, _ in dense)])
        g = tf.math.unsorted_segment_sum(gradients[0], place, tf.size(mine))
        squares += tf.square(g)
        deep.scatter_update(tf.IndexedSlices(tf.concat([w - RATE * g * tf.math.rsqrt(squares), squares], 1), mine))
        each = tf.reshape(tf.tile(gradients[1], [1, len(SHAPE.wide_rows)]), [-1])
        g = tf.raw_ops.DenseBincount(input=spot, size=tf.size(ours), weights=each)[:, tf.newaxis]
        more = n + tf.square(g)
        z += g - (tf.sqrt(more) - tf.sqrt(n)) / RATE * weight
        wide.scatter_update(tf.IndexedSlices(tf.concat([z, more], 1), ours))
        for (variable, slot), gradient in zip(dense, gradients[2:]):
            tf.raw_ops.ResourceApplyAdagradV2(var=variable.handle, accum=slot.handle, lr=RATE, epsilon=1e-7, grad=gradient)
        return loss

    @tf.function
    def run() -> tf.Tensor:
        total = tf.zeros(())
        for i in tf.range(STEPS):
            total += step(i * SHAPE.batch)
        return total
    return run


def compare(precision: str, rows: Rows) -> dict[str, float]:
    """Median milliseconds of a step by each way, all in turn."""
    ways = {"the bare MLP": bare(SHAPE, precision, STEPS)}
    ways |= {name: step_of(precision, rows, changes) for name, changes in WAYS.items()}
    ways["by hand: weights and slots of a row side by side in one table"] = packed_of(precision, rows)
    return {name: 1000 * seconds / STEPS for name, seconds in _seconds(ways).items()}


def _seconds(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(ROUNDS + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            tf.nest.map_structure(lambda part: part.numpy(), run())
            if round_:
                taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def parts(rows: Rows) -> dict[str, float]:
    """Milliseconds of the step's operations on table rows, each alone."""
    data = tensors(rows).features
    deep, wide = (tf.reshape(data[name][:SHAPE.batch], [-1]) for name in ("deep.16/ids", "wide/ids"))
    table = tf.Variable(tf.random.uniform((sum(SHAPE.rows) + 3 * len(SHAPE.rows), SHAPE.dim)))
    line = tf.Variable(tf.zeros((sum(SHAPE.wide_rows) + 3 * len(SHAPE.wide_rows), 1)))
    (mine, place), (ours, spot) = tf.unique(deep), tf.unique(wide)
    some, few = tf.gather(table, mine), tf.gather(line, ours)
    upstream, each = tf.random.normal((len(deep), SHAPE.dim)), tf.random.normal((len(wide),))

    def put(variable: tf.Variable, values: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([variable.scatter_update(tf.IndexedSlices(values, where)).op]):
            return tf.zeros(())

    operations = {
        "an empty call": lambda: tf.zeros(()),
        "deep: distinct ids": lambda: tf.unique(deep)[1][0],
        "deep: distinct rows gathered": lambda: tf.gather(table, mine)[0],
        "deep: rows to where they are used": lambda: tf.gather(some, place)[0],
        "deep: gradients summed per row": lambda: tf.math.unsorted_segment_sum(upstream, place, len(mine))[0],
        "deep: rows written back": lambda: put(table, some, mine),
        "wide: distinct ids": lambda: tf.unique(wide)[1][0],
        "wide: distinct rows gathered": lambda: tf.gather(line, ours)[0],
        "wide: rows to where they are used": lambda: tf.gather(few, spot)[0],
        "wide: gradients summed per row": lambda: tf.raw_ops.DenseBincount(input=spot, size=len(ours), weights=each)[0],
        "wide: rows written back": lambda: put(line, few, ours)}
    found = _seconds({name: tf.function(operation, autograph=False) for name, operation in operations.items()})
    empty = found.pop("an empty call")
    return {name: 1000 * max(0.0, seconds - empty) for name, seconds in found.items()}


def main() -> None:
    chosen = record.options(__doc__, "anatomy").parse_args()
    rows = batches()
    first = {name: rows.features[name][:SHAPE.batch] for name in ("deep.16/ids", "wide/ids")}
    ids = {name: {"ids": part.size, "distinct": len(np.unique(part))} for name, part in first.items()}
    figures = {precision: compare(precision, rows) for precision in ("f32", "bf16")}
    result = {"figures": figures, "parts": parts(rows), "ids": ids}
    record.publish("anatomy", result, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    for precision, found in result["figures"].items():
        print(f"{precision}, milliseconds a step, and times the bare MLP's:")
        for name, milliseconds in found.items():
            print(f"  {milliseconds:7.1f}  {milliseconds / found['the bare MLP']:.2f}  {name}")
    for name, milliseconds in result["parts"].items():
        print(f"  {milliseconds:7.2f}  {name}")


if __name__ == "__main__":
    main()
