"""Intervals for a figure whose rows come in clusters, such as a user's visits, from what each row moved it by.

A row's influence is the figure's derivative by the row's share of all rows, times that share; influences sum to 0. Those of a
cluster are added up, and the squares of the sums make up the figure's variance. Where a few clusters carry most of it, that
variance is itself a poor figure: Student's t is taken with the degrees of freedom that the sums' kurtosis κ leaves, of G
clusters 2 G / (κ - 1), and never more than G - 1.
Source: Liang & Zeger 1986, "Longitudinal data analysis using generalized linear models" (variances by cluster); Satterthwaite
1946, "An approximate distribution of estimates of variance components" (degrees of freedom from the variance of a variance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from widedeep.errors import DataError


@dataclass(frozen=True)
class Interval:
    """From where to where a figure may lie, its standard error, and how often chance alone puts it so far from 0."""

    low: float
    high: float
    error: float
    p: float


def interval(value: float, influences: np.ndarray, clusters: np.ndarray, confidence: float = 0.95) -> Interval:
    """The interval for a figure, from the influence of each row and the number of its cluster.

    Shape: influences (n,); clusters (n,), as `cluster_codes` gives them.
    Raises: DataError for fewer than two clusters, or a confidence outside (0, 1).

    >>> found = interval(2.0, np.array([-0.5, 0.0, 0.5]), np.array([0, 1, 2]))
    >>> round(found.error, 4), round(found.low, 4), round(found.high, 4)
    (0.866, -1.7262, 5.7262)
    """
    from scipy.special import stdtr, stdtrit

    confidence = checked_confidence(confidence)
    sums = np.bincount(clusters, influences)
    count = len(sums)
    if count < 2:
        raise DataError(f"An interval needs rows of two clusters or more, such as users. Got {count}. Pass more rows.")
    error = float(np.sqrt((sums**2).sum() * count / (count - 1)))
    if not error:
        return Interval(value, value, 0.0, float(value == 0))
    freedom = _freedom(sums)
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Interval(value - reach, value + reach, error, float(2 * stdtr(freedom, -abs(value) / error)))


def checked_confidence(confidence: float) -> float:
    """The confidence of an interval, as it is. Raises: DataError if it does not lie between 0 and 1.

    >>> checked_confidence(0.95)
    0.95
    """
    if not 0 < confidence < 1:
        raise DataError(f"confidence lies between 0 and 1. Got {confidence}. Pass .95 for 95 %.")
    return confidence


def cluster_codes(what: str, clusters: ArrayLike, rows: int, each: str = "visit") -> np.ndarray:
    """The number of each row's cluster, 0 and up without gaps, (rows,); a row whose cluster is missing is one by itself.

    Raises: DataError if clusters are not one value per row; `what` begins the message, `each` is what it calls a row.

    >>> cluster_codes("gain: users", ["ann", None, "ann", "bob"], 4).tolist()
    [0, 2, 0, 1]
    """
    codes = pa.array(clusters, from_pandas=True).dictionary_encode().indices
    if len(codes) != rows:
        raise DataError(f"{what} hold one value per {each}. Got {len(codes)} for {rows} {each}s. Pass as many as {each}s.")
    codes = codes.fill_null(-1).to_numpy()
    return np.unique(np.where(codes < 0, rows + np.arange(rows), codes), return_inverse=True)[1]


def _freedom(sums: np.ndarray) -> float:
    """The degrees of freedom of a sum of squares; the kurtosis lies between 1 and the number of clusters."""
    squares = (sums / np.abs(sums).max()) ** 2
    count = len(sums)
    kurtosis = count * (squares**2).sum() / squares.sum() ** 2
    return min(count - 1.0, 2 * count / max(kurtosis - 1, 1e-9)) if count > 2 else 1.0
