"""Why an app is installed: the parts of the logit, in both kinds of world, for every candidate of a visit.

Parts have shape (visits, candidates), in logits; their sum, beside the intercept, is the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from widedeep.installs import population
from widedeep.installs.population import Apps, Users, generator
from widedeep.installs.retrieval import Shelf
from widedeep.installs.spec import WorldSpec
from widedeep.samples import scrambled

PARTS = ("popularity", "taste", "exceptions", "context")
CONNECTIONS = ("3g", "4g", "wifi")
PAGES = ("home", "search", "category", "similar")
HOURS = np.array([2, 1, 1, 1, 1, 2, 4, 6, 6, 5, 5, 5, 6, 6, 5, 5, 6, 7, 8, 9, 10, 9, 7, 4]) / 121
"""Shares of visits by hour."""

DEPTH, OF_TASTE, OF_CONTEXT = 3, 8, 12
"""Levels of a tree, and trees of each part; every hidden class has its own trees of taste."""


@dataclass(frozen=True, eq=False)
class Visits:
    """Visits of an app store, and each one's candidates: arrays (visits,), `candidates` (visits, n) of app ids."""

    user: np.ndarray
    day: np.ndarray
    hour: np.ndarray
    weekday: np.ndarray
    connection: np.ndarray
    page: np.ndarray
    candidates: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: slice | np.ndarray) -> Visits:
        """Some of the visits: a slice, a mask or places."""
        return Visits(*(getattr(self, field.name)[rows] for field in fields(self)))


def joined(parts: list[Visits]) -> Visits:
    """Visits, one part behind the other."""
    return Visits(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Visits)))


class Truth:
    """What both kinds of world share: who is asked, and exceptions between an installed and a candidate app."""

    def __init__(self, spec: WorldSpec, users: Users, apps: Apps, installed: np.ndarray) -> None:
        self.spec, self.users, self.apps, self.installed = spec, users, apps, installed
        self.key = scrambled(np.array([spec.seed], np.uint64))
        self.chance = np.uint64(spec.exception_share * 2**53)

    def exceptions_of(self, visits: Visits) -> Iterator[np.ndarray]:
        """For each of the user's apps in turn, +1, -1 or 0 with every candidate: int8 (visits, n), by a hash of the pair."""
        candidates = visits.candidates.astype(np.uint64) + self.key
        for one in self.installed[visits.user].T:
            mixed = scrambled(candidates ^ (one.astype(np.uint64) << np.uint64(32))[:, None])
            sign = 1 - 2 * (mixed & np.uint64(1)).astype(np.int8)
            yield np.where((mixed >> np.uint64(11) < self.chance) & (one >= 0)[:, None], sign, np.int8(0))

    def affinity(self, visits: Visits, on: Shelf) -> np.ndarray:
        """The inner product of the user's and each app's taste, with deviation near 1 over all pairs."""
        user, app = self.users.taste[visits.user].T, np.ascontiguousarray(on.taste.T)
        return sum(mine[:, None] * its[visits.candidates] for mine, its in zip(user, app)) / math.sqrt(len(app))


class Towers(Truth):
    """Popularity, a low-rank product of tastes, a sum of exceptions, and tables of context."""

    def __init__(self, spec: WorldSpec, users: Users, apps: Apps, installed: np.ndarray) -> None:
        super().__init__(spec, users, apps, installed)
        rng, tier = generator(spec, 3), _tiers(apps)
        categories = len(population.CATEGORIES)
        pairs = {"daypart": (6, apps.category, categories), "weekend": (2, apps.category, categories),
                 "country": (len(population.COUNTRIES), apps.category, categories),
                 "device": (len(population.DEVICES), apps.price, len(population.PRICES)),
                 "connection": (len(CONNECTIONS), tier["size"], 4), "page": (len(PAGES), tier["rating"], 4),
                 "age": (len(population.AGES), tier["rating"], 4)}
        self.tables = {name: _standard(rng.normal(size=(rows, columns)))[:, codes] / math.sqrt(len(pairs))
                       for name, (rows, codes, columns) in pairs.items()}

    def parts(self, visits: Visits, on: Shelf) -> dict[str, np.ndarray]:
        """Each part of the logit, before its knob."""
        users = self.users
        codes = {"daypart": visits.hour // 4, "weekend": visits.weekday // 5, "country": users.country[visits.user],
                 "device": users.device[visits.user], "connection": visits.connection, "page": visits.page,
                 "age": users.age[visits.user]}
        return {"popularity": on.popularity[visits.candidates], "taste": self.affinity(visits, on),
                "exceptions": sum(self.exceptions_of(visits), np.zeros(visits.candidates.shape)),
                "context": sum(table[codes[name][:, None], visits.candidates] for name, table in self.tables.items())}


@dataclass(frozen=True, eq=False)
class Tree:
    """`DEPTH` questions "is this feature above that threshold?"; a value for each combination of answers."""

    features: tuple[str, ...]
    thresholds: np.ndarray
    values: np.ndarray

    def __call__(self, ask: Callable[[str], np.ndarray]) -> np.ndarray:
        answers = (ask(name) > cut for name, cut in zip(self.features, self.thresholds))
        return self.values[sum(answer.astype(np.int8) << level for level, answer in enumerate(answers))]


class Trees(Truth):
    """Steps of popularity, trees of taste by hidden class, exceptions that count once, trees of context."""

    def __init__(self, spec: WorldSpec, users: Users, apps: Apps, installed: np.ndarray) -> None:
        super().__init__(spec, users, apps, installed)
        rng = generator(spec, 4)
        self.taste = [_forest(rng, TASTE_ASKS, OF_TASTE) for _ in range(population.CLASSES)]
        self.context = _forest(rng, CONTEXT_ASKS, OF_CONTEXT)
        self.ranks = {name: _ranked(getattr(apps, name)) for name in ("category", "price", "size", "rating")}

    def parts(self, visits: Visits, on: Shelf) -> dict[str, np.ndarray]:
        """Each part of the logit, before its knob."""
        taste = np.empty(visits.candidates.shape)
        for hidden, forest in enumerate(self.taste):
            of_class = self.users.hidden[visits.user] == hidden
            taste[of_class] = self._grown(forest, visits[of_class], on)
        most, least = np.zeros((2, *visits.candidates.shape), np.int8)
        for found in self.exceptions_of(visits):
            np.maximum(most, found, out=most)
            np.minimum(least, found, out=least)
        return {"popularity": _steps(on.popularity)[visits.candidates], "taste": taste,
                "exceptions": (most + least).astype(np.float64), "context": self._grown(self.context, visits, on)}

    def _grown(self, forest: list[Tree], visits: Visits, on: Shelf) -> np.ndarray:
        known: dict[str, np.ndarray] = {}

        def ask(name: str) -> np.ndarray:
            if name not in known:
                known[name] = self._feature(name, visits, on)
            return known[name]

        return sum(tree(ask) for tree in forest) / math.sqrt(len(forest)) + np.zeros(visits.candidates.shape)

    def _feature(self, name: str, visits: Visits, on: Shelf) -> np.ndarray:
        """What trees ask about, in units in which thresholds are normal: (visits, n) or (visits, 1)."""
        if name == "affinity":
            return self.affinity(visits, on)
        if name.startswith("taste"):
            return on.taste[:, int(name[-1])][visits.candidates]
        if name in OF_VISITS:
            return _scaled(getattr(visits, name), OF_VISITS[name])[:, None]
        if name in OF_USERS:
            return _scaled(getattr(self.users, name)[visits.user], OF_USERS[name])[:, None]
        return self.ranks[name][visits.candidates]


OF_VISITS = {"hour": 24, "weekday": 7, "connection": len(CONNECTIONS), "page": len(PAGES)}
OF_USERS = {"country": len(population.COUNTRIES), "age": len(population.AGES), "device": len(population.DEVICES)}
"""What trees ask of a visit and of its user, and how many values each has."""

TASTE_ASKS = (("affinity", "taste0", "taste1", "taste2", "taste3"), ("age", "device", "price", "size", "rating", "taste4"))
CONTEXT_ASKS = ((*OF_VISITS, *OF_USERS), ("category", "price", "size", "rating"))
"""What trees ask: each at least one question of either group."""


def _forest(rng: np.random.Generator, asks: tuple[tuple[str, ...], ...], trees: int) -> list[Tree]:
    """Trees with values of mean 0 and deviation 1 over their leaves."""
    return [Tree((*(str(rng.choice(group)) for group in asks), str(rng.choice(sum(asks, ())))), 0.7 * rng.normal(size=DEPTH),
                 _standard(rng.normal(size=2**DEPTH))) for _ in range(trees)]


def _standard(values: np.ndarray) -> np.ndarray:
    """Values moved and scaled to mean 0 and deviation 1."""
    return (values - values.mean()) / values.std()


def _scaled(codes: np.ndarray, kinds: int) -> np.ndarray:
    """Codes with mean 0 and deviation 1, if all are equally frequent."""
    return (codes - (kinds - 1) / 2) * math.sqrt(12 / (kinds**2 - 1))


def _ranked(values: np.ndarray) -> np.ndarray:
    """Values as their ranks, with mean 0 and deviation near 1; equal ones have one rank."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(values)
    return math.sqrt(12) * (middle[codes] - 0.5)


def _steps(popularity: np.ndarray) -> np.ndarray:
    """Four steps of popularity, a quarter of the apps on each, with mean 0 and deviation 1."""
    quarter = 4 * np.argsort(np.argsort(-popularity, kind="stable")) // len(popularity)
    return (1.5 - quarter) / math.sqrt(1.25)


def _tiers(apps: Apps) -> dict[str, np.ndarray]:
    """Sizes and ratings as quarters, 0 to 3."""
    return {name: np.searchsorted(np.quantile(values, [0.25, 0.5, 0.75]), values)
            for name, values in (("size", apps.size), ("rating", apps.rating))}


