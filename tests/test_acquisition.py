"""The online table: by hand in a world of few lines, its intervals and test sizes against simulation, days, and mistakes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import widedeep as wd
from simulated_studies import bounds
from widedeep.errors import DataError
from widedeep.evaluation import metrics
from widedeep.installs.acquisition import Online, across, logged, online, retrained, visits_needed


@dataclass
class Visits:
    user: np.ndarray
    quality: np.ndarray
    candidates: np.ndarray

    def __getitem__(self, rows):
        return Visits(*(getattr(self, one.name)[rows] for one in fields(self)))


class World:
    """Eight items of known appeal, five of them candidates; appeal turns with the days; some users are eager in all visits."""

    def __init__(self, **spec):
        given = {"slate": 2, "temperature": 1.0, "explore": 0.2, "position": 0.0, "days": 3, "seed": 4, "drift": 0.0}
        self.spec = SimpleNamespace(**given | spec)
        self.appeal, self.later = np.random.default_rng(self.spec.seed).normal(size=(2, 8))

    def visits(self, count, day=0, stream=0):
        rng = np.random.default_rng([self.spec.seed, day, stream])
        items = np.argsort(rng.random((count, 8)), axis=1)[:, :5]
        turned = np.cos(self.spec.drift * day) * self.appeal + np.sin(self.spec.drift * day) * self.later
        user = rng.integers(0, max(2, count // 4), count)
        eager = np.random.default_rng(9).normal(0, 1, count)[user]
        return Visits(user, turned[items] + eager[:, None] - 2, items)

    def probability(self, visits, position=None):
        return metrics.sigmoid(visits.quality - (0 if position is None else self.spec.position * position))

    def score(self, visits):
        return 0.5 * visits.quality

    def rows(self, visits, places=None):
        places = np.tile(np.arange(5), (len(visits.user), 1)) if places is None else places
        pick = (np.take_along_axis(array, places, axis=1).ravel() for array in (visits.candidates, visits.quality))
        return pa.table(dict(zip(("item", "quality"), pick)) | {"user": np.repeat(visits.user, places.shape[1])})

    def schema(self):
        return wd.Schema(wd.Label("installed"), {"item": wd.Categorical()}, wide=wd.Wide(("item",)))


def best(rows):
    return rows["quality"].to_numpy()


def worst(rows):
    return -rows["quality"].to_numpy()


def middling(rows):
    return np.sin(5 * rows["quality"].to_numpy()) + 0.3 * rows["quality"].to_numpy()


def test_installs_are_the_sums_of_what_is_shown_and_bounds_are_bounds():
    world = World()
    found = online(world, {"best": best, "worst": worst, "middling": middling}, "middling", visits=500)
    assert list(found) == ["middling", "best", "worst", "oracle", "random"]
    ordered = np.sort(world.probability(world.visits(500, 2, 1)), axis=1)
    assert found["best"].installs == pytest.approx(ordered[:, -2:].sum(axis=1).mean(), abs=1e-12) == found["oracle"].installs
    assert found["worst"].installs == pytest.approx(ordered[:, :2].sum(axis=1).mean(), abs=1e-12)
    assert found["random"].installs == pytest.approx(2 * ordered.mean(), rel=0.03)
    assert found["best"].gain == pytest.approx(found["best"].installs / found["middling"].installs - 1)
    assert (found["middling"].gain, found["middling"].low, found["middling"].p) == (0, None, None)
    assert found["best"].low > 0 > found["worst"].high and found["best"].p < 1e-6


def test_one_place_is_shown_if_asked_for():
    world = World()
    found = online(world, {"best": best}, "best", visits=300, k=1, day=0, stream=7)
    assert found["best"].installs == pytest.approx(world.probability(world.visits(300, 0, 7)).max(axis=1).mean())


def test_drawn_installs_are_shared_luck_and_as_many_as_expected():
    world = World()
    same = online(world, {"best": best, "again": best, "worst": worst}, "best", visits=4000, drawn=True)
    assert (same["again"].gain, same["again"].low, same["again"].high, same["again"].ab_visits) == (0, 0, 0, None)
    expected = online(world, {"best": best, "worst": worst}, "best", visits=4000)
    assert same["best"].installs != expected["best"].installs == pytest.approx(same["best"].installs, rel=0.05)
    assert same["worst"].high - same["worst"].low > expected["worst"].high - expected["worst"].low
    assert same["worst"].ab_visits == pytest.approx(expected["worst"].ab_visits, rel=0.2), "the test has what luck has it"


def test_the_offline_auc_is_that_of_every_pair_of_what_the_policy_shows():
    world = World(slate=5)   # everything is shown
    part = world.visits(60, 2, 1)
    chance, scores = world.probability(part).ravel(), middling(world.rows(part))
    wins = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    pairs = chance[:, None] * (1 - chance)
    found = online(world, {"middling": middling}, "middling", visits=60, k=2, by_user=True)["middling"]
    assert found.auc == pytest.approx((pairs * wins).sum() / pairs.sum()) == found.offline["auc"]
    assert found.offline["rows"] == 300 and 0 < found.offline["group_auc"] < 1
    assert found.offline["logloss"] == pytest.approx(
        np.mean(chance * np.logaddexp(0, -scores) + (1 - chance) * np.logaddexp(0, scores)))


def test_a_place_further_down_takes_its_share():
    world = World(position=0.7)
    chance = np.sort(world.visits(400, 2, 1).quality, axis=1)
    found = online(world, {"best": best}, "best", visits=400)["best"]
    assert found.installs == pytest.approx((metrics.sigmoid(chance[:, -1]) + metrics.sigmoid(chance[:, -2] - 0.7)).mean())


def test_a_gains_error_is_that_of_leaving_users_out():
    world = World()
    served = {name: online(world, {name: ranker}, name, visits=200)[name] for name, ranker in (("a", best), ("b", middling))}
    found = online(world, {"a": best, "b": middling}, "b", visits=200)["a"]
    part = world.visits(200, 2, 1)
    chance, rows = world.probability(part), world.rows(part)
    new, old = (np.take_along_axis(chance, np.argsort(-ranker(rows).reshape(200, 5), axis=1)[:, :2], axis=1).sum(axis=1)
                for ranker in (best, middling))
    users = np.unique(part.user)
    without = np.array([new[part.user != user].sum() / old[part.user != user].sum() - 1 for user in users])
    jackknife = np.sqrt((len(users) - 1) / len(users) * ((without - without.mean()) ** 2).sum())
    assert found.gain == pytest.approx(served["a"].installs / served["b"].installs - 1)
    assert (found.high - found.low) / 2 / 2.01 == pytest.approx(jackknife, rel=0.08)


def test_intervals_hold_the_true_gain():
    world = World()
    truth = online(world, {"a": middling, "b": worst}, "b", visits=40_000, day=1, stream=99)["a"].gain
    tables = (online(world, {"a": middling, "b": worst}, "b", visits=150, day=1, stream=stream) for stream in range(200))
    held = sum(table["a"].low <= truth <= table["a"].high for table in tables)
    low, high = bounds(held, 200, 0.99)
    assert low <= 0.97 and high >= 0.93


def test_a_test_of_the_size_that_is_advised_finds_the_gain_four_times_in_five():
    rng = np.random.default_rng(0)
    chances, visits = {"new": 0.30, "old": 0.25}, 200_000

    def served(arm, users):
        eager = rng.normal(0, 0.08, users)
        user = np.repeat(np.arange(users), 4)
        return user, (chances[arm] + eager[user]).clip(0, 1)

    user, new = served("new", visits // 4)
    old = new - 0.05
    needed = visits_needed(new, old, user, new * (1 - new), old * (1 - old))
    by_fact = visits_needed(rng.random(visits) < new, rng.random(visits) < old, user)
    assert by_fact == pytest.approx(needed, rel=0.08)
    found = 0
    for _ in range(400):
        means, errors = [], []
        for arm in chances:
            user, chance = served(arm, needed // 8)
            sums = np.bincount(user, rng.random(len(user)) < chance)
            means.append(sums.mean() / 4)
            errors.append(sums.std(ddof=1) / 4 / len(sums) ** 0.5)
        found += abs(means[0] - means[1]) > 1.96 * np.hypot(*errors)
    low, high = bounds(found, 400, 0.99)
    assert low <= 0.8 <= high


def test_worlds_are_the_witnesses_and_seeds_are_nested_in_them():
    def table(auc, gain):
        return {"wide": Online("wide", 0.7, 1.0, 0.0), "joint": Online("joint", auc, 1 + gain, gain)}

    worlds = {"a": [table(0.72, 0.01), table(0.74, 0.03)], "b": [table(0.73, 0.04)], "c": [table(0.71, 0.06)] * 3}
    found = across(worlds, "wide")
    gains = np.array([0.02, 0.04, 0.06])
    reach = 4.30265273 * gains.std(ddof=1) / 3**0.5   # t with two degrees of freedom
    joint = found["joint"]
    assert (joint.gain, joint.low, joint.high) == pytest.approx((0.04, 0.04 - reach, 0.04 + reach))
    assert (joint.auc, joint.auc_gain) == pytest.approx((np.mean([0.73, 0.73, 0.71]), np.mean([0.73, 0.73, 0.71]) - 0.7))
    assert (joint.worlds, joint.seeds) == (3, 1) and found["wide"].low is None
    repeated = across({name: tables * 5 for name, tables in worlds.items()}, "wide")["joint"]
    assert (repeated.low, repeated.high) == pytest.approx((joint.low, joint.high)), "more seeds are no more worlds"
    alone = across({"a": worlds["a"]}, "wide")["joint"]
    assert (alone.gain, alone.low, alone.p) == (pytest.approx(0.02), None, None)
    with pytest.raises(DataError, match="tables of the same rankers"):
        across({"a": [table(0.7, 0.1)], "b": [{"wide": Online("wide", 0.7, 1.0, 0.0)}]}, "wide")
    with pytest.raises(DataError, match="the control 'deep'"):
        across(worlds, "deep")
    with pytest.raises(DataError, match="tables of the same rankers"):
        across({}, "wide")


def popular(log):
    """A ranker by the rate at which each item was installed."""
    item, installed = (log[name].to_numpy() for name in ("item", "installed"))
    rate = np.bincount(item, installed, 8) / np.bincount(item, minlength=8).clip(1)
    return lambda rows: rate[rows["item"].to_numpy()]


def newest(log):
    """The same from the rows that came last."""
    return popular(log.slice(len(log) - 6000))


def test_where_tastes_turn_who_is_trained_anew_wins_and_each_is_trained_on_the_days_before():
    world, seen = World(drift=0.5), []

    def counted(log):
        seen.append(len(log))
        return newest(log)

    asked = {"impressions": 6000, "visits": 1000}
    fresh = retrained(world, {"ranker": counted, "all days": popular}, "ranker", range(4), **asked)
    assert list(fresh) == [1, 2, 3] and seen == [6000, 12_000, 18_000]
    stale = retrained(world, {"ranker": newest}, "ranker", range(4), every=0, **asked)
    assert fresh[1]["ranker"].installs == stale[1]["ranker"].installs
    assert fresh[3]["ranker"].installs > 1.05 * stale[3]["ranker"].installs
    assert fresh[3]["all days"].gain < 0
    seen.clear()
    retrained(world, {"ranker": counted}, "ranker", range(5), every=2, **asked)
    assert seen == [6000, 18_000]
    with pytest.raises(DataError, match="trained on one day and serve the next. Got \\[1\\]"):
        retrained(world, {"ranker": newest}, "ranker", [1])


def test_logs_are_what_the_policy_shows_with_what_came_of_it():
    world = World()
    log = logged(world, 10_000, day=1)
    assert log.column_names == ["item", "quality", "user", "installed"] and len(log) == 10_000
    chance = metrics.sigmoid(log["quality"].to_numpy())
    assert log["installed"].to_numpy().mean() == pytest.approx(chance.mean(), abs=4 * (chance.std() + 0.5) / 100)
    assert log.equals(logged(world, 10_000, day=1)) and not log.equals(logged(world, 10_000, day=2))


@pytest.mark.parametrize(("rankers", "control", "message"), [
    ({"a": best}, "b", r"control must be one of the rankers: \['b'\]. Known: \['a'\]"),
    ({"a": best, "oracle": best}, "a", r"\['oracle'\] are the bounds"),
    ({"a": best, "b": lambda rows: np.zeros(3)}, "a", r"b: a ranker gives one .* of 50. Got the shape \(3,\)"),
    ({"a": best, "b": lambda rows: best(rows) * np.nan}, "a", "b: .* Got some that are not finite"),
])
def test_each_mistake_is_one_message(rankers, control, message):
    with pytest.raises(DataError, match=message):
        online(World(), rankers, control, visits=10)
