"""From the ranker's scores to chances that hold: a temperature and a shift, found on interactions that neither stage saw.

A model that remembers is too sure of what it remembers, one that is held back not sure enough. Of held-out interactions it is
known what the user took next; the temperature that makes these likeliest, one number for all, keeps every list's order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

FEWEST = 100
"""Fewer interactions say nothing."""

COLDEST, HOTTEST = 0.05, 20.0


class NextItem(NamedTuple):
    """A score s becomes s ÷ `temperature` + `shift`: the log of the chance to be what the user takes next.

    `interactions`: on how many it was found; 0 where it was not, and scores stay as they are. The temperature is 1 where what
    was taken stood in fewer than 100 of the lists.
    """

    temperature: float = 1.0
    shift: float = 0.0
    interactions: int = 0

    @classmethod
    def found(cls, scores: np.ndarray, place: np.ndarray) -> NextItem:
        """From lists of scores (interactions, items), −inf behind the last, and the place of what was taken, −1 for nowhere.

        Source: Guo et al. 2017, "On calibration of modern neural networks", over the items of a list.

        >>> sure = np.tile(2 * np.log([0.6, 0.4]), (1000, 1))
        >>> fit = NextItem.found(sure, np.repeat([0, 1], [600, 400]))
        >>> round(fit.temperature, 2), np.exp(fit.applied(sure[0])).round(2).tolist()
        (2.0, [0.6, 0.4])
        """
        some = np.isfinite(scores).any(axis=1)
        scores, place, temperature = scores[some], place[some], 1.0
        there = place >= 0
        if not there.any() or len(there) < FEWEST:
            return cls()
        if there.sum() >= FEWEST:
            ours, taken = scores[there], place[there]

            def loss(log_temperature: float) -> float:
                scaled = ours / np.exp(log_temperature)
                return float((_log_sums(scaled) - scaled[np.arange(len(taken)), taken]).mean())

            temperature = float(np.exp(minimize_scalar(loss, bounds=np.log([COLDEST, HOTTEST]), method="bounded").x))
        whole = _log_sums((_log_sums(scores / temperature))[None])[0] - np.log(len(scores))
        return cls(temperature, float(np.log(there.mean()) - whole), len(there))

    def applied(self, scores: np.ndarray) -> np.ndarray:
        """Scores of any shape, made to hold; their order stays."""
        return scores / self.temperature + self.shift


def _log_sums(scores: np.ndarray) -> np.ndarray:
    """log Σ exp of each row: (rows,)."""
    best = scores.max(axis=1)
    return best + np.log(np.exp(scores - best[:, None]).sum(axis=1))
