"""Do probabilities mean what they say? Predicted beside observed, in bins of equal counts.

Shapes, weights and errors as in `metrics`: labels (n,) in {0, 1}, logits (n,), optional weights (n,). Equal logits are in
one bin, so that neither the order of rows nor writing a row twice instead of weighing it 2 changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from widedeep.errors import DataError
from widedeep.evaluation.metrics import binary_rows, sigmoid

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """A reliability curve: of each bin, from low to high, the mean probability, the share of positives and the rows' weight."""

    predicted: np.ndarray
    observed: np.ndarray
    weight: np.ndarray


def reliability(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS) -> Reliability:
    """The reliability curve: on the diagonal where probabilities are calibrated, below it where they promise too much.

    Shape: labels (n,), logits (n,) → three arrays (b,); b is less than `bins` where ties or few rows leave bins empty.

    >>> curve = reliability([0, 1, 1, 1], [0.0, 0.0, 2.0, 2.0], bins=2)
    >>> curve.predicted.round(3).tolist(), curve.observed.tolist(), curve.weight.tolist()
    ([0.5, 0.881], [0.5, 1.0], [2.0, 2.0])
    """
    labels, logits, weights = binary_rows("reliability", labels, logits, weights)
    places = bin_of_each(logits, weights, bins)
    weight, predicted, observed = (np.bincount(places, weights * values) for values in (1.0, sigmoid(logits), labels))
    used = weight > 0
    return Reliability(predicted[used] / weight[used], observed[used] / weight[used], weight[used])


def ece(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS) -> float:
    """Expected calibration error: the mean distance of the reliability curve, in `bins` of equal counts, from the diagonal.

    Shape: labels (n,), logits (n,) → float. Few rows a bin push it up even where the model is calibrated: compare it only
    between models on the same rows.
    Source: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning"; with equal counts: Nixon et
    al. 2019, "Measuring calibration in deep learning".

    >>> round(ece([0, 1, 1, 1], [0.0, 0.0, 2.0, 2.0], bins=2), 3)
    0.06
    """
    curve = reliability(labels, logits, weights, bins)
    return float(np.average(np.abs(curve.predicted - curve.observed), weights=curve.weight))


def bin_of_each(logits: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each row, by the share of all weight that lies below the middle of the rows with its logit.

    >>> bin_of_each(np.array([3.0, 1.0, 2.0, 2.0]), np.ones(4), 2).tolist()
    [1, 0, 1, 1]
    """
    if bins < 1:
        raise DataError(f"reliability: a curve has at least 1 bin. Got {bins}. Choose about 10.")
    _, value = np.unique(logits, return_inverse=True)
    tied = np.bincount(value, weights)
    middle = np.cumsum(tied) - tied / 2
    return np.minimum(bins * middle / tied.sum(), bins - 1).astype(np.intp)[value]
