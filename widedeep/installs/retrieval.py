"""The shelf of a day, and the retrieval stage in front of the logging policy: which apps are candidates of a visit."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from widedeep.installs.population import CATEGORIES, Apps, Users, log_ranks
from widedeep.installs.spec import WorldSpec

ROUNDS = 4
"""Rounds of proposals by popularity and taste; whoever still lacks candidates then gets any apps."""


class Shelf(NamedTuple):
    """Apps as they are on one day: `popularity` (apps,), `taste` (apps, dimensions), and what retrieval draws them by.

    `order` lists the apps that have come, category by category; `ends` (categories + 1,) are the categories' parts of the
    cumulative weights `rising` along that order.
    """

    popularity: np.ndarray
    taste: np.ndarray
    order: np.ndarray
    rising: np.ndarray
    ends: np.ndarray


def shelf(spec: WorldSpec, apps: Apps, day: int) -> Shelf:
    """The apps of a day: popularity and tastes turn by `spec.drift` a day; apps that have not come yet are left out."""
    turned = (math.cos(spec.drift * day), math.sin(spec.drift * day))
    popularity, taste = (turned[0] * two[0] + turned[1] * two[1] for two in (apps.popularity, apps.taste))
    order = np.argsort(apps.category, kind="stable")
    order = order[apps.day[order] <= day]
    weights = np.exp(spec.zipf * log_ranks(spec.apps, standard=False).std() * popularity[order])
    rising = np.concatenate([[0.0], np.cumsum(weights)])
    ends = np.searchsorted(apps.category[order], np.arange(len(CATEGORIES) + 1))
    return Shelf(popularity, taste, order, rising, rising[ends])


def leanings(spec: WorldSpec, users: Users, apps: Apps) -> np.ndarray:
    """The log probability that a user's next category is this one, by taste: (users, categories).

    A category's taste is the mean of its apps'; categories without apps have probability 0.
    """
    counts = np.bincount(apps.category, minlength=len(CATEGORIES))
    centres = np.stack([np.bincount(apps.category, column, len(CATEGORIES)) for column in apps.taste[0].T], axis=1)
    logits = spec.focus * users.taste @ (centres / np.maximum(counts, 1)[:, None]).T
    logits = np.where(counts > 0, logits + np.log(np.maximum(counts, 1)), -np.inf)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def candidates(rng: np.random.Generator, on: Shelf, leaning: np.ndarray, barred: np.ndarray, n: int) -> np.ndarray:
    """`n` different apps for each row, half proposed by popularity and half by the user's categories: (rows, n).

    `leaning` (rows, categories) are log probabilities; `barred` (rows, any) are apps that may not be proposed, or -1.
    """
    found = distinct(_proposed(rng, on, leaning, 2 * n), barred, n)
    rounds = 0
    while (lacking := np.flatnonzero(found[:, -1] < 0)).size:
        rounds += 1
        some = (_proposed(rng, on, leaning[lacking], 2 * n) if rounds < ROUNDS
                else on.order[rng.integers(0, len(on.order), (lacking.size, 2 * n))])
        found[lacking] = distinct(np.hstack([found[lacking], some]), barred[lacking], n)
    return found


def distinct(proposed: np.ndarray, barred: np.ndarray, n: int) -> np.ndarray:
    """The first `n` different apps of each row that are not barred; -1 at the end where they are fewer: (rows, n).

    >>> distinct(np.array([[3, 3, 1, 2], [1, 1, 1, 1]]), np.array([[1], [-1]]), 2).tolist()
    [[3, 2], [1, -1]]
    """
    good = proposed >= 0
    for one in barred.T:
        good &= proposed != one[:, None]
    order = np.argsort(proposed, axis=1, kind="stable")
    ordered = np.take_along_axis(proposed, order, axis=1)
    again = np.zeros_like(good)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    good &= ~again
    place = np.cumsum(good, axis=1) - 1
    rows, columns = np.nonzero(good & (place < n))
    found = np.full((len(proposed), n), -1, proposed.dtype)
    found[rows, place[rows, columns]] = proposed[rows, columns]
    return found


def _proposed(rng: np.random.Generator, on: Shelf, leaning: np.ndarray, count: int) -> np.ndarray:
    """Proposals (rows, count), with repeats: in turn by popularity among all apps, and among those of a user's category."""
    where = rng.random((len(leaning), count))
    cumulative = np.cumsum(np.exp(leaning), axis=1)
    drawn = rng.random((len(leaning), count // 2))
    category = sum((drawn >= column[:, None]).astype(np.int8) for column in cumulative.T[:-1])
    low, high = on.ends[category], on.ends[category + 1]
    where[:, 0::2] *= on.rising[-1]
    where[:, 1::2] = low + where[:, 1::2] * (high - low)
    place = np.searchsorted(on.rising, where, side="right") - 1
    return on.order[np.minimum(place, len(on.order) - 1)]
