"""Influence values: DeLong's components pair by pair, the derivative by each row's weight, and the jackknife."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.evaluation import calibration, metrics
from widedeep.evaluation.influence import INFLUENCES, influence
from widedeep.evaluation.metrics import METRICS, UndefinedMetricError, sigmoid

ROUNDING = 1e-12  # sums of a few float64 terms in another order

rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([-1.0, 0.0, 0.5]) | st.floats(-5, 5), st.integers(0, 3)),
                min_size=2, max_size=25)


def columns(table):
    labels, logits, weights = map(np.array, zip(*table))
    assume(set(labels[weights > 0].tolist()) == {0, 1})
    return labels, logits, weights


def study(count=240, seed=0):
    """Labels, logits with ties, weights and groups of 40, some rows of no group."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=count).round(1)
    groups = [None if i % 11 == 0 else f"g{i % 6}" for i in range(count)]
    return (rng.random(count) < sigmoid(logits)).astype(float), logits, rng.integers(1, 4, count) / 2, groups


def value_of(metric, labels, logits, weights=None, groups=None):
    """The metric by its own module."""
    if metric == "group_auc":
        return metrics.group_auc(labels, logits, groups, weights)
    if metric == "calibration_ratio":
        return metrics.calibration_ratio(labels, sigmoid(logits), weights)
    return (METRICS[metric].function if metric in METRICS else calibration.ece)(labels, logits, weights)


@given(rows)
def test_auc_moves_by_delongs_components(table):
    """A positive's is its mean kernel over negatives, a negative's over positives, each less the AUC."""
    labels, scores, weights = columns(table)
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    total = {side: sum(weights[i] for i in rows) for side, rows in ((1, positives), (0, negatives))}

    def kernel(i, j):
        return (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2

    area = sum(weights[i] * weights[j] * kernel(i, j) for i in positives for j in negatives) / (total[0] * total[1])
    expected = np.zeros(len(table))
    for i in positives:
        expected[i] = weights[i] * (sum(weights[j] * kernel(i, j) for j in negatives) / total[0] - area) / total[1]
    for j in negatives:
        expected[j] = weights[j] * (sum(weights[i] * kernel(i, j) for i in positives) / total[1] - area) / total[0]
    value, moved = influence("auc", labels, scores, weights)
    assert value == pytest.approx(area, abs=ROUNDING) and moved == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("metric", INFLUENCES)
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_derivative_by_each_rows_weight(metric, weighted):
    """101 rows of odd weights: none lies on the edge of one of the bins of `ece`."""
    labels, logits, weights, groups = study(101)
    weights = weights + np.linspace(0, 0.1, 101) if weighted else np.ones(101)
    value, moved = influence(metric, labels, logits, weights if weighted else None, groups)
    assert value == pytest.approx(value_of(metric, labels, logits, weights, groups), rel=ROUNDING)
    for row in range(0, 101, 3):
        step = np.where(np.arange(101) == row, 1e-5, 0)
        up, down = (value_of(metric, labels, logits, weights * (1 + sign * step), groups) for sign in (1, -1))
        assert moved[row] == pytest.approx((up - down) / 2e-5, abs=1e-8)   # rounding of values near 1, over 2e-5


@pytest.mark.parametrize("metric", [name for name in INFLUENCES if name != "ece"])   # leaving a row out moves its bins
def test_the_variance_from_rows_is_that_of_the_jackknife(metric):
    labels, logits, _, groups = study()
    count, (_, moved) = len(labels), influence(metric, labels, logits, groups=groups)
    kept = [np.delete(np.arange(count), row) for row in range(count)]
    left_out = np.array([value_of(metric, labels[k], logits[k], groups=[groups[i] for i in k]) for k in kept])
    jackknife = (count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()
    nearness = 0.08 if metric == "group_auc" else 0.01   # of 36 rows, one counts
    assert (moved**2).sum() * count / (count - 1) == pytest.approx(jackknife, rel=nearness)


@pytest.mark.parametrize("metric", INFLUENCES)
def test_influences_sum_to_zero_and_follow_the_rows(metric):
    labels, logits, weights, groups = study()
    weights[::7] = 0
    value, moved = influence(metric, labels, logits, weights, groups)
    assert moved.sum() == pytest.approx(0, abs=ROUNDING) and not moved[::7].any()
    order = np.random.default_rng(1).permutation(len(labels))
    again, shuffled = influence(metric, labels[order], logits[order], weights[order], [groups[i] for i in order])
    assert again == pytest.approx(value, rel=ROUNDING) and shuffled == pytest.approx(moved[order], abs=ROUNDING)


@pytest.mark.parametrize("metric", INFLUENCES)
def test_a_weight_of_two_moves_it_as_the_row_written_twice(metric):
    labels, logits, weights, groups = study()
    times = (2 * weights).astype(int)
    value, moved = influence(metric, labels, logits, times, groups)
    twice, apart = influence(metric, *(np.repeat(column, times) for column in (labels, logits)),
                             groups=np.repeat(np.array(groups, object), times))
    assert twice == pytest.approx(value, rel=ROUNDING)
    assert np.add.reduceat(apart, np.cumsum(times) - times) == pytest.approx(moved, abs=ROUNDING)


def test_by_hand():
    assert influence("accuracy", [1, 0], [1.0, 1.0])[1].tolist() == [0.25, -0.25]
    value, moved = influence("rmse", [0.0, 0.0], [1.0, 7.0])
    assert value == 5 and moved.tolist() == [-1.2, 1.2]   # squares 1 and 49 around 25, halved, over 2 · 5
    assert influence("rmse", [1.0, 2.0], [1.0, 2.0])[1].tolist() == [0, 0]
    value, moved = influence("calibration_ratio", [1, 0], [0.0, 0.0])
    assert value == 1 and moved.tolist() == [-0.5, 0.5]
    value, moved = influence("group_auc", [1, 0, 1, 0], [1.0, 0.0, 0.0, 1.0], groups=["a", "a", "b", "b"])
    assert value == 0.5 and moved.tolist() == [0.125, 0.125, -0.125, -0.125]


def test_what_has_no_influence_says_so():
    with pytest.raises(DataError, match="no influence values of such a metric.*'acuracy'.*Did you mean 'accuracy'"):
        influence("acuracy", [0, 1], [0.0, 1.0])
    with pytest.raises(DataError, match="group_auc.*Got no groups"):
        influence("group_auc", [0, 1], [0.0, 1.0])
    with pytest.raises(UndefinedMetricError, match="auc"):
        influence("auc", [1, 1], [0.0, 1.0])
    with pytest.raises(DataError, match="predictions must be finite. Got nan in row 1"):
        influence("logloss", [0, 1], [0.0, np.nan])
