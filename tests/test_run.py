"""Whole runs: from a table to figures, what is recorded, and what must not depend on the batch size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import rare_ids
import widedeep as wd
from tests.tolerances import OP
from tests.worlds import xor, xor_schema
from widedeep._keras import tf
from widedeep.evaluation import metrics
from widedeep.training import tensors


@pytest.mark.parametrize("arm", ["wide", "joint"])
def test_ids_seen_at_most_five_times_are_learned_alike_at_batch_64_and_4096(arm):
    found = rare_ids.compare(arm)
    assert rare_ids.alike(found) and min(size["auc"] for size in found.values()) > 0.8, found


def test_with_the_gradient_of_the_mean_loss_they_are_not():
    with rare_ids.mean_loss():
        found = rare_ids.compare("wide")
    assert not rare_ids.alike(found), found


def test_the_record_tells_what_was_asked_and_what_came_out():
    model = wd.fit(xor_schema(epochs=4), xor(500), valid=0.2, seed=3)
    record = model.record
    assert record["seed"] == 3 and record["split"]["how"] == "random"
    assert sum(record["split"]["rows"].values()) == 500
    assert len(record["history"]) == 4 and record["stopped"] == "epochs"
    best = record["history"][record["best_epoch"] - 1]
    highest = max(epoch["valid_auc"] for epoch in record["history"])
    assert record["metrics"]["auc"] == pytest.approx(best["valid_auc"], abs=1e-9) == highest


def test_evaluate_and_predict_agree_and_carry_group_and_weight():
    table = xor(400).assign(w=np.linspace(0.5, 2, 400), g=np.arange(400) % 7)
    schema = replace(xor_schema(epochs=2), weight="w", group="g")
    with pytest.warns(wd.WidedeepWarning, match="7 groups of 'g' stand on both sides"):
        model = wd.fit(schema, table, valid=0.2)
    figures, scores = wd.evaluate(model, table), wd.predict(model, table).to_pandas()
    assert list(scores) == ["row", "label", "weight", "group", "logit", "probability"]
    assert figures["auc"] == pytest.approx(metrics.auc(scores.label, scores.logit, scores.weight))
    assert figures["group_auc"] == pytest.approx(metrics.group_auc(scores.label, scores.logit, scores.group, scores.weight))
    assert figures["logloss"] == pytest.approx(metrics.logloss(scores.label, scores.probability, scores.weight))
    without = wd.predict(model, table.drop(columns=["y", "w", "g"]))
    assert without.column_names == ["row", "logit", "probability"]


def test_regression_is_reported_in_the_label_s_units():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 5, 1000), "x": rng.normal(size=1000)})
    table["price"] = 1e6 + 5e4 * table.a + 1e4 * table.x
    schema = wd.Schema(wd.Label("price", kind="regression"), {"a": wd.Categorical(), "x": wd.Numeric()},
                       wide=wd.Wide(("a", "x")), deep=wd.Deep(("a", "x"), hidden=(16,), width=4),
                       training=wd.Training(epochs=30, wide=wd.Optimizer("ftrl", rate=0.5)))
    model = wd.fit(schema, table, valid=0.2)
    figures = wd.evaluate(model, table)
    assert set(figures) == {"rmse", "mae", "r2", "rows", "unseen"} and figures["r2"] > 0.98
    assert wd.predict(model, table)["prediction"].to_numpy().mean() == pytest.approx(table.price.mean(), rel=0.01)


def test_validation_rows_of_one_class_are_refused_before_training_unless_another_metric_decides():
    valid = xor(60).query("y == 1")
    with pytest.raises(wd.DataError, match=r"must give auc a value.*rows of one label.*another metric"):
        wd.fit(xor_schema(epochs=1), xor(200), valid=valid)
    record = wd.fit(xor_schema(epochs=2, metric="logloss"), xor(200), valid=valid, progress=True).record
    assert record["metrics"]["auc"] is None and record["metrics"]["logloss"] < 1


def test_keras_s_own_evaluate_reports_the_mean_loss():
    model = wd.fit(xor_schema(epochs=2), xor(300), valid=None)
    rows = model.encoder.rows(xor(300))
    parts = [tensors(rows.slice(start, start + 64)) for start in range(0, 300, 64)]
    batches = tf.data.Dataset.from_generator(lambda: ((p.features, p.labels) for p in parts), output_signature=(
        {name: tf.TensorSpec([None, *part.shape[1:]], part.dtype) for name, part in parts[0].features.items()},
        tf.TensorSpec([None], tf.float32)))
    assert model.evaluate(batches, verbose=0) == pytest.approx(wd.evaluate(model, xor(300))["logloss"], abs=OP * 10)


def test_other_rows_of_the_source_do_not_reach_the_encoder():
    table = xor(400)
    model = wd.fit(xor_schema(epochs=1), table, valid=0.25, seed=1)
    poisoned = table.copy()
    rows = wd.predict(model, table).to_pandas()
    from widedeep.splits import split
    from widedeep.tables import Table
    valid = split(Table.of(table), xor_schema(), 0.25, 1).valid.read(["a", "x"]).to_pandas()
    hidden = poisoned.x.isin(valid.x)
    assert hidden.sum() == len(valid) > 50 and len(rows) == 400
    poisoned.loc[hidden, "a"], poisoned.loc[hidden, "x"] = "poison", 1e9
    again = wd.fit(xor_schema(epochs=1), poisoned, valid=0.25, seed=1)
    assert again.encoder.fingerprint == model.encoder.fingerprint
