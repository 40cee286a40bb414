"""Online, in a world whose truth is known: rankers serve the same fresh visits, and the table has the paper's shape.

Every ranker orders the same candidates of the same visits and shows its k best, so that two differ only in what they show
(common random numbers). Beside what it acquires stands the figure that offline work goes by: its AUC on what the logging policy
shows in those visits. Cheng et al. 2016, "Wide & deep learning for recommender systems", table 1: offline AUC beside online
acquisition gain.

A world is anything with the methods of `widedeep.installs.world.World` that are used here: `spec`, `visits`, `rows`,
`probability` and `score`; `retrained` also asks for its `schema`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from widedeep.errors import DataError, unknown_names
from widedeep.evaluation import metrics
from widedeep.evaluation.clustered import cluster_codes, interval
from widedeep.installs import policy

Ranker = Callable[[pa.Table], np.ndarray]
"""Rows of candidates (rows, visit by visit) → a score for each, (rows,); the higher, the sooner shown."""

ORACLE, RANDOM = "oracle", "random"
"""The bounds of every table: who knows each probability, and who knows nothing."""

ONLINE, RETRAINING = 1, 2
"""Streams of visits: those that rankers serve, and the logs from which they are trained anew."""

BLOCK = 2000
"""Visits whose rows are in memory at a time."""

POWER, ALPHA = 0.8, 0.05
TINY = 1e-9   # no probability is nearer to 0 or 1 where a logit is needed


@dataclass(frozen=True)
class Online:
    """A ranker's row in the table.

    `auc`: offline, on what the logging policy shows; `installs` per visit; `gain` over the control, as a share of it, with its
    interval and p-value (None for the control itself); `ab_visits`: how many visits an A/B test of the two would need, half
    of them each, to find such a gain with power .8 at level .05 (None if there is no gain to be found, or no end to it).
    `offline`: all figures of `metrics.report` on the same rows, log loss and calibration as if scores were logits.
    """

    name: str
    auc: float | None
    installs: float
    gain: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    ab_visits: int | None = None
    offline: Mapping[str, float | None] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Across:
    """A ranker over worlds: mean AUC, its mean distance from the control's, and mean gain, each world one witness; with one
    world there is no interval."""

    name: str
    auc: float | None
    auc_gain: float | None
    gain: float
    low: float | None
    high: float | None
    p: float | None
    worlds: int
    seeds: int


def online(world: Any, rankers: Mapping[str, Ranker], control: str, *, visits: int = 20_000, k: int | None = None,
           day: int | None = None, stream: int = ONLINE, drawn: bool = False, by_user: bool = False,
           confidence: float = 0.95) -> dict[str, Online]:
    """The table: a row for each ranker, the control first, and for the two bounds.

    `k` candidates are shown (the world's slate, unless given) in fresh visits of a `day` (the last of the logs). Installs are
    expected ones, exact given what is shown, or `drawn`: the same candidate in the same visit is then installed for all or
    for none. Intervals are paired by visit and clustered by user. `by_user` adds to what is `offline` the AUC within users,
    which takes longer.
    Raises: DataError for a control that is no ranker, names of the bounds, and scores that are no finite number per row.
    """
    _check(rankers, control)
    spec = world.spec
    day, k = spec.days - 1 if day is None else day, spec.slate if k is None else k
    served = {name: _Served() for name in [control, *(name for name in rankers if name != control), ORACLE, RANDOM]}
    users = []
    for start, part in _blocks(world.visits(visits, day, stream)):
        scene = _Scene(world, part, np.random.default_rng([spec.seed, day, stream, start]), drawn)
        rows = world.rows(part)
        for name, one in served.items():
            bound = name in (ORACLE, RANDOM)
            scene.serve(one, scene.bound(name) if bound else _scores(name, rankers[name], rows, scene.shape), k)
        users.append(part.user)
    found = {name: one.joined() for name, one in served.items()}
    codes = cluster_codes("online: users", np.concatenate(users), visits)
    return {name: _row(name, one, found[control], codes, by_user, confidence) for name, one in found.items()}


def across(worlds: Mapping[Any, Sequence[Mapping[str, Online]]], control: str, confidence: float = 0.95) -> dict[str, Across]:
    """What tables of several worlds, each with one or more training seeds, say of worlds like these.

    Seeds are averaged within their world, and the interval is that of the mean over worlds: a world in which every seed wins
    is one win. Raises: DataError for no worlds, or tables of different rankers.

    >>> wide, joint, again = Online("wide", 0.7, 1.0, 0.0), Online("joint", 0.71, 1.02, 0.02), Online("joint", 0.71, 1.03, 0.03)
    >>> found = across({1: [{"wide": wide, "joint": joint}], 2: [{"wide": wide, "joint": again}]}, control="wide")["joint"]
    >>> round(found.gain, 3), round(found.auc_gain, 3), round(found.low, 3), found.worlds
    (0.025, 0.01, -0.039, 2)
    """
    tables = [table for seeds in worlds.values() for table in seeds]
    if not tables or any(set(table) != set(tables[0]) for table in tables) or control not in tables[0]:
        raise DataError(f"across: worlds have tables of the same rankers, the control among them. Got "
                        f"{sorted({tuple(table) for table in tables})} and the control {control!r}. "
                        f"Run all rankers in all worlds.")
    return {name: _across(name, [list(seeds) for seeds in worlds.values()], control, confidence) for name in tables[0]}


def retrained(world: Any, fits: Mapping[str, Callable[[pa.Table], Ranker]], control: str, days: Sequence[int], *,
              impressions: int = 50_000, every: int = 1, visits: int = 5_000, k: int | None = None,
              confidence: float = 0.95) -> dict[int, dict[str, Online]]:
    """Tables of days that follow each other, rankers trained anew from the logs of the days before: by day, from the second on.

    `fits` are functions from a table of impressions (the schema's columns and its label) to a ranker. `every`: after how many
    days they are called again; 0 for never, so that rankers are those of the first day. Logs are those of the world's own
    policy, `impressions` a day.
    Raises: DataError for fewer than two days.
    """
    if len(days) < 2:
        raise DataError(f"retrained: rankers are trained on one day and serve the next. Got {list(days)}. "
                        f"Give two days or more.")
    logs, found, rankers = [logged(world, impressions, days[0])], {}, {}
    for number, day in enumerate(days[1:]):
        if not rankers or every and number % every == 0:
            rankers = {name: fit(pa.concat_tables(logs)) for name, fit in fits.items()}
        found[day] = online(world, rankers, control, visits=visits, k=k, day=day, confidence=confidence)
        logs.append(logged(world, impressions, day))
    return found


def logged(world: Any, impressions: int, day: int, stream: int = RETRAINING) -> pa.Table:
    """Whole visits of a day that the world's policy served, about so many impressions: the schema's columns and the label."""
    spec, label = world.spec, world.schema().label.column
    parts = []
    for start, part in _blocks(world.visits(max(1, impressions // spec.slate), day, stream)):
        scene = _Scene(world, part, np.random.default_rng([spec.seed, day, stream, start]), drawn=True)
        installed = np.take_along_axis(scene.outcome(scene.logged), scene.logged, axis=1).astype(np.int8)
        parts.append(world.rows(part, scene.logged).append_column(label, pa.array(installed.ravel())))
    return pa.concat_tables(parts)


@dataclass(frozen=True)
class _Served:
    """What came of one ranker, in parts: installs of each visit (v,), their own variance given the slate (v,), and of what the
    logging policy showed its scores, the chance (or fact) of an install, and the user (impressions,)."""

    installs: list[np.ndarray] = field(default_factory=list)
    luck: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    users: list[np.ndarray] = field(default_factory=list)

    def joined(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate(parts) for name, parts in vars(self).items()}


class _Scene:
    """Some visits, what the logging policy shows in them, and the luck that all rankers share."""

    def __init__(self, world: Any, visits: Any, rng: np.random.Generator, drawn: bool) -> None:
        spec = world.spec
        self.world, self.visits, self.drawn = world, visits, drawn
        self.first = world.probability(visits)
        self.shape = self.first.shape
        self.logged = policy.draw(rng, world.score(visits), spec.slate, spec.temperature, spec.explore)
        self.threshold, self.noise = rng.random(self.shape), rng.random(self.shape)

    def bound(self, name: str) -> np.ndarray:
        """The scores of who knows all, and of who knows nothing."""
        if name == RANDOM:
            return self.noise
        certain = np.clip(self.first, TINY, 1 - TINY)
        return np.log(certain / (1 - certain))

    def outcome(self, slates: np.ndarray) -> np.ndarray:
        """The chance of an install of each candidate, those of the slate at their places; or the fact, 0 or 1."""
        chance = self.first
        if self.world.spec.position:
            places = np.zeros(self.shape, np.int64)
            np.put_along_axis(places, slates, np.arange(slates.shape[1])[None], axis=1)
            chance = self.world.probability(self.visits, places)
        return (self.threshold < chance).astype(np.float64) if self.drawn else chance

    def serve(self, one: _Served, scores: np.ndarray, k: int) -> None:
        """Show the k best, and look at how the logged slate is scored."""
        slates = policy.top(scores, k)
        chance = np.take_along_axis(self.outcome(slates), slates, axis=1)
        one.installs.append(chance.sum(axis=1))
        one.luck.append((chance * (1 - chance)).sum(axis=1))
        one.scores.append(np.take_along_axis(scores, self.logged, axis=1).ravel())
        one.labels.append(np.take_along_axis(self.outcome(self.logged), self.logged, axis=1).ravel())
        one.users.append(np.repeat(self.visits.user, self.logged.shape[1]))


def _blocks(visits: Any) -> Iterator[tuple[int, Any]]:
    for start in range(0, len(visits.user), BLOCK):
        yield start, visits[start:start + BLOCK]


def _check(rankers: Mapping[str, Ranker], control: str) -> None:
    if control not in rankers:
        raise DataError(unknown_names("The control must be one of the rankers", [control], rankers))
    if taken := {ORACLE, RANDOM} & set(rankers):
        raise DataError(f"{sorted(taken)} are the bounds of every table. Got a ranker of such a name. Call it otherwise.")


def _scores(name: str, ranker: Ranker, rows: pa.Table, shape: tuple[int, int]) -> np.ndarray:
    scores = np.asarray(ranker(rows), np.float64)
    if scores.shape != (shape[0] * shape[1],) or not np.isfinite(scores).all():
        got = f"the shape {scores.shape}" if scores.shape != (shape[0] * shape[1],) else "some that are not finite"
        raise DataError(f"{name}: a ranker gives one finite score per row, of {shape[0] * shape[1]}. Got {got}. Correct it.")
    return scores.reshape(shape)


def _row(name: str, one: dict[str, np.ndarray], control: dict[str, np.ndarray], users: np.ndarray, by_user: bool,
         confidence: float) -> Online:
    """The gain is a ratio of two means over the same visits, less 1: a visit moves both."""
    offline = _offline(one, by_user)
    new, old = float(one["installs"].mean()), float(control["installs"].mean())
    if one is control:
        return Online(name, offline["auc"], new, 0.0, offline=offline)
    if not old:
        raise DataError("online: a gain is a share of what the control acquires. Got no installs at all. Give more visits.")
    moved = (one["installs"] - new / old * control["installs"]) / (old * len(users))
    found = interval(new / old - 1, moved, users, confidence)
    return Online(name, offline["auc"], new, new / old - 1, found.low, found.high, found.p,
                  visits_needed(one["installs"], control["installs"], users, one["luck"], control["luck"]), offline)


def _offline(one: dict[str, np.ndarray], by_user: bool) -> dict[str, float | None]:
    """A chance of .3 is a positive row of weight .3 and a negative one of .7."""
    labels = np.repeat([1.0, 0.0], len(one["labels"]))
    weights = np.concatenate([one["labels"], 1 - one["labels"]])
    found = metrics.report("binary", labels, np.tile(one["scores"], 2), weights,
                           np.tile(one["users"], 2) if by_user else None)
    return found | {"rows": len(one["labels"])}


def visits_needed(new: np.ndarray, old: np.ndarray, users: np.ndarray, new_luck: np.ndarray | float = 0.0,
                  old_luck: np.ndarray | float = 0.0) -> int | None:
    """How many visits an A/B test of the two would need in all, users split evenly, with power .8 at a two-sided level of .05.

    Shape: installs by visit under each (v,), users (v,) as `cluster_codes` gives them, the variance that drawing installs adds
    to expected ones (v,). Unlike the table, the test sees each user under one ranker only, and with what luck has it: its
    visits are 2 (z₉₇.₅ + z₈₀)² (σ² of the one + σ² of the other) / difference², σ² with the visits of a user added up.
    Source: Kohavi et al. 2009, "Controlled experiments on the web: survey and practical guide"; of users as the unit: Deng et
    al. 2011, "Choice of the randomization unit in online controlled experiment".

    >>> rng = np.random.default_rng(0)
    >>> visits_needed(rng.random(1000) < 0.21, rng.random(1000) < 0.2, np.arange(1000)) > 1000
    True
    """
    difference = float(np.mean(new)) - float(np.mean(old))
    quantiles = NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)
    spread = sum(_variance(np.asarray(one, np.float64), users) + float(np.mean(luck))
                 for one, luck in ((new, new_luck), (old, old_luck)))
    needed = 2 * quantiles**2 * spread / difference**2 if abs(difference) > TINY else math.inf
    return math.ceil(needed) if math.isfinite(needed) else None


def _variance(installs: np.ndarray, users: np.ndarray) -> float:
    """Of a mean over visits, times their number, users being the witnesses."""
    sums = np.bincount(users, installs - installs.mean())
    return float((sums**2).sum() / len(installs) * len(sums) / max(1, len(sums) - 1))


def _across(name: str, worlds: list[list[Mapping[str, Online]]], control: str, confidence: float) -> Across:
    gains = np.array([np.mean([table[name].gain for table in seeds]) for seeds in worlds])
    found = None
    if len(gains) > 1 and name != control:
        found = interval(float(gains.mean()), (gains - gains.mean()) / len(gains), np.arange(len(gains)), confidence)
    areas, against = ([[table[one].auc for table in seeds] for seeds in worlds] for one in (name, control))
    known = not any(None in seeds for seeds in [*areas, *against])
    auc, other = ((float(np.mean([np.mean(seeds) for seeds in one])) if known else None) for one in (areas, against))
    return Across(name, auc, auc - other if known else None, float(gains.mean()), found and found.low, found and found.high,
                  found and found.p, len(worlds), min(map(len, worlds)))
