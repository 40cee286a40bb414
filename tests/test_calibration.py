"""Reliability curves and the expected calibration error, against bins filled by hand."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.evaluation.calibration import BINS, ece, reliability
from widedeep.evaluation.metrics import sigmoid

ROUNDING = 1e-12  # sums of a few float64 terms in another order

rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([-1.0, 0.0, 0.5]) | st.floats(-5, 5), st.integers(0, 3)),
                min_size=1, max_size=30)


def columns(table):
    labels, logits, weights = map(np.array, zip(*table))
    assume(weights.any())
    return labels, logits, weights


def test_bins_hold_equal_counts():
    labels, logits = [0, 0, 1, 0, 1, 1], [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]
    curve = reliability(labels, logits, bins=3)
    assert curve.weight.tolist() == [2, 2, 2] and curve.observed.tolist() == [0, 0.5, 1]
    assert curve.predicted.tolist() == pytest.approx([float(sigmoid(logits[i:i + 2]).mean()) for i in (0, 2, 4)])


def test_the_error_by_hand():
    """p is .5 in one bin, of which a quarter is positive, and .8 in the other, of which all are."""
    labels, logits = [0, 0, 0, 1, 1, 1, 1, 1], [0.0] * 4 + [float(np.log(4))] * 4
    assert ece(labels, logits, bins=2) == pytest.approx((0.25 + 0.2) / 2)
    assert ece(labels, logits, [1] * 4 + [3] * 4, bins=1) == pytest.approx(abs((4 * 0.5 + 12 * 0.8) / 16 - 13 / 16))


@given(rows, st.integers(1, 12))
def test_against_bins_filled_row_by_row(table, bins):
    labels, logits, weights = columns(table)
    total, error = weights.sum(), 0.0
    places = [min(bins - 1, int(bins * (weights[logits < z].sum() + weights[logits == z].sum() / 2) / total)) for z in logits]
    for place in set(places):
        rows = [i for i, at in enumerate(places) if at == place]
        error += abs(sum(weights[i] * (sigmoid(logits[i]) - labels[i]) for i in rows)) / total
    assert ece(labels, logits, weights, bins) == pytest.approx(error, abs=ROUNDING)


@given(rows, st.randoms())
def test_neither_order_nor_writing_a_row_twice_changes_the_curve(table, random):
    labels, logits, weights = columns(table)
    order = np.repeat(np.arange(len(table)), weights)
    random.shuffle(order)
    expected, found = reliability(labels, logits, weights), reliability(labels[order], logits[order])
    for name in ("predicted", "observed", "weight"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=ROUNDING)


def test_calibrated_logits_have_little_error_and_their_double_has_much():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20_000)
    labels = rng.random(20_000) < sigmoid(logits)
    assert ece(labels, logits) < 0.012 < 0.1 < ece(labels, 3 * logits)   # .012: 10 bins of 2,000 rows, deviation .01 each
    assert len(reliability(labels, logits).weight) == BINS


def test_what_cannot_be_binned_is_refused():
    with pytest.raises(DataError, match="at least 1 bin. Got 0"):
        ece([0, 1], [0.0, 1.0], bins=0)
    with pytest.raises(DataError, match="labels must be 0 or 1. Got 2.0 in row 1"):
        reliability([0, 2], [0.0, 1.0])
