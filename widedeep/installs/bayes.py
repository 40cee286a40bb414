"""What the best possible model reaches, from exact probabilities alone: no label is drawn."""

from __future__ import annotations

import numpy as np
from scipy.special import entr

BINS = 1 << 20
"""Of probability: impressions in one bin count as ties, which moves the AUC by less than 1e-6."""


class Bayes:
    """AUC and log loss to expect of the exact probabilities themselves, over impressions that come in parts.

    Over labels y ~ p, the AUC is the share of (positive, negative) pairs, weighted by p (1 - p'), in which p > p'; the log
    loss is the mean entropy of p. No model has a better one to expect.

    >>> best = Bayes()
    >>> best.add(np.array([0.2, 0.8]))
    >>> {name: round(value, 4) for name, value in best.figures().items()}
    {'auc': 0.8, 'logloss': 0.5004, 'rate': 0.5}
    """

    def __init__(self) -> None:
        self.positive, self.negative = np.zeros(BINS), np.zeros(BINS)
        self.entropy = 0.0

    def add(self, probability: np.ndarray, weight: np.ndarray | float = 1.0) -> None:
        """Count impressions: their exact probabilities, of any shape, and how much each counts."""
        probability, weight = (each.ravel() for each in np.broadcast_arrays(probability, weight))
        bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
        np.add.at(self.positive, bins, weight * probability)
        np.add.at(self.negative, bins, weight * (1 - probability))
        self.entropy += float(weight @ (entr(probability) + entr(1 - probability)))

    def figures(self) -> dict[str, float]:
        """`auc`, `logloss` and `rate`, the mean probability."""
        positive, negative = self.positive.sum(), self.negative.sum()
        below = np.cumsum(self.negative) - self.negative / 2
        return {"auc": float(self.positive @ below / (positive * negative)),
                "logloss": float(self.entropy / (positive + negative)), "rate": float(positive / (positive + negative))}
