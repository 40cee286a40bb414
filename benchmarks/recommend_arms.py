"""What the studies of recommenders share: the systems compared, where their settings are sought, and what is kept of each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

import widedeep as wd
from widedeep.evaluation import ranking, statistics
from widedeep.recommend import baselines
from widedeep.recommend.als import ALS
from widedeep.recommend.interactions import Interactions
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.recommender import ByNumber, Recommender
from widedeep.recommend.retrieval import Retrieval

CUTS, DEPTH = (10, 100), 500
CHOSEN_BY, KEPT = "ndcg@10", ("ndcg@10", "recall@100")
LAW = "what was not taken strictly before; nothing of what is held out"
"""What negatives are drawn from, and counted: what does not say so was computed under another law."""
RANKERS = {"two-tower + wide": "wide", "two-tower + deep": "deep", "two-tower + joint": "joint"}
TWO_TOWER = "two-tower"
TRAINED = (TWO_TOWER, *RANKERS)
"""Systems with a seed; the others give the same lists every time."""

PLAIN: Mapping[str, tuple[Callable[..., Any], list[dict[str, Any]]]] = {
    "popularity": (baselines.Popularity, [{}]),
    "recent popularity": (baselines.RecentPopularity, [{"half_life": days} for days in (30, 90, 365, 1000)]),
    "item-kNN": (baselines.ItemKNN, [{"k": k, "shrink": shrink} for k in (50, 200, 1000) for shrink in (0, 10, 100)]),
    "EASE": (baselines.EASE, [{"l2": l2} for l2 in (50, 250, 1000, 4000)]),
    "ALS": (ALS, [{"factors": factors, "l2": l2, "alpha": alpha} for factors in (16, 64) for l2 in (0.01, 1.0)
                  for alpha in (1.0, 10.0)])}
"""Baselines and where their settings are sought."""

SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "retrieval": {"width": (16, 32, 64), "epochs": (2, 5, 10), "rate": (0.03, 0.1), "l2": (3.0, 10.0, 30.0, 100.0),
                  "batch": (256, 1024), "history": (10, 20), "hidden": ((), (64,))},
    "negatives": {"each": (2, 4), "hard": (0.0, 0.5, 0.9), "sharp": (0.0, 1.0), "flatten": (0.5, 1.0)},
    "wide": {"rate": (0.005, 0.01, 0.03, 0.1), "l1": (0.0, 1.0, 3.0)},
    "deep": {"rate": (0.005, 0.01, 0.03), "dropout": (0.0, 0.2, 0.4), "l2": (0.0, 10.0, 30.0, 100.0),
             "hidden": ((64,), (128, 64))}}
"""Settings are drawn from here, each as likely as its neighbours."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A reading of a test: what systems are trained on, what is known of users when they are answered, what they took then."""

    train: Interactions
    history: Interactions
    test: Interactions

    @property
    def users(self) -> np.ndarray:
        """The numbers of users with test rows, in order."""
        return np.unique(self.test.user)


@dataclass(frozen=True)
class Cell:
    """One system, with settings, trained and judged once. `part` is `validation` or `test`, `number` that of the trial, or of
    the world; `data` tells what it is made from."""

    study: str
    part: str
    system: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    number: int = 0
    data: str = ""
    law: str = LAW

    @property
    def name(self) -> str:
        return f"{self.study}-{self.part}-{self.system.replace(' ', '_')}-{self.number}-{self.seed}.json"


def systems() -> list[str]:
    """All that can be compared here: ALS where `implicit` is installed."""
    return [name for name in PLAIN if name != "ALS" or importlib.util.find_spec("implicit")] + list(TRAINED)


def trials(study: str, system: str, count: int, found: Mapping[str, Mapping[str, Any]], data: str) -> list[Cell]:
    """The settings of a system that are tried on validation interactions: a grid, or so many draws."""
    if system in PLAIN:
        every: list[dict[str, Any]] = PLAIN[system][1]
    else:
        rng = np.random.default_rng([TRAINED.index(system), 7])
        every = [_drawn(system, rng, found) for _ in range(count)]
    return [Cell(study, "validation", system, settings, number=number, data=data) for number, settings in enumerate(every)]


def _drawn(system: str, rng: np.random.Generator, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    def draw(space: str) -> dict[str, Any]:
        return {name: values[rng.integers(len(values))] for name, values in SPACES[space].items()}

    if system == TWO_TOWER:
        return {"retrieval": draw("retrieval")}
    towers = {"wide": ("wide",), "deep": ("deep",), "joint": ("wide", "deep")}[RANKERS[system]]
    shared = {"retrieval": found[TWO_TOWER]["retrieval"], "negatives": draw("negatives")}
    return shared | {tower: draw(tower) for tower in towers}


def best(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By system the settings whose mean was best on validation interactions."""
    found: dict[str, tuple[float, dict[str, Any]]] = {}
    for cell in cells:
        mean = float(np.mean(cell["values"][CHOSEN_BY]))
        if cell["part"] == "validation" and mean > found.get(cell["system"], (-1.0, {}))[0]:
            found[cell["system"]] = mean, cell["settings"]
    return {system: settings for system, (_, settings) in found.items()}


def fitted(cell: Cell, schema: wd.Schema, train: Interactions, items: pa.Table, users: pa.Table | None = None) -> Any:
    """A system, trained: anything that answers users by number."""
    if cell.system in PLAIN:
        return PLAIN[cell.system][0](**cell.settings).fit(train)
    which, settings = RANKERS.get(cell.system), cell.settings
    schema = with_settings(schema, settings)
    asked = schema if which in (None, "joint") else schema.only(which)
    found = Recommender(asked, user="user", item="item", time="time" if train.time is not None else None,
                        retrieval=Retrieval(**_tuples(settings.get("retrieval", {}))),
                        negatives=Negatives(**settings.get("negatives", {})), rank=which is not None)
    return ByNumber(found.fit(train, users, items, seed=cell.seed, progress=False), DEPTH)


def with_settings(schema: wd.Schema, settings: Mapping[str, Any]) -> wd.Schema:
    """A schema with a cell's rates and sizes."""
    wide, deep = (_tuples(settings.get(tower, {})) for tower in ("wide", "deep"))
    training = replace(schema.training, wide=replace(schema.training.wide, **wide),
                       deep=replace(schema.training.deep, **{k: deep.pop(k) for k in ("rate",) if k in deep}))
    return replace(schema, training=training, deep=replace(schema.deep, **deep))


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def brought(system: ByNumber, reading: Reading) -> np.ndarray:
    """What retrieval alone brings the test users: (users, depth)."""
    retriever, taken = system.recommender.retriever, reading.history.of_users(reading.users)
    found = retriever.brought(reading.users, DEPTH, taken=taken).items
    return np.pad(found, ((0, 0), (0, max(0, DEPTH - found.shape[1]))), constant_values=-1)


def judged(system: Any, readings: Mapping[str, Reading]) -> dict[str, Any]:
    """What is kept of a system: figures by user in each reading of a test, and what retrieval brings in the first."""
    found: dict[str, Any] = {}
    for name, reading in readings.items():
        relevant = reading.test.of_users(reading.users)
        lists = system.recommend(reading.users, max(CUTS), history=reading.history)
        by_user = ranking.evaluate(lists, relevant, CUTS)
        if isinstance(system, ByNumber) and not found:
            found["brought"] = ranking.evaluate(brought(system, reading), relevant, DEPTH).values[f"recall@{DEPTH}"].tolist()
        found["values" if "values" not in found else f"values {name}"] = {one: by_user.values[one].tolist() for one in KEPT}
    return found


def summary(cells: Sequence[Mapping[str, Any]], values: str = "values",
            names: Sequence[str] = KEPT) -> dict[str, dict[str, Any]]:
    """By system the mean of each figure over seeds and users, with its interval; and by the first figure what `leads` says."""
    found: dict[str, dict[str, Any]] = {}
    runs = {system: [cell for cell in cells if cell["part"] == "test" and cell["system"] == system] for system in systems()}
    runs = {system: some for system, some in runs.items() if some and values in some[0]}
    for name in names:
        scored = {system: _scored(some, values, name) for system, some in runs.items()}
        for system, one in scored.items():
            found.setdefault(system, {"seeds": len(one.seeds)})[name] = estimate(one)
        if name == names[0]:
            for system, some in leads(scored).items():
                found[system][name] |= some
    return found


def leads(scored: Mapping[str, statistics.Scored]) -> dict[str, dict[str, Any]]:
    """How far systems are ahead, user by user: one family, whose intervals all hold at once.

    Each is compared with popularity, each ranker with retrieval alone, and each of ours with each baseline. Of the last, the
    best of all with the best of the other kind is told (`ahead of`): chosen by the means that are compared, of all such pairs.
    """
    plain, ours = ([system for system in scored if (system in TRAINED) is which] for which in (False, True))
    pairs = [(one, "over popularity", "popularity") for one in plain if one != "popularity" and "popularity" in plain]
    pairs += [(one, "over two-tower", TWO_TOWER) for one in ours if one in RANKERS and TWO_TOWER in scored]
    pairs += [(one, "over popularity" if other == "popularity" else "over", other) for one in ours for other in plain]
    family = {pair: statistics.compare(*matched(scored[pair[0]], scored[pair[2]])) for pair in pairs}
    said = {pair: (one.difference, one.low, one.high) for pair, one in statistics.verdicts(family).items()}
    found: dict[str, dict[str, Any]] = {}
    for (one, how, other), lead in said.items():
        if how != "over":
            found.setdefault(one, {})[how] = {"system": other} | dict(zip(("mean", "low", "high"), lead))
    if plain and ours:
        best, other = (max(some, key=lambda system: scored[system].values.mean()) for some in (ours, plain))
        mean, low, high = next(lead for (one, _, against), lead in said.items() if (one, against) == (best, other))
        if mean < 0:
            best, other, mean, low, high = other, best, -mean, -high, -low
        found.setdefault(best, {})["ahead of"] = {"system": other, "mean": mean, "low": low, "high": high}
    return found


def estimate(one: statistics.Scored) -> dict[str, Any]:
    """A mean with its interval, over seeds and users; of one run, over users."""
    if len(one.seeds) == 1:
        mean = ranking.over_users(one.values[0] + one.influences[0] * one.influences.shape[1])
        return {"mean": mean.mean, "low": mean.low, "high": mean.high}
    found = statistics.estimate(one)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def matched(one: statistics.Scored, other: statistics.Scored) -> tuple[statistics.Scored, statistics.Scored]:
    """The same with as many runs, two at least: a system without seeds gives the same lists under each."""
    def of(scored: statistics.Scored) -> statistics.Scored:
        places = [0 if len(scored.seeds) == 1 else scored.seeds.index(seed) for seed in seeds]
        return statistics.Scored(seeds, scored.values[places], scored.influences[places])

    longest = max(one.seeds, other.seeds, (0, 1), key=len)
    seeds = tuple(seed for seed in longest if all(len(some.seeds) == 1 or seed in some.seeds for some in (one, other)))
    return of(one), of(other)


def _scored(runs: Sequence[Mapping[str, Any]], values: str, name: str) -> statistics.Scored:
    users = np.arange(len(runs[0][values][name]))
    by_seed = {run["seed"]: ranking.Ranking({name: np.asarray(run[values][name])}, users, 0, {}, {}) for run in runs}
    return ranking.scored(name, by_seed)
