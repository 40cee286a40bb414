"""Baselines: one contract over all, data whose best answer is known, formulas written out, bounded blocks, bad input."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from widedeep.errors import DataError
from widedeep.recommend import baselines
from widedeep.recommend.als import ALS
from widedeep.recommend.baselines import EASE, ItemKNN, Popularity, RecentPopularity
from widedeep.recommend.interactions import Interactions
from widedeep.recommend.judge import judge
from widedeep.recommend.splits import Split, last_n, new_users
from widedeep.recommend.top_k import top_k

KINDS = {"popularity": Popularity,
         "recent": lambda: RecentPopularity(half_life=10), "window": lambda: RecentPopularity(days=20),
         "knn": lambda: ItemKNN(k=30, shrink=1), "ease": lambda: EASE(l2=200.0), "als": lambda: ALS(factors=2, l2=1.0)}
PERSONAL = ("knn", "ease", "als")
FORMULA = 1e-5   # sums of a few float32 products


def of(rows, **options):
    """Interactions of (user, item, day)."""
    who, what, when = map(list, zip(*rows))
    return Interactions.of(pa.table({"who": who, "what": what, "when": when}), user="who", item="what", time="when", unit="D",
                           **options)


def checkers(users=60, items=20, seed=0):
    """Even users take even items, odd users odd ones, each by the toss of a coin: those of their colour are what they like."""
    rng = np.random.default_rng(seed)
    return of([(user, item, int(rng.integers(100)))
               for user in range(users) for item in range(user % 2, items, 2) if rng.random() < 0.5])


def each(names=KINDS):
    return pytest.mark.parametrize("make", [pytest.param(KINDS[name], id=name) for name in names])


@each()
def test_the_contract(make):
    known = checkers()
    model = make().fit(known)
    users = np.array([3, 0, -1, 3])
    scores, lists = model.scores(users), model.recommend(users, 6)
    assert scores.shape == (4, 20) and scores.dtype == np.float32 and lists.shape == (4, 6) and lists.dtype == np.int32
    assert np.isfinite(scores).all() and (lists[0] == lists[3]).all() and (scores[2] == model.common).all()
    for user, one in zip(users, lists):
        assert len(set(one)) == 6 and not set(one) & set(known.item[known.user == user])
    assert (model.recommend(users, 3) == lists[:, :3]).all()
    free = model.recommend(users, 6, exclude_seen=False)
    assert (np.take_along_axis(scores, free, 1) == -np.sort(-scores, axis=1)[:, :6]).all()
    assert (model.recommend(k=2) == model.recommend(np.arange(60), 2)).all()
    assert model.recommend([], 2).shape == (0, 2)


@each()
def test_blocks_change_nothing(make, monkeypatch):
    model = make().fit(checkers())
    whole = model.recommend(k=5)
    monkeypatch.setattr(baselines, "BLOCK_BYTES", 7 * 20 * baselines.BYTES_PER_SCORE)
    seen = []
    monkeypatch.setattr(model, "_scores", lambda rows, scores=model._scores: seen.append(rows.shape[0]) or scores(rows))
    assert (model.recommend(k=5) == whole).all() and seen == [7] * 8 + [4]
    assert (make().fit(checkers()).recommend(k=5) == whole).all()


def test_memory_goes_with_the_block_and_not_with_the_users(monkeypatch):
    """Scores of 300 users and 50,000 items take 60 MB at once."""
    rng = np.random.default_rng(0)
    known = of([(user, int(item), 0) for user in range(300) for item in rng.integers(0, 50_000, 5)], items=range(50_000))
    model = Popularity().fit(known)
    monkeypatch.setattr(baselines, "BLOCK_BYTES", 4 << 20)
    tracemalloc.start()
    model.recommend(k=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@each()
def test_k_above_the_catalogue_leaves_places_empty(make):
    known = checkers()
    lists = make().fit(known).recommend([0, -1], 50)
    left = sorted(set(range(20)) - set(known.item[known.user == 0]))
    assert sorted(lists[0][:len(left)]) == left and (lists[0][len(left):] == -1).all()
    assert sorted(lists[1][:20]) == list(range(20)) and (lists[1][20:] == -1).all()


@each()
def test_whoever_has_no_history_gets_what_is_popular_and_is_counted(make):
    known = checkers()
    known = known.take(known.user != 7)
    model = make().fit(known)
    assert model.without_history([7, 8, -1]).tolist() == [True, False, True]
    nobody = known.take(np.zeros(len(known), bool))
    assert model.without_history([8], nobody).tolist() == [True]
    lists = model.recommend([7, -1], 20)
    assert (lists[0] == lists[1]).all() and (lists[0] == top_k(model.common[None], 20, model.order)[0]).all()
    assert (model.recommend([8], 20, history=nobody)[0] == lists[0]).all()


@each(PERSONAL)
def test_who_is_personal_finds_the_colour_that_popularity_cannot(make):
    """The colour's items that are not known come first, also to users who were not in training."""
    split = new_users(checkers(users=600), 0.1, fold_in=0.67)
    model, popular = make().fit(split.train), Popularity().fit(split.train)
    known = np.bincount(split.fold_in.user, minlength=600)
    for user in np.flatnonzero(known):
        own = 10 - known[user]
        lists = [one.recommend([user], 20, history=split.fold_in)[0] for one in (model, popular)]
        assert (lists[0][:own] % 2 == user % 2).all() and (lists[1][:own] % 2 != user % 2).any()
    assert judge(model, split, 5).mean("ndcg@5").mean > judge(popular, split, 5).mean("ndcg@5").mean


@each(PERSONAL)
def test_a_shuffled_table_teaches_the_same(make):
    known = checkers()
    table = pa.table({"who": known.user, "what": known.item, "when": known.time})
    mixed = Interactions.of(table.take(np.random.default_rng(1).permutation(len(known))), user="who", item="what", time="when")
    assert np.allclose(make().fit(known).scores([0, 1]), make().fit(mixed).scores([0, 1]), rtol=FORMULA, atol=FORMULA)


def test_popularity_by_hand():
    known = of([(1, "a", 0), (2, "a", 0), (2, "b", 95), (3, "b", 100), (3, "c", 50), (1, "d", 90)])
    assert Popularity().fit(known).scores([0]).tolist() == [[2, 2, 1, 1]]
    assert Popularity().fit(known).recommend([-1], 4).tolist() == [[0, 1, 2, 3]]   # ties: the lower number
    assert RecentPopularity(days=10).fit(known).scores([0]).tolist() == [[0, 2, 0, 0]]   # day 90 is 10 days before the end
    assert RecentPopularity(days=10).fit(known).recommend([-1], 4).tolist() == [[1, 0, 2, 3]]   # ties: by all of training
    halved = RecentPopularity(half_life=50).fit(known).scores([0])
    assert halved.tolist() == [pytest.approx([2 / 4, 1 + 0.5**0.1, 0.5, 0.5**0.2])]


def test_weights_count():
    table = pa.table({"who": [1, 2, 3], "what": ["a", "a", "b"], "stars": [1.0, 1.0, 5.0], "when": [1, 1, 1]})
    known = Interactions.of(table, user="who", item="what", weight="stars", time="when")
    assert Popularity().fit(known).scores([0]).tolist() == RecentPopularity(days=1).fit(known).scores([0]).tolist() == [[2, 5]]


BINARY = hnp.arrays(np.int8, st.tuples(st.integers(2, 8), st.integers(2, 7)), elements=st.integers(0, 1)).filter(np.any)


def from_matrix(matrix):
    users, items = np.nonzero(matrix)
    return Interactions.of(pa.table({"who": users, "what": items}), user="who", item="what", users=np.arange(len(matrix)),
                           items=np.arange(matrix.shape[1]))


@given(BINARY, st.integers(1, 8), st.sampled_from([0.0, 1.0, 10.0]))
def test_nearest_items_are_those_of_the_formula(matrix, k, shrink):
    items, popular = matrix.shape[1], matrix.sum(0)
    expected = np.zeros((items, items))
    for item in range(items):
        cosines = {}
        for other in range(items):
            shared = float(matrix[:, item] @ matrix[:, other])
            if other != item and shared:
                cosines[other] = shared / ((popular[item] * popular[other]) ** 0.5 + shrink)
        for other in sorted(cosines, key=lambda one: (-np.float32(cosines[one]), -popular[one], one))[:k]:
            expected[other, item] = cosines[other]
    model = ItemKNN(k, shrink).fit(from_matrix(matrix))
    there = matrix.any(axis=1)
    assert model.near.toarray() == pytest.approx(expected, rel=FORMULA)
    assert model.scores(np.arange(len(matrix)))[there] == pytest.approx((matrix @ expected)[there], rel=FORMULA)


@given(BINARY, st.sampled_from([0.5, 3.0, 50.0]), st.sampled_from(["float32", "float64"]))
def test_ease_is_its_closed_form(matrix, l2, dtype):
    inverse = np.linalg.inv(matrix.T.astype(float) @ matrix + l2 * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    there = matrix.any(axis=1)
    found = EASE(l2, dtype).fit(from_matrix(matrix)).scores(np.arange(len(matrix)))
    assert found[there] == pytest.approx((matrix @ weights)[there], abs=FORMULA)


@pytest.mark.parametrize("block", [1, 7, 20])
def test_ease_is_the_same_in_blocks(block, monkeypatch):
    whole = EASE(l2=20.0).fit(checkers()).weights
    monkeypatch.setattr(baselines, "EASE_BLOCK", block)
    assert EASE(l2=20.0).fit(checkers()).weights == pytest.approx(whole, abs=1e-7)


def test_each_column_of_ease_is_a_ridge_regression_on_the_others():
    """What Steck derives it from: column j minimises |x_j - X b|² + l2 |b|² with b_j = 0."""
    matrix = (np.random.default_rng(1).random((50, 6)) < 0.4).astype(float)
    weights = EASE(3.0, "float64").fit(from_matrix(matrix.astype(np.int8))).weights
    for item in range(6):
        others = np.delete(matrix, item, axis=1)
        ridge = np.linalg.solve(others.T @ others + 3.0 * np.eye(5), others.T @ matrix[:, item])
        assert np.delete(weights[:, item], item) == pytest.approx(ridge)


TIED = hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 40)),
                  elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]))


@given(TIED, st.integers(1, 45), st.randoms(use_true_random=False))
def test_the_best_are_those_of_a_full_sort(scores, k, random):
    order = np.array(random.sample(range(scores.shape[1]), scores.shape[1]))
    for row, found in zip(scores, top_k(scores, k, order)):
        ranked = sorted(np.flatnonzero(row > -np.inf), key=lambda item: (-row[item], order[item]))[:k]
        assert found.tolist() == [*ranked, *[-1] * (k - len(ranked))]


def test_the_best_of_many_are_those_of_a_full_sort():
    scores = np.random.default_rng(0).normal(size=(3, 30_011)).astype(np.float32)
    assert (top_k(scores, 100) == np.argsort(-scores, axis=1)[:, :100]).all()


def test_a_split_that_leaks_is_not_judged():
    known = checkers()
    with pytest.raises(DataError, match="A split must not let training see its test. Got: .* together in training too"):
        judge(Popularity().fit(known), Split(known, known.take(np.arange(9)), {}), 1)


def test_the_evaluation_counts_what_only_the_test_knows_as_missed():
    split = last_n(of([(1, 1, 0), (1, 4, 5), (2, 1, 0), (2, 3, 6), (3, 3, 1), (3, 1, 7)]))
    found = judge(Popularity().fit(split.train), split, [1, 2, 3])
    assert found.values["recall@1"].tolist() == [0, 1, 1] and found.left_out == 0   # item 4 is in no training row
    assert found.values["recall@2"].tolist() == [1, 1, 1]   # but in the catalogue


def test_als_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(DataError, match="Got: implicit.* is not installed. Run: pip install 'widedeep.als.'"):
        ALS().fit(checkers())


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Popularity().fit(checkers().take(np.zeros(0, int))), "Popularity: there must be interactions .* Got none"),
    (lambda: Popularity().fit(checkers()).recommend([0], 0), "k is how many items are recommended, at least 1. Got 0"),
    (lambda: Popularity().fit(checkers()).recommend([60], 1), "users: numbers from 0 to 59, .* Got int64 .*, 60 to 60"),
    (lambda: Popularity().fit(checkers()).recommend([-2], 1), "users: numbers from 0 to 59, −1 .* Look ids up"),
    (lambda: Popularity().fit(checkers()).scores(["ann"]), "users: numbers from 0 to 59.* Got <U3"),
    (lambda: Popularity().fit(checkers()).scores(0), r"Got int64 of the shape \(\)"),
    (lambda: Popularity().fit(checkers()).recommend([0], 1, history=of([(1, 1, 1)])), "Got 1 items for 20. Split one table"),
    (lambda: RecentPopularity(), "`days` or `half_life`, one of them, above 0. Got days=None, half_life=None"),
    (lambda: RecentPopularity(days=1, half_life=1), "one of them"),
    (lambda: RecentPopularity(days=0), "above 0. Got days=0"),
    (lambda: RecentPopularity(days=3).fit(from_matrix(np.ones((2, 2), np.int8))), "RecentPopularity needs times"),
    (lambda: ItemKNN(0), "k is at least 1, shrink at least 0. Got k=0"),
    (lambda: ItemKNN(shrink=-1), "Got k=100, shrink=-1"),
    (lambda: EASE(0), "l2 is above 0, dtype float32 or float64. Got l2=0"),
    (lambda: EASE(dtype="float16"), "Got l2=250.0, dtype='float16'"),
    (lambda: EASE(most_bytes=1_000).fit(checkers()), "must fit into 1e-06 GB: of float32, 11 items. Got 20 items in training, "
                                                     "3.2e-06 GB. Use ItemKNN, leave out rare items, or raise most_bytes"),
    (lambda: EASE(1e-30).fit(from_matrix(np.ones((2, 3), np.int8))), "far enough from singular for float32. Got l2 = 1e-30"),
    (lambda: ALS(factors=0), "factors is above 0. Got 0"),
    (lambda: top_k(np.array([[0.0, np.nan]]), 1), "A score is a number. Got nan"),
])
def test_every_mistake_has_its_message(call, message):
    with pytest.raises(DataError, match=message):
        call()
