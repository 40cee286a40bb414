"""How good predictions are: numpy float64, the only source of reported numbers.

Everywhere: labels, predictions and optional weights have shape (n,); a weight of 2 counts as the row twice, of 0 as no row.
Raises: DataError for no rows, lengths that differ, a value that is not finite, a label outside {0, 1} or a negative weight,
naming the first such row, counted from 0; UndefinedMetricError where no value exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from widedeep.errors import DataError, unknown_names
from widedeep.schema import BINARY_METRICS, LABEL_KINDS, REGRESSION_METRICS


class UndefinedMetricError(DataError):
    """A metric that has no value on these rows, such as the AUC of one class."""


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of (positive, negative) pairs in which the positive scores higher; a tie is half a pair. O(n log n).

    Shape: labels (n,) in {0, 1}; scores (n,), any finite numbers → float.
    Raises: UndefinedMetricError if labels hold one class only.

    >>> auc([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1])
    0.875
    """
    labels, scores, weights = binary_rows("auc", labels, scores, weights)
    if not _both_classes(labels, weights):
        raise UndefinedMetricError("auc: pairs need a positive and a negative row. Got one class. Evaluate rows of both.")
    return _area(labels, scores, weights)


def group_auc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean AUC over the groups that hold both classes, each weighted by its rows: are rows ranked well *within* a group?

    Shape: labels (n,) in {0, 1}; scores (n,); groups (n,), values of one type; rows of a missing group are left out → float.
    Raises: UndefinedMetricError if no group holds both classes.
    Source: Zhou et al. 2018, "Deep interest network for click-through rate prediction", metrics of the experiments.

    >>> group_auc([1, 0, 1, 0], [0.2, 0.1, 0.8, 0.9], ["ann", "ann", "bob", "bob"])
    0.5
    """
    labels, scores, weights = binary_rows("group_auc", labels, scores, weights)
    parts = groups_of_both_classes(labels, weights, groups)
    areas = [_area(labels[rows], scores[rows], weights[rows]) for rows in parts]
    return float(np.average(areas, weights=[weights[rows].sum() for rows in parts]))


def logloss(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean of -log of the probability given to what happened; infinite if that was 0 for any row.

    Shape: labels (n,) in {0, 1}; probabilities (n,) in [0, 1] → float.

    >>> round(logloss([1, 0], [0.9, 0.2]), 4)
    0.1643
    """
    labels, probabilities, weights = _probable("logloss", labels, probabilities, weights)
    with np.errstate(divide="ignore"):
        return _mean(-np.where(labels == 1, np.log(probabilities), np.log1p(-probabilities)), weights)


def logloss_from_logits(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None) -> float:
    """`logloss` of the probabilities sigmoid(logits), exact and finite also where they round to 0 or 1.

    Shape: labels (n,) in {0, 1}; logits (n,) → float.

    >>> logloss_from_logits([1, 0], [-1000.0, -1000.0])
    500.0
    """
    labels, logits, weights = binary_rows("logloss", labels, logits, weights)
    return _mean(np.logaddexp(0.0, (1 - 2 * labels) * logits), weights)


def accuracy(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of rows on whose label the probability, cut at .5, is right; .5 itself says 1.

    Shape: labels (n,) in {0, 1}; probabilities (n,) in [0, 1] → float.

    >>> accuracy([1, 0, 1, 0], [0.9, 0.2, 0.4, 0.1])
    0.75
    """
    labels, probabilities, weights = _probable("accuracy", labels, probabilities, weights)
    return _mean((probabilities >= 0.5) == labels, weights)


def normalized_entropy(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Log loss divided by that of always predicting the base rate; below 1 means something was learned.

    Shape: labels (n,) in {0, 1}; probabilities (n,) in [0, 1] → float.
    Raises: UndefinedMetricError if labels hold one class only (the base rate predicts them perfectly).
    Source: He et al. 2014, "Practical lessons from predicting clicks on ads at Facebook", §3.

    >>> round(normalized_entropy([1, 0], [0.9, 0.2]), 4)
    0.237
    """
    return logloss(labels, probabilities, weights) / _base_entropy(labels, weights)


def calibration_ratio(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean predicted ÷ mean observed: 1 is calibrated on average, above 1 promises too much.

    Shape: labels (n,) in {0, 1}; probabilities (n,) in [0, 1] → float.
    Raises: UndefinedMetricError if no row is positive.

    >>> calibration_ratio([1, 0, 0, 0], [0.5, 0.25, 0.5, 0.25])
    1.5
    """
    labels, probabilities, weights = _probable("calibration_ratio", labels, probabilities, weights)
    if not (observed := _mean(labels, weights)):
        raise UndefinedMetricError("calibration_ratio: divides by the share of positive rows. Got none. Evaluate more rows.")
    return _mean(probabilities, weights) / observed


def rmse(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root of the mean squared error, in the label's unit.

    Shape: labels (n,), predictions (n,) → float.

    >>> rmse([1.0, 3.0], [2.0, 3.0]) == 0.5 ** 0.5
    True
    """
    labels, predictions, weights = _checked("rmse", labels, predictions, weights)
    return math.sqrt(_mean((labels - predictions) ** 2, weights))


def mae(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean absolute error, in the label's unit.

    Shape: labels (n,), predictions (n,) → float.

    >>> mae([1.0, 3.0], [2.0, 3.0])
    0.5
    """
    labels, predictions, weights = _checked("mae", labels, predictions, weights)
    return _mean(np.abs(labels - predictions), weights)


def r2(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of the labels' variance that is explained: 1 is perfect, 0 as good as their mean, below 0 worse.

    Shape: labels (n,), predictions (n,) → float.
    Raises: UndefinedMetricError if all labels are equal.

    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    labels, predictions, weights = _checked("r2", labels, predictions, weights)
    seen = labels[weights > 0]
    if seen.min() == seen.max():
        raise UndefinedMetricError(f"r2: needs labels that differ. Got {seen[0]} in every row. Evaluate more rows.")
    return 1 - _mean((labels - predictions) ** 2, weights) / _mean((labels - _mean(labels, weights)) ** 2, weights)


def sigmoid(logits: ArrayLike) -> np.ndarray:
    """Probabilities of logits, without overflow.

    >>> sigmoid([0.0, -1000.0, 1000.0]).tolist()
    [0.5, 0.0, 1.0]
    """
    logits = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


@dataclass(frozen=True)
class Metric:
    """A number to choose models by. `function` takes labels, what a model puts out (logits, for binary labels) and weights."""

    name: str
    function: Callable[..., float]
    higher_is_better: bool


def better(name: str, new: float | None, old: float | None) -> bool:
    """Is the metric's `new` value better than `old`? NaN and None are never better, and never stand in the way.

    Raises: DataError for an unknown name.

    >>> better("auc", 0.9, 0.8), better("logloss", 0.9, 0.8), better("auc", 0.1, None), better("auc", float("nan"), None)
    (True, False, True, False)
    """
    if name not in METRICS:
        raise DataError(unknown_names("There is no such metric", [name], METRICS))
    if new is None or math.isnan(new):
        return False
    if old is None or math.isnan(old):
        return True
    return new > old if METRICS[name].higher_is_better else new < old


def report(kind: str, labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None,
           groups: ArrayLike | None = None) -> dict[str, float | None]:
    """All metrics of a `binary` or `regression` model and the number of rows; None for the undefined and the infinite.

    Shape: labels (n,); logits (n,), for regression the predicted numbers. `groups` (n,) adds `group_auc` to a binary report.

    >>> report("regression", [1.0, 3.0], [2.0, 3.0])["mae"]
    0.5
    """
    if kind not in LABEL_KINDS:
        raise DataError(unknown_names("There is no report of such a kind", [kind], LABEL_KINDS))
    names = BINARY_METRICS if kind == "binary" else REGRESSION_METRICS
    values = {name: _or_none(METRICS[name].function, labels, logits, weights) for name in names}
    if kind == "binary":
        values["calibration_ratio"] = _or_none(_of_logits(calibration_ratio), labels, logits, weights)
        if groups is not None:
            values["group_auc"] = _or_none(group_auc, labels, logits, groups, weights)
    return values | {"rows": len(labels)}


def _or_none(function: Callable[..., float], *rows: ArrayLike | None) -> float | None:
    try:
        value = function(*rows)
    except UndefinedMetricError:
        return None
    return value if math.isfinite(value) else None


def _of_logits(function: Callable[..., float]) -> Callable[..., float]:
    """A metric of probabilities as one of logits."""
    def metric(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None) -> float:
        labels, logits, weights = binary_rows(function.__name__, labels, logits, weights)
        return function(labels, sigmoid(logits), weights)
    return metric


def _normalized_entropy_from_logits(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None) -> float:
    return logloss_from_logits(labels, logits, weights) / _base_entropy(labels, weights)


METRICS: dict[str, Metric] = {metric.name: metric for metric in (
    Metric("auc", auc, True),
    Metric("logloss", logloss_from_logits, False),
    Metric("accuracy", _of_logits(accuracy), True),
    Metric("normalized_entropy", _normalized_entropy_from_logits, False),
    Metric("rmse", rmse, False),
    Metric("mae", mae, False),
    Metric("r2", r2, True),
)}
"""What models can be chosen by: the names a schema's `training.metric` takes. Calibration is reported, but has no direction."""

_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def _checked(what: str, labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None) -> _Rows:
    """Labels, predictions and weights as float64 that can be reckoned with."""
    labels, predictions = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    weights = np.ones(labels.shape) if weights is None else np.asarray(weights, np.float64)
    if labels.ndim != 1 or not labels.shape == predictions.shape == weights.shape:
        raise DataError(f"{what}: labels, predictions and weights hold one number per row each. Got shapes {labels.shape}, "
                        f"{predictions.shape} and {weights.shape}. Pass arrays of one dimension and equal length.")
    _refuse(what, "labels must be finite", labels, ~np.isfinite(labels), "Leave unlabelled rows out.")
    _refuse(what, "predictions must be finite", predictions, ~np.isfinite(predictions), "Look at the inputs of that row.")
    _refuse(what, "weights must be finite and at least 0", weights, ~(np.isfinite(weights) & (weights >= 0)),
            "Give a row that should not count the weight 0.")
    if not weights.any():
        raise DataError(f"{what}: needs a row to evaluate. Got {len(labels)} rows, none with a weight above 0. Pass some.")
    return labels, predictions, weights


def binary_rows(what: str, labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None) -> _Rows:
    """Labels in {0, 1}, predictions and weights as float64, checked as above; `what` begins the message.

    >>> binary_rows("auc", [1, 0], [0.5, 0.25], None)[2].tolist()
    [1.0, 1.0]
    """
    labels, predictions, weights = _checked(what, labels, predictions, weights)
    _refuse(what, "labels must be 0 or 1", labels, (labels != 0) & (labels != 1), "Map the positive value to 1, others to 0.")
    return labels, predictions, weights


def _probable(what: str, labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None) -> _Rows:
    labels, predictions, weights = binary_rows(what, labels, predictions, weights)
    _refuse(what, "probabilities must lie in [0, 1]", predictions, (predictions < 0) | (predictions > 1),
            "If these are logits, apply sigmoid first.")
    return labels, predictions, weights


def _refuse(what: str, rule: str, values: np.ndarray, bad: np.ndarray, remedy: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{what}: {rule}. Got {values[row]} in row {row}. {remedy}")


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean of the rows that count; an infinite value of weight 0 leaves no trace."""
    counts = weights > 0
    return float(np.average(values[counts], weights=weights[counts]))


def _both_classes(labels: np.ndarray, weights: np.ndarray) -> bool:
    seen = labels[weights > 0]
    return seen.size > 0 and seen.min() < seen.max()


def _base_entropy(labels: ArrayLike, weights: ArrayLike | None) -> float:
    """The log loss of always predicting the base rate."""
    labels, _, weights = binary_rows("normalized_entropy", labels, labels, weights)
    if not _both_classes(labels, weights):
        raise UndefinedMetricError("normalized_entropy: divides by the log loss of the base rate, which is 0 for one class. "
                                   "Got one class. Evaluate rows of both.")
    rate = _mean(labels, weights)
    return logloss(labels, np.full(len(labels), rate), weights)


def _area(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """The AUC of rows of both classes: sort, sum each class over equal scores, count the negatives below."""
    order = np.argsort(scores)
    labels, scores, weights = labels[order], scores[order], weights[order]
    starts = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    positive = np.add.reduceat(weights * labels, starts)
    negative = np.add.reduceat(weights * (1 - labels), starts)
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def groups_of_both_classes(labels: np.ndarray, weights: np.ndarray, groups: ArrayLike) -> list[np.ndarray]:
    """The row numbers of each group that has an AUC.

    Raises: UndefinedMetricError if no group holds both classes.

    >>> groups_of_both_classes(np.array([1, 0, 1]), np.ones(3), ["ann", "ann", "bob"])[0].tolist()
    [0, 1]
    """
    parts = [rows for rows in _grouped(groups, len(labels)) if _both_classes(labels[rows], weights[rows])]
    if not parts:
        raise UndefinedMetricError("group_auc: needs a group with rows of both classes. Got none. Group more coarsely.")
    return parts


def _grouped(groups: ArrayLike, rows: int) -> list[np.ndarray]:
    """The row numbers of each group."""
    codes = pa.array(groups, from_pandas=True).dictionary_encode().indices
    if len(codes) != rows:
        raise DataError(f"group_auc: groups hold one value per row. Got {len(codes)} for {rows} rows. Pass as many as labels.")
    present = np.flatnonzero(codes.is_valid())
    codes = codes.drop_null().to_numpy()
    order = np.argsort(codes, kind="stable")
    return np.split(present[order], np.flatnonzero(np.diff(codes[order])) + 1)
