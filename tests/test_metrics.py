"""Metrics against pairwise and fraction oracles, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from widedeep.errors import DataError
from widedeep.evaluation.metrics import (
    METRICS,
    UndefinedMetricError,
    accuracy,
    auc,
    better,
    calibration_ratio,
    group_auc,
    logloss,
    logloss_from_logits,
    mae,
    normalized_entropy,
    r2,
    report,
    rmse,
    sigmoid,
)
from widedeep.schema import BINARY_METRICS, REGRESSION_METRICS

BINARY = (auc, logloss, logloss_from_logits, accuracy, normalized_entropy, calibration_ratio)
REGRESSION = (rmse, mae, r2)
ROUNDING = 1e-12  # sums of a few float64 terms in another order

grid = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)
rows = st.lists(st.tuples(st.integers(0, 1), grid, st.integers(0, 3)), min_size=2, max_size=25)


def columns(table):
    labels, predictions, weights = map(np.array, zip(*table))
    assume(set(labels[weights > 0].tolist()) == {0, 1})
    return labels, predictions, weights


def pairwise_auc(labels, scores):
    pairs = [(p > n) + (p == n) / 2 for p, y in zip(scores, labels) if y for n, z in zip(scores, labels) if not z]
    return sum(pairs) / len(pairs)


@given(rows)
def test_auc_is_the_share_of_rightly_ordered_pairs_to_the_last_bit(table):
    labels, scores, _ = columns([(y, p, 1) for y, p, _ in table])
    assert auc(labels, scores) == pairwise_auc(labels.tolist(), scores.tolist())


@pytest.mark.parametrize("metric", BINARY + REGRESSION, ids=lambda m: m.__name__)
@given(rows)
def test_a_weight_of_two_is_the_row_twice_and_of_zero_no_row(metric, table):
    labels, predictions, weights = columns(table)
    repeated = metric(np.repeat(labels, weights), np.repeat(predictions, weights))
    assert metric(labels, predictions, weights) == pytest.approx(repeated, rel=ROUNDING, abs=ROUNDING)


@given(rows, st.randoms())
def test_group_auc_averages_the_groups_of_both_classes_by_their_rows(table, random):
    labels, scores, weights = columns(table)
    groups = [random.choice(["ann", "bob", "", None]) for _ in table]
    parts = [[i for i, g in enumerate(groups) if g == name for _ in range(weights[i])] for name in ("ann", "bob", "")]
    both = [part for part in parts if len(set(labels[part].tolist())) == 2]
    if not both:
        with pytest.raises(UndefinedMetricError, match="group_auc"):
            group_auc(labels, scores, groups, weights)
        return
    expected = sum(len(p) * pairwise_auc(labels[p], scores[p]) for p in both) / sum(map(len, both))
    assert group_auc(labels, scores, groups, weights) == pytest.approx(expected, rel=ROUNDING)


def test_metrics_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, p, weights = rng.integers(0, 2, 2_000), rng.random(2_000).round(2).clip(0.01, 0.99), rng.random(2_000)
    weighted = {"sample_weight": weights}
    assert auc(labels, p, weights) == pytest.approx(sk.roc_auc_score(labels, p, **weighted), rel=ROUNDING)
    assert logloss(labels, p, weights) == pytest.approx(sk.log_loss(labels, p, **weighted), rel=ROUNDING)
    assert accuracy(labels, p, weights) == pytest.approx(sk.accuracy_score(labels, p >= 0.5, **weighted), rel=ROUNDING)
    assert rmse(labels, p, weights) == pytest.approx(sk.root_mean_squared_error(labels, p, **weighted), rel=ROUNDING)
    assert mae(labels, p, weights) == pytest.approx(sk.mean_absolute_error(labels, p, **weighted), rel=ROUNDING)
    assert r2(labels, p, weights) == pytest.approx(sk.r2_score(labels, p, **weighted), rel=ROUNDING)


def test_predicting_the_base_rate_has_normalized_entropy_and_calibration_one_and_r2_zero():
    labels, rate = [1, 0, 0, 0], [0.25] * 4
    assert (normalized_entropy(labels, rate), calibration_ratio(labels, rate), r2(labels, rate)) == (1, 1, 0)


@given(st.integers(0, 1), st.floats(-30, 30))
def test_logloss_from_logits_is_that_of_the_sigmoid(label, logit):
    assert logloss_from_logits([label], [logit]) == pytest.approx(logloss([label], sigmoid([logit])), rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("logit", [-1e308, -800.0, -40.0, 40.0, 800.0, 1e308])
def test_extreme_logits_are_exact_where_probabilities_are_not(logit):
    assert logloss_from_logits([int(logit < 0)], [logit]) == pytest.approx(abs(logit), rel=1e-15)
    assert logloss_from_logits([int(logit > 0)], [logit]) == pytest.approx(math.exp(-abs(logit)), rel=1e-15)
    assert sigmoid([logit])[0] == pytest.approx(math.exp(min(logit, 0)), rel=1e-15)


def test_a_certain_prediction_costs_nothing_if_right_and_infinity_if_wrong():
    assert (logloss([1, 0], [1.0, 0.0]), logloss([1, 0], [0.0, 0.0]), logloss([1, 0], [0.0, 0.0], [0, 1])) == (0, math.inf, 0)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_accuracy_cuts_at_one_half(logit):
    probability = sigmoid([logit])
    assert accuracy([1], probability) == (probability[0] >= 0.5)
    assert METRICS["accuracy"].function([1], [logit]) == accuracy([1], probability)


# Bad input

OUTPUTS = [*BINARY, *REGRESSION, *(metric.function for metric in METRICS.values())]


@pytest.mark.parametrize("metric", OUTPUTS)
@pytest.mark.parametrize(("arguments", "message"), [
    (([], []), "needs a row.*Got 0 rows"),
    (([0, 1], [0.5, 0.5], [0, 0]), "needs a row.*Got 2 rows, none with a weight"),
    (([0, 1], [0.5]), r"one number per row.*\(2,\), \(1,\)"),
    (([0, 1], [0.5, 0.5], [1]), r"one number per row.*\(1,\)"),
    (([0, 1], [[0.5], [0.5]]), r"one number per row.*\(2, 1\)"),
    (([0, 1, 1], [0.5, 0.5, math.nan]), "predictions must be finite. Got nan in row 2"),
    (([0, 1, 1], [0.5, -math.inf, math.nan]), "predictions must be finite. Got -inf in row 1"),
    (([0, math.nan], [0.5, 0.5]), "labels must be finite. Got nan in row 1"),
    (([0, 1], [0.5, 0.5], [1, -1]), "weights must be finite and at least 0. Got -1.0 in row 1"),
    (([0, 1], [0.5, 0.5], [math.inf, 1]), "weights must be finite and at least 0. Got inf in row 0"),
])
def test_rows_that_cannot_be_reckoned_with_are_refused_by_number(metric, arguments, message):
    with pytest.raises(DataError, match=message):
        metric(*arguments)


@pytest.mark.parametrize("metric", [*BINARY, *(METRICS[name].function for name in BINARY_METRICS)])
@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_binary_labels_are_zero_or_one(metric, label):
    with pytest.raises(DataError, match=f"labels must be 0 or 1. Got {float(label)} in row 1"):
        metric([0, label, 1], [0.5, 0.5, 0.5])


@pytest.mark.parametrize("metric", [logloss, accuracy, normalized_entropy, calibration_ratio])
def test_logits_passed_as_probabilities_are_recognised(metric):
    with pytest.raises(DataError, match=r"probabilities must lie in \[0, 1\]. Got 1.5 in row 1. .*sigmoid"):
        metric([0, 1], [0.5, 1.5])


@pytest.mark.parametrize(("metric", "labels"), [
    (auc, [0, 0]), (auc, [1, 1]), (normalized_entropy, [0, 0]), (normalized_entropy, [1, 1]), (calibration_ratio, [0, 0]),
    (r2, [3, 3])])
def test_a_metric_without_a_value_says_so_also_when_weights_hide_a_class(metric, labels):
    with pytest.raises(UndefinedMetricError, match=metric.__name__):
        metric(labels, [0.5, 0.25])
    with pytest.raises(UndefinedMetricError, match=metric.__name__):
        metric([*labels, 1 - labels[0]], [0.5, 0.25, 0.5], [1, 1, 0])


def test_as_many_groups_as_rows():
    with pytest.raises(DataError, match="one value per row. Got 1 for 2 rows"):
        group_auc([0, 1], [0.5, 0.5], ["ann"])


# The registry and the report

def test_the_registry_holds_exactly_the_metrics_that_a_schema_may_name():
    assert set(METRICS) == {*BINARY_METRICS, *REGRESSION_METRICS}
    assert all(name == metric.name for name, metric in METRICS.items())


@pytest.mark.parametrize("name", METRICS)
def test_better_knows_its_direction(name):
    labels = [0.0, 1.0, 1.0, 0.0]
    good, bad = (METRICS[name].function(labels, outputs) for outputs in ([-3, 2, -0.1, -2], [2, -2, 2, 2]))
    assert better(name, good, bad) and not better(name, bad, good) and not better(name, good, good)
    assert better(name, bad, None) and better(name, bad, math.nan)
    assert not better(name, math.nan, None) and not better(name, math.nan, bad) and not better(name, None, bad)


def test_an_unknown_metric_or_kind_is_answered_with_the_closest():
    with pytest.raises(DataError, match="Did you mean 'logloss'"):
        better("log_loss", 1.0, None)
    with pytest.raises(DataError, match="Did you mean 'regression'"):
        report("regresion", [1.0], [1.0])


def test_a_binary_report_holds_what_the_functions_say_of_the_sigmoid():
    labels, logits, weights = [1, 0, 1, 0, 1], np.array([2.0, -1.0, -0.5, 0.5, 1.0]), [1, 2, 1, 1, 3]
    p = sigmoid(logits)
    assert report("binary", labels, logits, weights, groups=[1, 1, 2, 2, 2]) == pytest.approx({
        "auc": auc(labels, p, weights), "logloss": logloss(labels, p, weights), "accuracy": accuracy(labels, p, weights),
        "normalized_entropy": normalized_entropy(labels, p, weights),
        "calibration_ratio": calibration_ratio(labels, p, weights), "rows": 5,
        "group_auc": group_auc(labels, p, [1, 1, 2, 2, 2], weights)}, rel=ROUNDING)
    assert "group_auc" not in report("binary", labels, logits)


@pytest.mark.parametrize(("label", "calibration"), [(0, None), (1, 0.5)])
def test_a_binary_report_of_one_class_leaves_out_what_it_cannot_say(label, calibration):
    assert report("binary", [label, label], [0.0, 0.0], groups=["a", "a"]) == {
        "auc": None, "logloss": pytest.approx(math.log(2)), "accuracy": label, "normalized_entropy": None,
        "calibration_ratio": calibration, "group_auc": None, "rows": 2}


def test_a_regression_report():
    labels, predictions = [1.0, 2.0, 4.0], [1.5, 2.0, 3.0]
    assert report("regression", labels, predictions, [1, 1, 2]) == {
        "rmse": rmse(labels, predictions, [1, 1, 2]), "mae": mae(labels, predictions, [1, 1, 2]),
        "r2": r2(labels, predictions, [1, 1, 2]), "rows": 3}


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_report_refuses_bad_rows_instead_of_leaving_metrics_out(kind):
    with pytest.raises(DataError, match="Got nan in row 1"):
        report(kind, [1, 0], [0.5, math.nan])
