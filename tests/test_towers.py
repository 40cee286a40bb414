"""The layers of the towers: row gathers, bfloat16 products, batch normalisation in one kernel, dropout that can be resumed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import widedeep as wd
from tests.tolerances import OP
from widedeep._keras import tf, tf_keras
from widedeep.encoder import Encoder
from widedeep.layout import TableLayout
from widedeep.model import WideDeep
from widedeep.towers import BatchNorm, Dense, Dropout, EmbeddingTable
from widedeep.training import tensors

KERNEL = "gradient of deep/hidden_0/kernel"


def table_of(rows=9, width=2, dropping=False):
    layout = TableLayout("deep.2", width, {"a": rows}, dropping=dropping)
    return layout, EmbeddingTable(layout, tf_keras.initializers.RandomUniform(-1, 1, seed=1))


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("dropping", [False, True])
def test_the_gradient_of_a_table_names_each_row_once_and_is_the_sum_over_its_uses(width, dropping):
    layout, table = table_of(9, width, dropping)
    ids = np.array([[4], [0], [4], [-1 if dropping else 2], [0], [4]], np.int8)
    upstream = np.random.default_rng(0).normal(size=(6, 1, width)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(table({layout.matrix: tf.constant(ids)}) * upstream)
    gradient = tape.gradient(loss, table.table)
    assert len(np.unique(gradient.indices)) == len(gradient.indices)
    expected = np.zeros((9, width), np.float32)
    np.add.at(expected, ids[ids[:, 0] >= 0, 0], upstream[ids[:, 0] >= 0, 0])
    np.testing.assert_allclose(tf.convert_to_tensor(gradient).numpy(), expected, atol=OP)


@pytest.mark.parametrize("dropping", [False, True])
def test_a_ridge_costs_each_id_once_an_epoch_however_rows_are_batched(dropping):
    layout, table = table_of(9, 3, dropping)
    table = EmbeddingTable(layout, tf_keras.initializers.RandomUniform(-1, 1, seed=1), l2=0.5)
    ids = np.array([[4], [0], [4], [-1 if dropping else 2], [0], [4], [8]], np.int8)
    seen = np.unique(ids[ids >= 0])
    assert float(tf.add_n(_called(table, layout, ids).losses)) == 0   # how frequent ids are is not known yet
    table.frequency.assign(np.bincount(ids[ids >= 0], minlength=9).astype(np.float32))
    epoch = sum(float(tf.add_n(_called(table, layout, part).losses)) for part in (ids[:3], ids[3:5], ids[5:]))
    rows = table.table.numpy()
    assert epoch == pytest.approx(0.5 * (rows[seen] ** 2).sum(), abs=OP)
    with tf.GradientTape() as tape:
        loss = tf.add_n(_called(table, layout, ids).losses)
    gradient = tape.gradient(loss, table.table)
    assert len(np.unique(gradient.indices)) == len(gradient.indices)
    expected = np.zeros_like(rows)
    expected[seen] = rows[seen]   # the derivative of 0.5 x²
    np.testing.assert_allclose(tf.convert_to_tensor(gradient).numpy(), expected, atol=OP)
    assert len(table.weights) == 1   # how frequent ids are is no weight of the model


def _called(table, layout, ids):
    table({layout.matrix: tf.constant(ids)}, training=True)
    return table


def test_a_bias_gradient_in_bfloat16_is_right_to_the_last_of_its_eight_bits():
    layer = Dense(8, seed=1, name="hidden")
    inputs = tf.cast(tf.random.stateless_normal((4096, 4), [1, 2]), tf.bfloat16)
    upstream = tf.cast(1 + tf.random.stateless_normal((4096, 8), [3, 4]), tf.bfloat16)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(layer(inputs) * upstream, tf.float32))
    gradient = tape.gradient(loss, layer.bias)
    assert (gradient.dtype, layer(inputs).dtype, layer.kernel.dtype) == (tf.float32, tf.bfloat16, tf.float32)
    exact = upstream.numpy().astype(np.float64).sum(0)
    np.testing.assert_allclose(gradient.numpy(), exact, rtol=2**-8)


@pytest.mark.parametrize("units", [5, 16])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_in_one_kernel_is_keras_batch_norm(training, units):
    inputs = 2 + 3 * tf.random.stateless_normal((512, units), [1, 2])
    ours, keras = BatchNorm("batch_norm"), tf_keras.layers.BatchNormalization()
    for layer in (ours, keras):
        layer.build(inputs.shape)
    for _ in range(3):
        np.testing.assert_allclose(ours(inputs, training=training), keras(inputs, training=training), atol=20 * OP)
    for mine, theirs in zip(ours.get_weights(), keras.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1 / 512)  # the one kernel divides variances by n − 1


def test_batch_norm_of_no_rows_moves_nothing():
    layer = BatchNorm("batch_norm")
    layer.build((None, 3))
    before = layer.get_weights()
    assert layer(tf.zeros((0, 3)), training=True).shape == (0, 3)
    for now, was in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, was)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_dropout_drops_its_share_scales_the_rest_and_goes_on_where_its_state_was(dtype):
    layer, ones = Dropout(0.25, seed=3, name="dropout"), tf.ones((1000, 33), dtype)
    layer(ones, training=True)
    state = layer.get_weights()
    first, second = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
    layer.set_weights(state)
    np.testing.assert_array_equal(layer(ones, training=True).numpy(), first)
    assert (first != second).any()
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(np.unique(first.astype(np.float32)), [0, 4 / 3], rtol=2**-8)
    np.testing.assert_array_equal(layer(ones), ones)


def joint(precision, **settings):
    frame = pd.DataFrame({"a": list("abcdefgh") * 8, "x": np.linspace(-1, 1, 64), "y": [0, 1] * 32})
    columns = {"a": wd.Categorical(), "x": wd.Numeric()}
    deep = wd.Deep(("a", "x"), hidden=(32, 16), precision=precision, **settings)
    schema = wd.Schema(wd.Label("y"), columns, wd.Wide(("a",)), deep)
    return WideDeep(schema, Encoder.fit(schema, frame), seed=1), frame


@pytest.mark.parametrize("settings", [{}, {"batch_norm": True, "dropout": 0.5, "activation": "gelu"}])
def test_bf16_rounds_the_hidden_layers_and_nothing_else(settings):
    (exact, frame), (rounded, _) = joint("f32", **settings), joint("bf16", **settings)
    exact, rounded = exact.trace(frame, gradients=True), rounded.trace(frame, gradients=True)
    assert set(exact) == set(rounded)
    kept = {name for name, value in rounded.items() if value.dtype == np.float32}
    hidden = ("hidden_", "batch_norm_", "activation_", "dropout_")
    others = set(rounded) - kept - {"deep.16/ids", "wide/ids", "probability"}
    assert all(any(part in name for part in hidden) for name in others)
    assert {"deep", "deep/head", "wide", "logit", "deep/deep.16", KERNEL} <= kept
    assert 0 < np.abs(exact["logit"] - rounded["logit"]).max() < 0.02
    off, right = (rounded[KERNEL] - exact[KERNEL]), exact[KERNEL]
    assert 0 < np.linalg.norm(off) < 0.2 * np.linalg.norm(right)


def test_updates_of_a_bf16_model_are_float32_steps_that_eight_bits_could_not_hold():
    model, frame = joint("bf16")
    data = tensors(model.encoder.rows(frame))
    before = model.towers[1].hidden[0].kernel.numpy()
    model.optimizer.owned[1][0].learning_rate.assign(1e-6)
    model.train_step(data)
    moved = model.towers[1].hidden[0].kernel.numpy() - before
    assert 0 < np.abs(moved).max() <= 1e-7 < np.abs(before).max() * 2**-8


def test_an_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(wd.errors.SchemaError, match="f32.*bf16.*'f16'"):
        wd.Deep(precision="f16")
    assert dataclasses.replace(wd.Deep(), precision="bf16").precision == "bf16"
