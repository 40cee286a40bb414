"""The parts of a recommender: histories, negatives and their law, the two towers' loss, the index, pairs scored by parts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import widedeep as wd
from widedeep import training
from widedeep._keras import tfrs
from widedeep.errors import DataError, SchemaError, WidedeepError, WidedeepWarning
from widedeep.recommend import retrieval
from widedeep.recommend.catalogue import Known, Names
from widedeep.recommend.histories import Histories
from widedeep.recommend.index import Index, first
from widedeep.recommend.interactions import Interactions
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.pairs import Pairs
from widedeep.recommend.retrieval import Retrieval, TwoTowers
from widedeep.recommend.sides import Sides
from widedeep.rows import Bag

HAVE_SCANN = tfrs.layers.factorized_top_k._HAVE_SCANN
SCHEMA = wd.Schema(wd.Label("taken"), {name: wd.Categorical() for name in ("country", "item")},
                   deep=wd.Deep(("country", "item")))


def bag(lists) -> Bag:
    return Bag(np.array([one for some in lists for one in some], np.int32), np.cumsum([0, *map(len, lists)]))


@given(st.lists(st.lists(st.integers(0, 50), unique=True, max_size=8), min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=40)
def test_a_history_is_what_came_just_before_and_never_the_item_itself(lists, length):
    histories = Histories(bag(lists))
    wanted = [some[max(0, place - length):place] for some in lists for place in range(len(some))]
    found = histories.before(np.arange(len(wanted)), length)
    assert [part.tolist() for part in np.split(found.flat, found.splits[1:-1])][:len(wanted)] == wanted


def test_negatives_follow_their_law_and_spare_only_what_the_user_had():
    popularity, law = np.array([1, 40, 20, 10, 5, 0]), Negatives(each=50, hard=0.5, sharp=1.0, flatten=1.0)
    histories = Histories(bag([[1, 3]] * 200))
    items, scores = np.tile([3, 4], (400, 1)), np.tile(np.log([0.9, 0.1]), (400, 1))
    drawn = law.draw(histories, np.arange(400), popularity, items, scores, np.random.default_rng(0))
    for place, had in ((0, []), (1, [1])):
        popular = np.where(np.isin(np.arange(6), had), 0, popularity)
        chance = 0.5 * np.array([0, 0, 0, 0.9, 0.1, 0]) + 0.5 * popular / popular.sum()
        found = np.bincount(drawn[place::2].ravel(), minlength=6) / drawn[place::2].size
        assert found == pytest.approx(chance, abs=0.015)
        assert law.offset(popularity, items[:1], scores[:1], bag([had]))[0] == pytest.approx(np.log(50 * chance[[3, 4]]))


def test_who_took_everything_has_his_last_item_as_its_own_negative():
    histories, nothing = Histories(bag([[0, 1, 2], []])), np.zeros((3, 0))
    drawn = Negatives(each=20, hard=0, flatten=1).draw(histories, np.arange(3), np.array([1, 10**9, 1]), nothing, nothing,
                                                       np.random.default_rng(0))
    assert set(drawn[2]) == {2} and set(drawn[1]) == {1} and set(drawn[0]) == {1}


def test_the_law_reaches_as_far_as_its_depth_and_counts_what_the_user_had_as_nothing():
    law, scores = Negatives(depth=2), np.log([[5.0, 4, 2, 1, 0.5]])
    seen = np.array([[True, False, True, False, False]])
    near = law.near(scores, seen)[0]
    assert near == pytest.approx([5 / (5 + 5), 4 / 5, 2 / (5 + 2), 1 / 5, 0])
    assert near[[1, 3]] == pytest.approx(law.near(scores[:, [1, 3, 4]])[0, :2])


@pytest.mark.parametrize("wrong", [{"each": 0}, {"hard": 1.5}, {"sharp": -0.1}, {"flatten": 2.0}])
def test_a_law_that_cannot_be_is_refused(wrong):
    with pytest.raises(SchemaError, match=next(iter(wrong))):
        Negatives(**wrong)


def alike(chances, rows: int, **asked) -> tuple[TwoTowers, np.ndarray]:
    """Two towers trained where every user is like every other: so many rows, a user each, items by their chances."""
    item = np.repeat(np.arange(len(chances)), np.round(np.array(chances) * rows).astype(int))
    log = pa.table({"user": np.arange(len(item)), "item": np.random.default_rng(0).permutation(item)})
    users = pa.table({"user": np.arange(len(item)), "country": ["here"] * len(item)})
    known, asked = Known.of(SCHEMA, Names("user", "item"), log, users), Retrieval(width=4, embedding=4, blank=0.0, **asked)
    model, _ = retrieval.fit(asked, known.sides, known.histories, known.popularity)
    return model, known.popularity


@pytest.mark.parametrize("correct", [True, False])
def test_with_the_correction_products_learn_log_chances_and_without_it_not(correct):
    chances = np.arange(1, 101) / 5050
    model, popularity = alike(chances, 8_000, correct=correct, epochs=4, batch=16, rate=0.1, l2=0.0)
    items = model.of_items(pa.table({"item": np.arange(100)}), popularity)
    scores = (model.of_users(pa.table({"country": ["here"]})) @ items.T)[0]
    slope = np.polyfit(np.log(chances), scores, 1)[0]
    assert 0.8 < slope < 1.2 if correct else slope < 0.4


@pytest.mark.parametrize(("hard", "number"), [(None, [0, 0, 1, 2]), (1, [3, 0, 1, 2])])
def test_the_loss_is_the_cross_entropy_of_logits_less_log_q_without_accidental_hits(hard, number):
    model, popularity = alike([0.4, 0.3, 0.2, 0.1], 20, epochs=1, batch=20, hard_negatives=hard, hidden=(3,))
    number = np.array(number)
    tables = {"user": pa.table({"country": ["here", None, "there", "here"]}), "item": pa.table({"item": number})}
    rows = retrieval._encoded(model.encoders, tables, number)
    users, share = model.of_users(tables["user"]), popularity / popularity.sum()
    shared = model.of_items(pa.table({"item": np.arange(4)}), popularity)[number]
    logits = users @ shared.T - np.log(share / share.max())[number]
    logits[(number[:, None] == number) & ~np.eye(4, dtype=bool)] = -np.inf
    if hard:
        others = np.where(np.eye(4, dtype=bool), -np.inf, logits)
        logits = np.where(np.eye(4, dtype=bool) | (others == others.max(1, keepdims=True)), logits, -np.inf)
    wanted = (np.log(np.exp(logits).sum(1)) - np.diag(logits)).sum()
    assert float(model.compute_loss(tuple(training.tensors(rows)))) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["brute", "streaming"])
def test_an_index_gives_the_largest_products_without_what_is_left_out(kind):
    rng = np.random.default_rng(0)
    items, users = rng.normal(size=(40, 5)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)
    taken = bag([[1, 2, 3], [], list(range(38))])
    products = users @ items.T
    for row, places in enumerate(np.split(taken.flat, taken.splits[1:-1])):
        products[row, places] = -np.inf
    best, scores = Index(kind, items).best(users, 6, taken)
    assert best[:2].tolist() == np.argsort(-products, axis=1)[:2, :6].tolist()
    assert sorted(best[2][:2].tolist()) == [38, 39] and best[2][2:].tolist() == [-1] * 4
    assert np.isneginf(scores[2][2:]).all()


def test_an_index_that_finds_less_than_asked_for_has_blanks_there():
    found = np.array([[3.0, 2.0, np.nan], [5.0, 4.0, 1.0]]), np.array([[7, 8, 0], [0, 1, 2]])
    numbers, scores = first(found, 4, bag([[8], [0]]))
    assert numbers.tolist() == [[7, -1, -1, -1], [1, 2, -1, -1]]
    assert scores[0].tolist() == [3.0, -np.inf, -np.inf, -np.inf]


@pytest.mark.skipif(HAVE_SCANN, reason="ScaNN is installed")
def test_scann_says_what_it_needs():
    with pytest.raises(WidedeepError, match="needs the package scann.*'brute'"):
        Index("scann", np.zeros((2, 2), np.float32))


@pytest.mark.skipif(not HAVE_SCANN, reason="no ScaNN that is built for this TensorFlow")
def test_scann_brings_nearly_what_brute_force_brings():
    rng = np.random.default_rng(0)
    vectors, queries = (rng.normal(size=(rows, 16)).astype(np.float32) for rows in (20_000, 40))
    exact, near = (Index(kind, vectors).best(queries, 200, bag([[row] for row in range(40)])) for kind in ("brute", "scann"))
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(exact[0], near[0])]) > 180
    assert np.take_along_axis(queries @ vectors.T, near[0], 1) == pytest.approx(near[1], abs=1e-4)


COLUMNS = {"user": wd.Categorical(), "item": wd.Categorical(), "country": wd.Categorical(), "genres": wd.Categorical(),
           "age": wd.Numeric(), "price": wd.Bucketized(boundaries=(1.0, 2.0)), "history": wd.Categorical(width="one-hot"),
           "history genres": wd.Categorical("history.genres"), "hi": wd.Crossed(("history", "item"), 999),
           "ih": wd.Crossed(("item", "history"), 1024), "gg": wd.Crossed(("history genres", "genres"), 512),
           "cpu": wd.Crossed(("country", "price", "user"), 512), "own": wd.Crossed(("user", "country"), 64)}


@pytest.mark.parametrize("deep", [{"batch_norm": True}, {"hidden": ()}])
def test_pairs_scored_by_parts_are_whole_rows_predicted(deep):
    rng = np.random.default_rng(1)
    users = pa.table({"user": np.arange(6), "country": ["a", None, "b", "a", "b", "c"], "age": [1.0, None, 3, 4, 5, 6]})
    items = pa.table({"item": [f"i{n}" for n in range(7)], "genres": [["x", "y"], [], None, ["x"], ["z"], ["y"], ["x"]],
                      "price": [0.5, 1.5, None, 2.5, 1.0, 3.0, 0.1]})
    plain = tuple(name for name, column in COLUMNS.items() if not isinstance(column, wd.Crossed))
    wide = ("user", "item", "genres", "price", "history", "age", "hi", "ih", "gg", "cpu", "own")
    schema = wd.Schema(wd.Label("taken"), COLUMNS, wide=wd.Wide(wide),
                       deep=wd.Deep((*plain, "own"), **{"hidden": (8, 4)} | deep),
                       training=wd.Training(epochs=2, batch=16, wide=wd.Optimizer("ftrl", rate=0.5)))
    sides = Sides(schema, "user", "item", users, items)
    user, item = rng.integers(0, 6, 80), rng.integers(0, 7, 80)
    past = bag([rng.permutation(7)[:rng.integers(0, 4)].tolist() for _ in range(80)])
    rows = pa.table(sides.user_rows(user, past) | sides.item_rows(item) | {"taken": rng.integers(0, 2, 80)})
    model = wd.fit(schema, rows, valid=None)
    histories = bag([[0, 1], [], [3], [2, 4, 5], [6], [1]])
    ours, theirs = pa.table(sides.user_rows(np.arange(6), histories)), pa.table(sides.item_rows(np.arange(7)))
    pairs = Pairs(model, sides, ours.slice(2, 1), theirs.slice(4, 1))
    candidates = np.array([rng.permutation(7)[:5] for _ in range(6)])
    found = pairs.logits(pairs.users(ours), pairs.items(theirs), candidates)
    whole = ours.take(np.repeat(np.arange(6), 5)), theirs.take(candidates.ravel())
    whole = {name: column for side in whole for name, column in zip(side.column_names, side.columns)}
    wanted = wd.predict(model, pa.table(whole))
    assert found.ravel() == pytest.approx(np.asarray(wanted["logit"]), abs=1e-4)
    assert np.std(found) > 0.1


@pytest.mark.parametrize(("columns", "told"), [
    ({"both": wd.Categorical()}, "users' or the items'. Got 'both' in both"),
    ({"gnre": wd.Categorical()}, r"neither users, items nor interactions give: \['gnre'\].*Did you mean 'genre'"),
    ({"taken": wd.Categorical("genre")}, "")])
def test_columns_belong_to_one_side(columns, told):
    tables = pa.table({"user": [1], "both": [1]}), pa.table({"item": [1], "both": [1], "genre": ["a"]})
    schema = wd.Schema(wd.Label("y"), columns | {"user": wd.Categorical()}, wide=wd.Wide(tuple(columns)))
    if told:
        with pytest.raises(SchemaError, match=told):
            Sides(schema, "user", "item", *tables)
    else:
        assert Sides(schema, "user", "item", *tables).is_item("taken")


def test_the_label_is_made_and_not_read():
    schema = wd.Schema(wd.Label("genre"), {name: wd.Categorical() for name in ("user", "item")}, wide=wd.Wide(("item",)))
    with pytest.raises(SchemaError, match="The label is made here.*Got 'genre'"):
        Sides(schema, "user", "item", pa.table({"user": [1]}), pa.table({"item": [1], "genre": ["a"]}))


def test_both_sides_have_columns():
    schema = wd.Schema(wd.Label("y"), {"item": wd.Categorical()}, wide=wd.Wide(("item",)))
    with pytest.raises(SchemaError, match="without any of the users"):
        Sides(schema, "user", "item", pa.table({"user": [1]}), pa.table({"item": [1]}))


@pytest.mark.parametrize("wrong", [{"rate": -1.0}, {"rate": float("nan")}, {"l2": -5.0}, {"hidden": (0,)}, {"blank": 1.0}])
def test_a_retrieval_that_cannot_be_is_refused(wrong):
    with pytest.raises(SchemaError, match=f"Retrieval: {next(iter(wrong))}"):
        Retrieval(**wrong)


@pytest.mark.parametrize("own", ["history", "history.genre"])
def test_history_is_made_here(own):
    columns = {name: wd.Categorical() for name in ("user", "item")} | {"past": wd.Categorical(own)}
    schema = wd.Schema(wd.Label("y"), columns, wide=wd.Wide(("past",)))
    with pytest.raises(SchemaError, match=f"made here. Got '{own}', a column of the tables"):
        Sides(schema, "user", "item", pa.table({"user": [1], own: ["a"]}), pa.table({"item": [1], "genre": ["a"]}))


def test_new_rows_replace_the_columns_that_they_have():
    columns = {name: wd.Categorical() for name in ("user", "item", "club")} | {"age": wd.Numeric()}
    schema = wd.Schema(wd.Label("y"), columns, wide=wd.Wide(("club",)))
    users = pa.table({"user": ["a", "b"], "club": ["chess", "chess"], "age": [1.0, 2.0]})
    known = Known.of(schema, Names("user", "item"), pa.table({"user": ["a"], "item": [1]}), users)
    found = known.extended(users=pa.table({"user": ["c", "b"], "club": ["go", None]})).sides.users
    assert found.to_pydict() == {"user": ["a", "b", "c"], "club": ["chess", None, "go"], "age": [1.0, 2.0, None]}
    with pytest.raises(DataError, match=r"only columns that nobody reads: \['clubb'\].*Did you mean 'club'"):
        known.extended(users=pa.table({"user": ["b"], "clubb": ["go"]}))
    with pytest.warns(WidedeepWarning, match="lacks 'club', which stays.*Did you mean 'clubb'"):
        found = known.extended(users=pa.table({"user": ["b"], "age": [3.0], "clubb": ["go"]})).sides.users
    assert found["club"].to_pylist() == ["chess", "chess"] and found["age"].to_pylist() == [1.0, 3.0]


def test_what_users_took_is_sorted_once():
    log = Interactions.of(pa.table({"user": [2, 1, 2], "item": [5, 6, 7]}), user="user", item="item")
    assert np.shares_memory(log.of_users().flat, log.of_users().flat)
