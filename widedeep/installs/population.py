"""Users and apps of a world, drawn once: what logs show of them, and what they do not (tastes, classes, activity)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from widedeep.installs.spec import WorldSpec

COUNTRIES = ("US", "IN", "BR", "DE", "JP", "ES", "FR", "MX", "TR", "PL")
LANGUAGES = ("en", "hi", "pt", "de", "ja", "es", "fr", "tr", "pl")
SPOKEN = (0, 1, 2, 3, 4, 5, 6, 5, 7, 8)
"""The language of each country; most of its users have it, the others English."""

DEVICES = ("low", "middle", "high")
AGES = ("-17", "18-24", "25-34", "35-44", "45-54", "55-")
CATEGORIES = ("action", "arcade", "books", "business", "education", "finance", "fitness", "food", "health", "lifestyle",
              "music", "news", "photo", "puzzle", "shopping", "social", "sports", "tools", "travel", "video")
PRICES = (0.0, 0.99, 1.99, 4.99, 9.99)
DIMENSIONS = 8
"""Of taste."""

CLASSES = 4
"""Hidden classes of users, in a world of trees."""


class Users(NamedTuple):
    """One row per user. `day`: the first with a visit; `activity`: relative rate of visits."""

    country: np.ndarray
    language: np.ndarray
    device: np.ndarray
    age: np.ndarray
    taste: np.ndarray
    hidden: np.ndarray
    activity: np.ndarray
    day: np.ndarray


class Apps(NamedTuple):
    """One row per app. `popularity` (2, apps), log ranks of mean 0 and deviation 1, and `taste` (2, apps, dimensions) hold two
    directions, between which they turn from day to day.
    """

    category: np.ndarray
    developer: np.ndarray
    price: np.ndarray
    size: np.ndarray
    rating: np.ndarray
    popularity: np.ndarray
    taste: np.ndarray
    day: np.ndarray


def generator(spec: WorldSpec, *purpose: int) -> np.random.Generator:
    """A stream of random numbers for one purpose of a world, independent of all others."""
    return np.random.default_rng([spec.seed, *purpose])


def draw_users(spec: WorldSpec) -> Users:
    """The users of a world: demographics that say a little of tastes, and tastes."""
    rng, users = generator(spec, 1), spec.users
    country = _skewed(rng, len(COUNTRIES), users)
    native = rng.random(users) < 0.8
    age = rng.choice(len(AGES), users, p=(0.1, 0.25, 0.25, 0.2, 0.12, 0.08))
    groups = rng.normal(size=(len(COUNTRIES), len(AGES), DIMENSIONS))
    taste = np.sqrt(0.8) * rng.normal(size=(users, DIMENSIONS)) + np.sqrt(0.2) * groups[country, age]
    return Users(country, np.where(native, np.array(SPOKEN)[country], 0), rng.integers(0, len(DEVICES), users), age, taste,
                 rng.integers(0, CLASSES, users), np.exp(spec.activity * rng.normal(size=users)), _days(spec, rng, users))


def draw_apps(spec: WorldSpec) -> Apps:
    """The apps of a world: Zipf's popularity in random order, tastes around those of their category."""
    rng, apps = generator(spec, 2), spec.apps
    category = _skewed(rng, len(CATEGORIES), apps, 0.5)
    price = np.where(rng.random(apps) < 0.7, 0, rng.integers(1, len(PRICES), apps))
    popularity = log_ranks(apps)[np.stack([rng.permutation(apps) for _ in range(2)])]
    centres = rng.normal(size=(2, len(CATEGORIES), DIMENSIONS))
    taste = np.sqrt(0.5) * (centres[:, category] + rng.normal(size=(2, apps, DIMENSIONS)))
    return Apps(category, rng.integers(0, max(1, apps // 10), apps), price, np.exp(3.5 + rng.normal(size=apps)).round(1),
                np.clip(5 - rng.gamma(2.0, 0.5, apps), 1, 5).round(1), popularity, taste, _days(spec, rng, apps))


def log_ranks(apps: int, standard: bool = True) -> np.ndarray:
    """-log of the ranks 1, 2, …, with mean 0 and, if `standard`, deviation 1: (apps,). Times an exponent it is Zipf's law.

    >>> log_ranks(2).tolist()
    [1.0, -1.0]
    """
    logs = -np.log(np.arange(1.0, apps + 1))
    return (logs - logs.mean()) / (logs.std() if standard else 1.0)


def _skewed(rng: np.random.Generator, kinds: int, count: int, exponent: float = 1.0) -> np.ndarray:
    shares = np.arange(1, kinds + 1) ** -exponent
    return rng.choice(kinds, count, p=shares / shares.sum())


def _days(spec: WorldSpec, rng: np.random.Generator, count: int) -> np.ndarray:
    """The day each comes: 0 for all but the cold ones, which come evenly on the later days."""
    cold = rng.permutation(count) < int(spec.cold_start * count)
    return np.where(cold, rng.integers(1, max(2, spec.days), count), 0)


def named(codes: np.ndarray, names: tuple[str, ...]) -> pa.DictionaryArray:
    """Codes as text, without a copy of it for each row.

    >>> named(np.array([1, 0]), ("a", "b")).to_pylist()
    ['b', 'a']
    """
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(names))


def user_columns(users: Users) -> dict[str, pa.Array]:
    """What logs show of users."""
    return {"user": pa.array(np.arange(len(users.age)), pa.int32()), "country": named(users.country, COUNTRIES),
            "language": named(users.language, LANGUAGES), "device": named(users.device, DEVICES), "age": named(users.age, AGES)}


def app_columns(apps: Apps) -> dict[str, pa.Array]:
    """What logs show of apps."""
    return {"app": pa.array(np.arange(len(apps.price)), pa.int32()), "category": named(apps.category, CATEGORIES),
            "developer": pa.array(apps.developer, pa.int32()), "price": pa.array(np.array(PRICES)[apps.price]),
            "size": pa.array(apps.size), "rating": pa.array(apps.rating)}
