"""Steps checked by hand, rows summed before any adaptive update, and every variable owned exactly once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tolerances import STEP
from widedeep._keras import tf, tf_keras
from widedeep.errors import SchemaError
from widedeep.optimizers import FTRL, AdaGrad, TowerOptimizers, as_expected, make, state_of
from widedeep.schema import Optimizer


def slices(values, indices, shape):
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(indices), tf.constant(shape))


def ftrl_by_hand(gradients, rate, accumulator, l1, l2):
    z, n, w = 0.0, accumulator, 0.0
    for g in gradients:
        sigma = (np.sqrt(n + g * g) - np.sqrt(n)) / rate
        z, n = z + g - sigma * w, n + g * g
        w = 0.0 if abs(z) <= l1 else -(z - np.sign(z) * l1) / (np.sqrt(n) / rate + 2 * l2)
    return w


@pytest.mark.parametrize("l1, l2", [(0.0, 0.0), (0.4, 0.0), (0.0, 2.0), (5.0, 1.0)])
def test_five_ftrl_steps_equal_the_formula(l1, l2):
    gradients = [-0.5, 0.3, -1.2, 2.0, -0.1]
    weight, optimizer = tf.Variable([0.0]), FTRL(0.1, 0.1, l1, l2)
    for g in gradients:
        optimizer.apply_gradients([(tf.constant([g]), weight)])
    assert weight.numpy()[0] == pytest.approx(ftrl_by_hand(gradients, 0.1, 0.1, l1, l2), abs=STEP)


def test_five_adagrad_steps_equal_the_formula_with_and_without_warm_up():
    gradients = np.array([-1.0, 0.5, 2.0, -0.2, 0.7])
    for warmup in (0, 4):
        weight, optimizer = tf.Variable([1.0]), AdaGrad(0.3, 0.1, warmup)
        for g in gradients:
            optimizer.apply_gradients([(tf.constant([g], tf.float32), weight)])
        share = np.minimum(1, np.arange(1, 6) / warmup) if warmup else np.ones(5)
        by_hand = 1 - np.sum(0.3 * share * gradients / np.sqrt(0.1 + np.cumsum(gradients**2)))
        assert weight.numpy()[0] == pytest.approx(by_hand, abs=STEP)


def test_rows_of_a_table_are_not_warmed_up():
    table, optimizer = tf.Variable([[0.0], [0.0]]), AdaGrad(0.3, 0.1, warmup=100)
    optimizer.apply_gradients([(slices([[-1.0]], [1], [2, 1]), table)])
    assert table.numpy()[1, 0] == pytest.approx(0.3 / np.sqrt(1.1), abs=STEP)


@pytest.mark.parametrize("make_one", [lambda: FTRL(0.1, l1=0.2), lambda: AdaGrad(0.1)])
def test_sparse_steps_with_duplicates_equal_dense_steps_and_touch_no_other_row(make_one):
    rng = np.random.default_rng(0)
    start = np.zeros((1000, 3), np.float32)
    dense_table, sparse_table, dense, sparse = tf.Variable(start), tf.Variable(start), make_one(), make_one()
    touched = set()
    for _ in range(5):
        ids, values = rng.integers(0, 40, 64), rng.normal(size=(64, 3)).astype(np.float32)
        touched |= set(ids.tolist())
        summed = np.zeros_like(start)
        np.add.at(summed, ids, values)
        dense.apply_gradients([(tf.constant(summed), dense_table)])
        sparse.apply_gradients([(slices(values, ids, [1000, 3]), sparse_table)])
    np.testing.assert_allclose(sparse_table.numpy(), dense_table.numpy(), atol=STEP)
    idle = sorted(set(range(1000)) - touched)
    slots = state_of(sparse, {"t": sparse_table})
    assert not sparse_table.numpy()[idle].any()
    assert (slots["t/accumulator"].numpy()[idle] == np.float32(0.1)).all()
    assert len(touched) > 20 and all(np.any(sparse_table.numpy()[sorted(touched)], axis=1))


def tower(name):
    layer = tf_keras.layers.Dense(1, name=name)
    layer.build((None, 1))
    return layer


def test_two_optimizers_composed_equal_two_done_by_hand():
    wide, deep, alone_wide, alone_deep = tower("wide"), tower("deep"), tower("wide"), tower("deep")
    for layer in (wide, deep, alone_wide, alone_deep):
        layer.set_weights([np.array([[0.5]], np.float32), np.array([0.1], np.float32)])
    together = TowerOptimizers([wide, deep], [FTRL(0.1), AdaGrad(0.3)])
    ftrl, adagrad = FTRL(0.1), AdaGrad(0.3)
    for g in (1.0, -2.0, 0.5):
        together.apply_gradients([(tf.constant(np.full(v.shape, g, np.float32)), v)
                                  for layer in (wide, deep) for v in layer.variables])
        ftrl.apply_gradients([(tf.constant(np.full(v.shape, g, np.float32)), v) for v in alone_wide.variables])
        adagrad.apply_gradients([(tf.constant(np.full(v.shape, g, np.float32)), v) for v in alone_deep.variables])
    for mine, alone in ((wide, alone_wide), (deep, alone_deep)):
        for a, b in zip(mine.get_weights(), alone.get_weights()):
            np.testing.assert_array_equal(a, b)


def test_a_variable_without_an_owner_or_with_two_is_an_error_and_so_is_an_empty_tower():
    wide, deep = tower("wide"), tower("deep")
    with pytest.raises(ValueError, match="not handled by any optimizer"):
        TowerOptimizers([wide], [FTRL()]).apply_gradients([(tf.ones((1, 1)), deep.kernel)])
    with pytest.raises(ValueError, match="disjoint"):
        TowerOptimizers([wide, wide], [FTRL(), FTRL()]).apply_gradients([(tf.ones((1, 1)), wide.kernel)])
    with pytest.raises(SchemaError, match="'empty' has no trainable variable"):
        TowerOptimizers([tf_keras.layers.Layer(name="empty")], [FTRL()])


def test_ours_see_the_summed_gradient_and_any_other_the_mean():
    wide, deep = tower("wide"), tower("deep")
    optimizer = TowerOptimizers([wide, deep], [FTRL(), make(Optimizer("sgd", rate=1.0))])
    gradients = [(tf.fill(v.shape, 6.0), v) for v in (wide.kernel, deep.kernel)]
    seen = {v.ref(): float(g[0, 0]) for g, v in as_expected(optimizer, gradients, tf.constant(3.0))}
    assert (seen[wide.kernel.ref()], seen[deep.kernel.ref()]) == (6.0, 2.0)
    sparse = as_expected(make(Optimizer("adam")), [(slices([[6.0]], [0], [1, 1]), wide.kernel)], tf.constant(3.0))
    assert float(sparse[0][0].values[0, 0]) == 2.0


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "nadam", "adamax", "adadelta", "adamw", "lion"])
def test_any_optimizer_of_tf_keras_trains_under_the_composite_and_tells_its_state(name):
    wide, deep = tower("wide"), tower("deep")
    optimizer = TowerOptimizers([wide, deep], [FTRL(), make(Optimizer(name, rate=0.1))])
    before = deep.kernel.numpy().copy()
    optimizer.apply_gradients([(tf.ones(v.shape), v) for layer in (wide, deep) for v in layer.variables])
    assert deep.kernel.numpy() != before
    state = state_of(optimizer, {"w/kernel": wide.kernel, "w/bias": wide.bias, "d/kernel": deep.kernel, "d/bias": deep.bias})
    assert {"wide:iterations", "deep:iterations", "wide:w/kernel/accumulator", "wide:w/kernel/linear"} <= set(state)
    assert len({id(v) for v in state.values()}) == len(state) == len(optimizer.variables())


def test_an_unknown_optimizer_and_an_unknown_option_are_refused():
    with pytest.raises(SchemaError, match="'adagard'"):
        make(Optimizer("adagard"))
    with pytest.raises(SchemaError, match="'sgd'.*speed"):
        make(Optimizer("sgd", options={"speed": 1}))
