"""What one log says of rankers, for the install studies: offline figures, off-policy estimates, and how often these hold."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from widedeep.errors import WidedeepWarning
from widedeep.evaluation import metrics
from widedeep.evaluation.clustered import interval
from widedeep.installs import policy
from widedeep.installs.acquisition import Ranker
from widedeep.installs.logged import Logged
from widedeep.installs.off_policy import compare, estimate, stated
from widedeep.installs.world import World

STREAM = 13
REWARD_MODEL = "joint"
OFFLINE = {"auc": "AUC", "group_auc": "group AUC", "logloss": "log loss", "normalized_entropy": "normalized entropy"}
ESTIMATORS = {"ips": "IPS", "snips": "SNIPS", "dr": "doubly robust"}
NAMES = OFFLINE | ESTIMATORS
LOGS, DRAWN_USERS = 200, 600
APART = 0.01
"""Arms whose installs differ by less are not put in an order: what differs is as much the visits' luck."""


@dataclass(frozen=True)
class Pool:
    """Visits that a policy can serve again and again: its Plackett-Luce over `policy` scores. Of every candidate the `chance`
    of an install and, by ranker, the score; `guesses` are the reward model's: (visits, n)."""

    user: np.ndarray
    chance: np.ndarray
    policy: np.ndarray
    slate: int
    temperature: float
    explore: float
    scores: dict[str, np.ndarray]
    guesses: np.ndarray

    @classmethod
    def of(cls, world: World, rankers: Mapping[str, Ranker], seed: int, count: int) -> Pool:
        """Fresh visits of a world, scored by every ranker."""
        visits, spec = world.visits(count, stream=STREAM + seed), world.spec
        rows = world.rows(visits)
        scores = {name: ranker(rows).reshape(visits.candidates.shape) for name, ranker in rankers.items()}
        return cls(visits.user, world.probability(visits), world.score(visits), spec.slate, spec.temperature, spec.explore,
                   scores, metrics.sigmoid(scores[REWARD_MODEL]))

    @cached_property
    def inclusion(self) -> np.ndarray:
        """The probability of each candidate to be shown."""
        return policy.inclusion(self.policy, self.slate, self.temperature, self.explore)

    @cached_property
    def targets(self) -> dict[str, np.ndarray]:
        """What each ranker shows: its best, as many as the policy does."""
        return {name: stated(scores, self.slate) for name, scores in self.scores.items()}

    def served(self, rng: np.random.Generator, visits: np.ndarray | slice = slice(None),
               user: np.ndarray | None = None) -> Logged:
        """A log of the visits, or of some, with repeats perhaps, that are other users' then: slates and installs drawn."""
        chance = self.chance[visits]
        slates = policy.draw(rng, self.policy[visits], self.slate, self.temperature, self.explore)
        shown = np.zeros(chance.shape, bool)
        np.put_along_axis(shown, slates, True, axis=1)
        return Logged(shown, shown & (rng.random(shown.shape) < chance), self.inclusion[visits],
                      self.user if user is None else user)


def offline(pool: Pool, seed: int) -> dict[str, dict[str, float]]:
    """Of every ranker, what each figure says of it, all on one log."""
    log, found = pool.served(np.random.default_rng([seed, STREAM])), {}
    users = np.broadcast_to(pool.user[:, None], log.shown.shape)[log.shown]
    for name, target in pool.targets.items():
        figures = metrics.report("binary", log.reward[log.shown], pool.scores[name][log.shown], groups=users)
        found[name] = {figure: figures[figure] for figure in OFFLINE} | {
            one: _estimate(log, target, one, pool.guesses).value for one in ESTIMATORS}
    return found


def _estimate(log: Logged, target: np.ndarray, estimator: str, guesses: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WidedeepWarning)   # of few users: coverage shows what comes of it
        return estimate(log, target, estimator, predicted=guesses if estimator == "dr" else None)


def coverage(pool: Pool, control: str, seed: int) -> dict[str, dict[str, float]]:
    """Of each estimator, for every arm: the share of logs whose interval holds the true gain over the control."""
    rng = np.random.default_rng([seed, STREAM, 1])
    truth = {name: float((target * pool.chance).sum(axis=1).mean()) for name, target in pool.targets.items()}
    visits_of = np.split(np.argsort(pool.user, kind="stable"), np.cumsum(np.unique(pool.user, return_counts=True)[1])[:-1])
    hits = {one: dict.fromkeys(sorted(set(truth) - {control}), 0) for one in ESTIMATORS}
    for _ in range(LOGS):
        drawn = rng.integers(0, len(visits_of), DRAWN_USERS)
        visits = np.concatenate([visits_of[user] for user in drawn])
        log = pool.served(rng, visits, np.repeat(np.arange(DRAWN_USERS), [len(visits_of[user]) for user in drawn]))
        for one in ESTIMATORS:
            found = {name: _estimate(log, target[visits], one, pool.guesses[visits]) for name, target in pool.targets.items()}
            for name in hits[one]:
                gain = compare(found[name], found[control])
                hits[one][name] += gain.low <= truth[name] - truth[control] <= gain.high
    return {one: {name: count / LOGS for name, count in arms.items()} for one, arms in hits.items()}


def coverages(found: list[dict[str, Any]]) -> dict[str, float]:
    """Mean coverage of each estimator over cells and arms."""
    return {one: float(np.mean([share for cell in found for share in cell["coverage"][one].values()])) for one in ESTIMATORS}


def trust(found: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Of each offline figure: the share of pairs of arms that it puts in the order of their online installs, where these differ
    by over `APART`, and the installs that are lost, relative to the best arm's, by choosing its best. Means over worlds, seeds
    nested, with intervals where worlds differ; `pairs` is None where no two arms are so far apart.
    """
    worlds: dict[Any, list[dict[str, Any]]] = {}
    for one in found:
        worlds.setdefault(one["world"], []).append(one)
    return {figure: _over_worlds("pairs", [_mean(_in_order(one, figure) for one in seeds) for seeds in worlds.values()])
            | _over_worlds("regret", [_mean(_regret(one, figure) for one in seeds) for seeds in worlds.values()])
            for figure in NAMES}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _over_worlds(name: str, values: list[float | None]) -> dict[str, float | None]:
    """The mean of a share, and its interval within [0, 1]; none for one world, and none where all are alike."""
    known = np.array([value for value in values if value is not None])
    low = high = None
    if len(set(known)) > 1:
        spread = interval(known.mean(), (known - known.mean()) / len(known), np.arange(len(known)))
        low, high = max(0.0, spread.low), min(1.0, spread.high)
    return {name: _mean(values), f"{name}_low": low, f"{name}_high": high}


def _sides(one: Mapping[str, Any], figure: str) -> tuple[dict[str, float], dict[str, float]]:
    """By arm: the figure, the higher the better, and the installs per visit."""
    sign = -1 if figure in ("logloss", "normalized_entropy") else 1
    return ({arm: sign * figures[figure] for arm, figures in one["offline"].items()},
            {arm: one["table"][arm]["installs"] for arm in one["offline"]})


def _in_order(one: Mapping[str, Any], figure: str) -> float | None:
    said, true = _sides(one, figure)
    return _mean((said[a] - said[b]) * (true[a] - true[b]) > 0 for a, b in combinations(said, 2)
                 if abs(true[a] / true[b] - 1) > APART)


def _regret(one: Mapping[str, Any], figure: str) -> float:
    said, true = _sides(one, figure)
    return 1 - true[max(said, key=said.get)] / max(true.values())
