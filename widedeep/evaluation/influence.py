"""How far each row moves a metric: influence values, whose squares add up to the metric's variance over test rows.

A row's influence is the metric's derivative by the row's share of all weight, times that share. Influences sum to 0. Where rows
come in clusters they are added up within each before they are squared.
Source: Hampel 1974, "The influence curve and its role in robust estimation"; of AUC: DeLong, DeLong & Clarke-Pearson 1988,
"Comparing the areas under two or more correlated receiver operating characteristic curves", and in clusters Obuchowski 1997,
"Nonparametric analysis of clustered ROC curve data".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from widedeep.errors import DataError, unknown_names
from widedeep.evaluation import calibration, metrics
from widedeep.evaluation.metrics import METRICS, sigmoid


def influence(metric: str, labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None,
              groups: ArrayLike | None = None) -> tuple[float, np.ndarray]:
    """The metric's value, and the influence of each row on it.

    Shape: labels (n,); logits (n,), for `rmse` the predicted numbers; weights (n,); groups (n,), which `group_auc` needs and
    no other metric looks at → float, (n,). The bins of `ece` are held where they are.
    Raises: DataError for an unknown metric or no groups, and whatever the metric itself raises.

    >>> value, moved = influence("auc", [1, 0, 1, 0], [0.9, 0.5, 0.4, 0.1])
    >>> value, moved.tolist()
    (0.75, [0.125, -0.125, -0.125, 0.125])
    """
    if metric not in INFLUENCES:
        raise DataError(unknown_names("There are no influence values of such a metric", [metric], INFLUENCES))
    if metric == "group_auc" and groups is None:
        raise DataError("group_auc: ranks rows within groups. Got no groups. Pass one value per row.")
    value_of, moved_by = INFLUENCES[metric]
    grouped = {"groups": groups} if metric == "group_auc" else {}
    value = value_of(labels, logits, weights=weights, **grouped)
    labels, logits = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    return value, moved_by(labels, logits, weights, **grouped)


def _of_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    shares = weights / weights.sum()
    return (values - values @ shares) * shares


def _of_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC is the positives' mean share of negatives below, and the negatives' mean share of positives above; a tie is half."""
    _, place = np.unique(scores, return_inverse=True)
    positive, negative = weights * labels, weights * (1 - labels)
    below, above = _share_below(place, negative), 1 - _share_below(place, positive)
    return _of_mean(below, positive) + _of_mean(above, negative)


def _share_below(place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    tied = np.bincount(place, weights)
    return ((np.cumsum(tied) - tied / 2) / weights.sum())[place]


def _of_group_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, groups: ArrayLike) -> np.ndarray:
    """A row moves its group's AUC, and how much the group counts."""
    parts = metrics.groups_of_both_classes(labels, weights, groups)
    areas, counted, moved = np.zeros(len(labels)), np.zeros(len(labels)), np.zeros(len(labels))
    for rows in parts:
        counted[rows], areas[rows] = weights[rows], metrics.auc(labels[rows], scores[rows], weights[rows])
        moved[rows] = _of_auc(labels[rows], scores[rows], weights[rows]) * weights[rows].sum()
    return _of_mean(areas, counted) + moved / counted.sum()


def _of_logloss(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _of_mean(np.logaddexp(0.0, (1 - 2 * labels) * logits), weights)


def _of_accuracy(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _of_mean((sigmoid(logits) >= 0.5) == labels, weights)


def _of_normalized_entropy(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A ratio of two that move: the log loss, and the entropy of the base rate."""
    rate = np.average(labels, weights=weights)
    entropy, slope = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)), np.log1p(-rate) - np.log(rate)
    value = metrics.logloss_from_logits(labels, logits, weights) / entropy
    return (_of_logloss(labels, logits, weights) - value * slope * _of_mean(labels, weights)) / entropy


def _of_calibration_ratio(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    value = _calibration_ratio(labels, logits, weights)
    return _of_mean(sigmoid(logits) - value * labels, weights) / np.average(labels, weights=weights)


def _of_ece(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each bin's distance is a mean with a sign."""
    gap, place = sigmoid(logits) - labels, calibration.bin_of_each(logits, weights, calibration.BINS)
    return _of_mean(np.sign(np.bincount(place, weights * gap))[place] * gap, weights)


def _of_rmse(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Where nothing is wrong nothing moves."""
    root = metrics.rmse(labels, predictions, weights)
    return _of_mean((labels - predictions) ** 2, weights) / (2 * root) if root else np.zeros(len(labels))


def _calibration_ratio(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None) -> float:
    return metrics.calibration_ratio(labels, sigmoid(logits), weights)


INFLUENCES: dict[str, tuple[Callable[..., float], Callable[..., np.ndarray]]] = {
    "auc": (metrics.auc, _of_auc),
    "group_auc": (metrics.group_auc, _of_group_auc),
    "logloss": (METRICS["logloss"].function, _of_logloss),
    "accuracy": (METRICS["accuracy"].function, _of_accuracy),
    "normalized_entropy": (METRICS["normalized_entropy"].function, _of_normalized_entropy),
    "calibration_ratio": (_calibration_ratio, _of_calibration_ratio),
    "ece": (calibration.ece, _of_ece),
    "rmse": (metrics.rmse, _of_rmse),
}
"""The metrics that intervals can be had of: each as a function of labels, logits and weights, and how its rows move it."""
