"""The joint model is a sum of towers trained on one loss: by hand, by equivalence, and by what it can and cannot learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import vocabulary
import widedeep as wd
from tests.tolerances import OP, STEP, TRAINED
from tests.worlds import xor, xor_schema
from widedeep import training
from widedeep._keras import tf
from widedeep.encoder import Encoder
from widedeep.layout import pretrained_table
from widedeep.model import WideDeep
from widedeep.rows import Rows
from widedeep.towers import layer_name
from widedeep.training import tensors


def one_row_model(wide, deep):
    """Zero weights, no hidden layer, one positive row with wide input 1 and deep input 2."""
    schema = wd.Schema(wd.Label("y"), {"w": wd.Numeric(scale="none"), "d": wd.Numeric(scale="none")}, wide=wd.Wide(("w",)),
                       deep=wd.Deep(("d",), hidden=()), training=wd.Training(wide=wide, deep=deep))
    encoder = Encoder.fit(schema, pd.DataFrame({"w": [1.0, 0.0], "d": [2.0, 0.0], "y": [1, 0]}))
    model = WideDeep(schema, encoder)
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    row = Rows({"wide/values": np.float32([[1]]), "deep/values": np.float32([[2]])}, np.float32([1]))
    model.train_step(tensors(row))
    return {name: value.item() for name, value in model.state().items()}


@pytest.mark.parametrize("wide, deep, expected", [
    (wd.Optimizer("sgd", rate=0.1), wd.Optimizer("sgd", rate=0.3), (0.05, 0.30)),
    (wd.Optimizer("ftrl", rate=0.1), wd.Optimizer("adagrad", rate=0.3, warmup=0), (0.0845154, 0.2860388))])
def test_the_joint_step_is_the_one_computed_by_hand(wide, deep, expected):
    state = one_row_model(wide, deep)
    assert (state["wide/kernel"], state["deep/head/kernel"]) == pytest.approx(expected, abs=STEP)


def encoded(schema, table):
    encoder = Encoder.fit(schema, table)
    return encoder, encoder.rows(table)


def test_joint_with_a_zero_deep_head_is_wide_only_and_so_is_its_wide_update():
    table, schema = xor(300), xor_schema()
    encoder, rows = encoded(schema, table)
    joint = WideDeep(schema, encoder)
    alone_schema = schema.only("wide")
    alone_encoder, alone_rows = encoded(alone_schema, table)
    alone = WideDeep(alone_schema, alone_encoder)
    joint.towers[1].head.kernel.assign(tf.zeros_like(joint.towers[1].head.kernel))
    np.testing.assert_array_equal(training.predict(joint, rows), training.predict(alone, alone_rows))
    joint.train_step(tensors(rows))
    alone.train_step(tensors(alone_rows))
    np.testing.assert_allclose(joint.state()["wide/wide/table"], alone.state()["wide/wide/table"], atol=STEP)
    assert np.abs(alone.state()["wide/wide/table"]).max() > 0.01


@pytest.mark.parametrize("arm, low, high", [
    ("joint", 0.99, 1), ("wide", 0.99, 1), ("wide without the cross", 0, 0.55), ("deep", 0.9, 1), ("deep without a", 0, 0.55)])
def test_every_arm_learns_what_it_can_and_nothing_else(arm, low, high):
    schema = xor_schema(epochs=12, deep=wd.Optimizer("adagrad", rate=0.1, warmup=50))
    schema = {"joint": schema, "wide": schema.only("wide"), "deep": schema.only("deep"),
              "wide without the cross": replace(schema, wide=wd.Wide(("a", "b"))).only("wide"),
              "deep without a": replace(schema, deep=replace(schema.deep, columns=("b", "x"))).only("deep")}[arm]
    figures = wd.evaluate(wd.fit(schema, xor(), valid=None, seed=0), xor(1000, seed=1))
    assert low <= figures["auc"] <= high


def test_wide_only_under_sgd_comes_to_the_logistic_regression():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 4, 800), "b": rng.integers(0, 3, 800)})
    table["y"] = (rng.random(800) < 1 / (1 + np.exp(-(table.a - 1.5) * (table.b - 0.7)))).astype(int)
    schema = wd.Schema(wd.Label("y"), {"a": wd.Categorical(), "b": wd.Categorical()}, wide=wd.Wide(("a", "b")),
                       training=wd.Training(batch=800, epochs=600, wide=wd.Optimizer("sgd", rate=4.0)))
    ours = wd.predict(wd.fit(schema, table, valid=None), table)["probability"].to_numpy()
    one_hot = OneHotEncoder().fit_transform(table[["a", "b"]])
    theirs = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(one_hot, table.y).predict_proba(one_hot)[:, 1]
    np.testing.assert_allclose(ours, theirs, atol=TRAINED)


def test_a_ridge_shrinks_rare_ids_most_and_is_no_part_of_the_reported_loss():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": [*["often", "as often"] * 500, *[f"rare {i % 10}" for i in range(50)]]})
    table["y"] = np.where(table.a == "often", rng.random(len(table)) < 0.9, rng.random(len(table)) < 0.1).astype(int)
    lengths = {}
    for l2 in (0.0, 20.0):
        schema = wd.Schema(wd.Label("y"), {"a": wd.Categorical()}, deep=wd.Deep(("a",), hidden=(8,), width=4, l2=l2),
                           training=wd.Training(batch=64, epochs=10))
        model = wd.fit(schema, table, valid=None, seed=1)
        embeddings = model.trace(pd.DataFrame({"a": ["often", *[f"rare {i}" for i in range(10)]]}))["deep/deep.4"]
        lengths[l2] = np.linalg.norm(embeddings.reshape(11, 4), axis=1)
        loss = float(model.compute_loss(tensors(model.encoder.rows(table)))) / len(table)
        assert loss == pytest.approx(wd.evaluate(model, table)["logloss"], abs=OP)
    often, rare = (lengths[20.0] / lengths[0.0])[0], np.mean(lengths[20.0][1:]) / np.mean(lengths[0.0][1:])
    assert rare < 0.5 * often


def test_a_weight_of_two_is_the_row_twice():
    table = xor(200).assign(w=lambda t: 1 + t.index % 2)
    twice = table.loc[table.index.repeat(table.w)].assign(w=1)
    schema = replace(xor_schema(batch=1000, epochs=3), weight="w")
    encoder = Encoder.fit(schema, table)
    states = []
    for part in (table, twice):
        model = WideDeep(schema, encoder, seed=3)
        training.fit(model, encoder.rows(part), epochs=3, batch=1000)
        states.append(model.state())
    for name in states[0]:
        if not name.endswith("touches"):
            np.testing.assert_allclose(states[0][name], states[1][name], atol=TRAINED, err_msg=name)


def test_rows_of_weight_zero_touch_nothing():
    table = xor(200).assign(w=1.0)
    table.loc[table.a == "a3", "w"] = 0.0
    schema = replace(xor_schema(), weight="w")
    encoder, rows = encoded(schema, table)
    model = WideDeep(schema, encoder)
    model.observe(rows)
    row = 3 + encoder.columns["a"].vocabulary.to_pylist().index("a3")
    assert model.touches["wide"][row] == model.touches["deep.4"][row] == 0 < model.touches["wide"][3:].max()


def test_gradients_of_rows_without_labels_are_refused():
    encoder, _ = encoded(xor_schema(), xor(50))
    with pytest.raises(wd.DataError, match="gradients need labels"):
        WideDeep(xor_schema(), encoder).trace(encoder.rows(xor(9), labelled=False), gradients=True)


def rare(rows=3000, seed=0):
    """Hashed ids, so that most table rows are touched by nobody."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"user": rng.integers(0, 50, rows),
                          "tags": [list(rng.integers(0, 9, k)) for k in rng.integers(0, 4, rows)]})
    return table.assign(y=(table.user % 2 == 0).astype(int))


def rare_schema():
    return wd.Schema(wd.Label("y"), {"user": wd.Hashed(bins=500), "tags": wd.Categorical(vocabulary=tuple(range(40))),
                                     "both": wd.Crossed(("user", "tags"), bins=8000)},
                     wide=wd.Wide(("user", "tags", "both")), deep=wd.Deep(("user", "tags"), hidden=(8,), width=4),
                     training=wd.Training(epochs=2))


def test_rows_that_no_training_row_touched_are_the_mean_row_and_their_wide_weight_is_zero():
    seen = []

    class Look(tf.keras.callbacks.Callback):
        def on_test_end(self, logs=None):
            seen.append(self.model.state())

    model = wd.fit(rare_schema(), rare(), callbacks=[Look()])
    layout = model.towers[1].tables[0].layout
    for state in [*seen, model.state()]:
        table, touches = state["deep/deep.4/table"], state["deep.4/touches"]
        for name, start in layout.offsets.items():
            rows, counts = table[start:start + layout.ids[name]], touches[start:start + layout.ids[name]]
            mean = (counts[:, None] * rows.astype(np.float64)).sum(0) / counts.sum()
            assert 0 < (counts == 0).sum() < len(counts)
            np.testing.assert_allclose(rows[counts == 0], np.tile(mean, ((counts == 0).sum(), 1)), atol=OP)
        assert not state["wide/wide/table"][state["wide/touches"] == 0].any()
        assert state["wide/wide/table"][state["wide/touches"] > 0].any()


def test_touches_count_each_training_row_and_parameters_follow_from_them():
    schema = rare_schema()
    encoder, rows = encoded(schema, rare())
    model = WideDeep(schema, encoder)
    model.observe(rows)
    assert model.touches["deep.4"][:503].sum() == 3000
    counts = model.parameters()
    assert counts["wide"]["allocated"] == 503 + 43 + 8003 + 1
    assert counts["wide"]["touched"] == (model.touches["wide"] > 0).sum() + 1
    assert counts["deep"]["touched"] == (model.touches["deep.4"] > 0).sum() * 4 + 8 * 8 + 8 + 8 + 1


def test_touches_of_a_table_much_larger_than_a_batch_are_the_same(monkeypatch):
    encoder, rows = encoded(rare_schema(), rare())
    found = []
    for vast in (0, 10**9):
        monkeypatch.setattr("widedeep.model.VAST", vast)
        model = WideDeep(rare_schema(), encoder)
        model.observe(rows)
        found.append(model.touches["wide"])
    np.testing.assert_array_equal(*found)


def test_a_step_of_ones_own_may_pass_through_the_towers_twice():
    schema, table = xor_schema(), xor(200)
    encoder, rows = encoded(schema, table)
    at_once, in_halves = WideDeep(schema, encoder), WideDeep(schema, encoder)
    halves = [tensors(rows.slice(0, 100)), tensors(rows.slice(100, 200))]
    for model, parts in ((at_once, [tensors(rows)]), (in_halves, halves)):
        with tf.GradientTape() as tape:
            loss = tf.add_n([model.compute_loss(part, training=True) for part in parts])
        model.optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
    for name, value in at_once.state().items():
        np.testing.assert_allclose(in_halves.state()[name], value, atol=STEP, err_msg=name)


def test_trace_tells_everything_between_a_batch_and_its_probability():
    table, schema = xor(50), replace(xor_schema(), deep=replace(xor_schema().deep, dropout=0.5, batch_norm=True))
    encoder, rows = encoded(schema, table)
    model = WideDeep(schema, encoder)
    seen = model.trace(table)
    assert seen["deep/deep.4"].shape == (50, 2, 4) and seen["wide/ids"].shape == (50, 3)
    np.testing.assert_allclose(seen["wide"] + seen["deep"], seen["logit"], atol=OP)
    np.testing.assert_allclose(seen["logit"], training.predict(model, rows), atol=STEP)
    np.testing.assert_allclose(seen["probability"], wd.predict(model, table)["probability"].to_numpy()[:, None], atol=STEP)
    np.testing.assert_allclose(np.maximum(seen["deep/batch_norm_0"], 0), seen["deep/activation_0"], atol=OP)


def test_traced_gradients_are_those_of_the_summed_loss():
    table, schema = xor(50), xor_schema()
    encoder, _ = encoded(schema, table)
    model = WideDeep(schema, encoder)
    seen = model.trace(table, gradients=True)
    residual = seen["probability"][:, 0] - table.y.to_numpy()
    np.testing.assert_allclose(seen["gradient of wide"][:, 0], residual, atol=STEP)
    np.testing.assert_allclose(seen["gradient of wide/bias"], residual.sum(), atol=1e-4)
    by_id = np.zeros(len(model.state()["wide/wide/table"]))
    np.add.at(by_id, seen["wide/ids"], residual[:, None])
    np.testing.assert_allclose(seen["gradient of wide/wide/table"][:, 0], by_id, atol=1e-4)


def test_trace_works_in_the_middle_of_a_training_and_leaves_no_trace():
    table, norms = xor(300), []

    class Look(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            norms.append(np.abs(self.model.trace(table.head(20))["deep/hidden_0"]).mean())

    looked = wd.fit(xor_schema(epochs=3), table, valid=None, seed=4, callbacks=[Look()])
    alone = wd.fit(xor_schema(epochs=3), table, valid=None, seed=4)
    assert len(set(norms)) == 3
    for name, value in alone.state().items():
        np.testing.assert_array_equal(value, looked.state()[name], err_msg=name)


def test_a_saved_model_gives_the_same_scores_and_trains_on_alike(tmp_path):
    table = rare(400)
    model = wd.fit(rare_schema(), table, seed=1)
    wd.save(model, tmp_path / "m")
    again = wd.load(tmp_path / "m")
    assert wd.predict(model, table).equals(wd.predict(again, table))
    for one, other in ((model.state(), again.state()), (model.optimizer_state(), again.optimizer_state())):
        assert list(one) == list(other)
        assert all(np.array_equal(one[name], other[name]) for name in one)
    rows = model.encoder.rows(table)
    for each in (model, again):
        training.fit(each, rows, epochs=1, seed=9)
    for name, value in model.state().items():
        np.testing.assert_allclose(value, again.state()[name], atol=OP, err_msg=name)


def test_pretrained_vectors_start_where_the_file_says_and_stay_if_frozen(tmp_path):
    file = tmp_path / "v.parquet"
    pd.DataFrame({"value": ["a0", "a1", "a2", "zz"], "vector": [[1.0, 2], [3, 4], [5, 6], [7, 8]]}).to_parquet(file)
    for trainable in (False, True):
        column = wd.Categorical(pretrained=str(file), trainable=trainable)
        schema = wd.Schema(wd.Label("y"), {"größe a": replace(column, source="a"), "b": wd.Categorical()},
                           deep=wd.Deep(("größe a", "b"), hidden=(8,)),
                           training=wd.Training(epochs=2))
        model = wd.fit(schema, xor(300), seed=0)
        wd.save(model, tmp_path / f"m{trainable}")
        again = wd.load(tmp_path / f"m{trainable}")
        table = again.state()[f"deep/{layer_name(pretrained_table('größe a'))}/table"]
        moved = np.abs(table - np.float32([[4, 5]] * 3 + [[1, 2], [3, 4], [5, 6], [7, 8]])).max(axis=1)
        assert (moved[[0, 2, 6]] == 0).all(), "rows that training did not touch keep their vectors"
        assert (moved[[3, 4, 5]] > 0).all() == trainable


@pytest.mark.parametrize("large", [100_000, pytest.param(vocabulary.LARGE, marks=pytest.mark.slow)])
def test_a_step_is_the_same_whatever_the_size_of_the_table_and_leaves_idle_rows_alone(large):
    models, place = vocabulary.pair(1_000, large, hidden=(16,))
    found = vocabulary.same_step(models, place, batch=256)
    assert found["largest_difference"] <= STEP and found["idle_rows_identical"], found
    assert found["touched_rows"] > 100 and found["duplicates_per_batch"] > 500, found
    assert vocabulary.dense_difference(1_000, batch=256) <= STEP
