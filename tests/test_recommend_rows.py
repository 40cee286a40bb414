"""What both stages learn from: rows that know the past and nothing else, negatives by law, and what no stage may see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import widedeep as wd
from widedeep import run
from widedeep.errors import DataError
from widedeep.recommend import ranked_rows, retrieval
from widedeep.recommend.catalogue import Known, Names
from widedeep.recommend.interactions import Interactions
from widedeep.recommend.lists import Lists
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.next_item import NextItem
from widedeep.recommend.recommender import Recommender
from widedeep.recommend.retrieval import Retrieval
from widedeep.recommend.retriever import Trained

USERS, ITEMS, LENGTH = 40, 30, 5
SCHEMA = wd.Schema(wd.Label("taken"), {name: wd.Categorical() for name in ("user", "item", "history")},
                   deep=wd.Deep(("user", "item", "history"), hidden=(4,)), training=wd.Training(epochs=1, batch=64))
NAMES = Names("user", "item", "time")


def log(seed: int = 0) -> pd.DataFrame:
    """Twelve things each, some of them at one time."""
    rng = np.random.default_rng(seed)
    item = np.concatenate([rng.permutation(ITEMS)[:12] for _ in range(USERS)])
    return pd.DataFrame({"user": np.repeat(np.arange(USERS), 12), "item": item, "time": rng.integers(0, 9, len(item))})


def before(frame: pd.DataFrame, user: int, item: int) -> set[int]:
    """What the user took strictly before he took the item."""
    his = frame[frame.user == user]
    return set(his.item[his.time < his.time[his.item == item].iloc[0]])


class Nearest:
    """Brings the first items that the user had not, whoever he is."""

    def __init__(self, known: Known):
        self.known, self.settings = known, Retrieval(history=LENGTH, blank=0.2)
        self.trained = Trained(known.popularity, np.ones(USERS, bool))
        self.asked: list[tuple[int, set[int]]] = []

    def brought(self, users, depth, taken, blank):
        lists = np.full((len(users), depth), -1)
        for row, user in enumerate(users):
            had = set(taken.flat[taken.splits[row]:taken.splits[row + 1]].tolist())
            self.asked.append((user, had))
            left = [item for item in range(ITEMS) if item not in had][:depth]
            lists[row, :len(left)] = left
        scores = np.where(lists < 0, -np.inf, 0.0)
        return Lists(lists, scores, np.zeros_like(lists), scores)


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, Nearest, list[pd.DataFrame]]:
    frame = log()
    retriever = Nearest(Known.of(SCHEMA, NAMES, frame))
    held = np.random.default_rng(1).random(len(frame)) < 0.3
    parts = ranked_rows.rows(retriever, Negatives(each=3, hard=0.9, sharp=0.0, depth=15), held, seed=0)
    whole = retriever.known.histories
    return frame, retriever, [part.read(part.columns).to_pandas().assign(
        true_user=np.repeat(whole.user[some], 4)) for part, some in zip(parts, (~held, held))]


def test_a_row_has_what_its_user_had_before_and_negatives_that_he_had_not(made):
    frame, _, parts = made
    for part in parts:
        taken = part[part.taken == 1]
        assert (part.taken.to_numpy().reshape(-1, 4) == [1, 0, 0, 0]).all()
        for place, (user, item, history) in enumerate(zip(taken.true_user, taken.item, taken.history)):
            rows = part.iloc[4 * place:4 * place + 4]
            if np.isnan(item):
                continue
            past = before(frame, user, item)
            assert set(history) <= past and len(history) == min(LENGTH, len(past))
            assert all(list(one) == list(history) for one in rows.history)
            assert not past & set(rows.item.dropna().astype(int))


def test_negatives_may_be_what_the_user_takes_later_also_those_that_retrieval_brings(made):
    frame, retriever, parts = made
    his = frame.groupby("user").item.agg(set)
    drawn = pd.concat(parts)
    drawn = drawn[(drawn.taken == 0) & drawn.item.notna()]
    later = np.mean([item in his[user] for user, item in zip(drawn.true_user, drawn.item)])
    assert later > 0.15
    pasts = {(user, frozenset(before(frame, user, item))) for user, item in zip(frame.user, frame.item)}
    assert {(user, frozenset(had)) for user, had in retriever.asked} == pasts


def test_a_share_of_ids_is_left_out_and_what_is_held_out_is_no_training_row(made):
    frame, retriever, (train, valid) = made
    for part in (train, valid):
        assert 0.1 < part.item.isna().mean() < 0.3
        by_row = part.user.isna().to_numpy().reshape(-1, 4)
        assert 0.08 < by_row.mean() < 0.35 and (by_row.all(1) == by_row.any(1)).all()
    assert len(train) + len(valid) == 4 * len(frame) and 0.2 < len(valid) / (4 * len(frame)) < 0.4
    known = [part[(part.taken == 1) & part.item.notna()] for part in (train, valid)]
    pairs = [set(zip(part.true_user, part.item)) for part in known]
    assert len(pairs[0]) > len(pairs[1]) > 0 and not pairs[0] & pairs[1]


def test_retrievals_rows_have_the_past_alone():
    frame = log(3)
    known = Known.of(SCHEMA, NAMES, frame)
    only = np.arange(0, len(frame), 3)
    tables = [retrieval._rows_of(known.sides, side, known.histories, Retrieval(history=LENGTH, blank=0.0), only,
                                 np.random.default_rng(0)) for side in ("user", "item")]
    users, items = (table.read(table.columns).to_pandas() for table in tables)
    assert len(users) == len(items) == len(only)
    for user, history, item in zip(users.user, users.history, items.item):
        past = before(frame, user, item)
        assert set(history) <= past and len(history) == min(LENGTH, len(past))


@given(st.permutations(range(60)))
@settings(max_examples=20)
def test_no_history_depends_on_the_order_of_a_tables_rows(order):
    frame = log().iloc[:60]
    one, other = (Known.of(SCHEMA, NAMES, some).histories for some in (frame, frame.iloc[list(order)]))
    every = np.arange(60)
    assert one.taken.flat.tolist() == other.taken.flat.tolist()
    assert one.before(every, 4).flat.tolist() == other.before(every, 4).flat.tolist()


def test_what_is_held_out_no_stage_is_trained_on():
    """Other items in the held rows of users who took nothing after them: the same towers, the same negatives' law."""
    frame = log().assign(time=np.tile(np.arange(12), USERS))
    asked = {"time": "time", "retrieval": Retrieval(epochs=1, batch=64), "valid": 0.4}
    known = Known.of(SCHEMA, NAMES, frame)
    found = Recommender(SCHEMA, **asked).fit(frame, progress=False)
    held = found._held_out(len(frame), 0)
    histories = known.histories
    alone = np.append(histories.user[1:] != histories.user[:-1], True) & (histories.since == np.arange(len(held)))
    rows = np.flatnonzero(held & alone)
    assert len(rows) > 5 and 150 < held.sum() < 240
    items = histories.taken.flat.copy()
    for row in rows:
        his = set(items[histories.user == histories.user[row]])
        items[row] = next(item for item in range(ITEMS) if item not in his)
    other = pd.DataFrame({"user": histories.user, "item": items, "time": histories.time})
    again = Recommender(SCHEMA, **asked).fit(other, progress=False)
    for mine, theirs in zip(found.retriever.trained, again.retriever.trained):
        assert mine.tolist() == theirs.tolist()
    for name, weights in found.retriever.towers.state().items():
        assert weights == pytest.approx(again.retriever.towers.state()[name], abs=1e-4), name   # several threads
    said = found.ranker.next_item
    assert 150 < said.interactions <= held.sum() and found.record["next_item"]["temperature"] == said.temperature != 1
    assert Recommender(SCHEMA, **asked | {"valid": None}).fit(frame).ranker.next_item == NextItem()


def test_chances_of_a_list_add_up_to_how_often_the_next_item_is_in_it_where_items_are_rarely_taken():
    rng, items = np.random.default_rng(0), 1_500
    frame = pd.DataFrame({"user": np.repeat(np.arange(400), 8), "item": rng.integers(0, items, 3_200),
                          "time": np.tile(np.arange(8), 400)})
    columns = {name: wd.Categorical() for name in ("user", "item")}
    schema = wd.Schema(wd.Label("taken"), columns, wide=wd.Wide(("item",)), training=wd.Training(epochs=1, batch=256))
    found = Recommender(schema, time="time", retrieval=Retrieval(epochs=1, width=4, embedding=4), valid=0.4,
                        negatives=Negatives(depth=300)).fit(frame)
    lists = found.lists(np.arange(400), 300, depth=300)
    assert np.exp(lists.scores).sum(1).mean() == pytest.approx(300 / items, rel=0.25)


@given(st.floats(0.2, 5), st.floats(-2, 2))
@settings(max_examples=15)
def test_scores_that_are_wrong_by_a_temperature_and_a_shift_are_put_right(temperature, shift):
    rng = np.random.default_rng(0)
    truth = np.log(rng.dirichlet(np.full(8, 0.7), 4_000) + 1e-3)
    truth -= np.log(np.exp(truth).sum(1, keepdims=True))
    taken = (truth + rng.gumbel(size=truth.shape)).argmax(1)
    found = NextItem.found((truth - shift) * temperature, taken)
    assert found.temperature == pytest.approx(temperature, rel=0.12)
    assert found.applied((truth - shift) * temperature).mean() == pytest.approx(truth.mean(), abs=0.3)


def test_a_shift_says_how_often_the_next_item_is_in_the_list_at_all():
    scores = np.tile(np.log([0.6, 0.4]), (1_000, 1))
    found = NextItem.found(scores, np.repeat([0, 1, -1], [300, 200, 500]))
    assert np.exp(found.applied(scores[0])) == pytest.approx([0.3, 0.2], abs=0.01)
    assert NextItem.found(scores[:99], np.zeros(99, int)) == NextItem()
    few = NextItem.found(scores, np.repeat([0, -1], [99, 901]))
    assert few.temperature == 1 and np.exp(few.applied(scores[0])).sum() == pytest.approx(0.099)
    empty = np.vstack([scores, np.full((50, 2), -np.inf)])
    assert NextItem.found(empty, np.repeat([0, 1, -1], [300, 200, 550])) == found


def test_a_refit_that_is_interrupted_changes_nothing(monkeypatch):
    found = Recommender(SCHEMA, time="time", retrieval=Retrieval(epochs=1)).fit(log())
    lists, record = found.recommend(k=3), found.record

    def stopped(*given, **asked):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        found.fit(log(1))
    assert found.recommend(k=3).equals(lists) and found.record is record


def test_an_update_counts_on(tmp_path):
    twice = pd.concat([log(), log().iloc[:3]])
    found = Recommender(SCHEMA, time="time", rank=False, retrieval=Retrieval(epochs=1)).fit(twice)
    assert found.record["data"]["duplicates"] == 3
    assert found.update(users=pa.table({"user": [0]})).record["data"]["duplicates"] == 3
    again = pd.DataFrame({"user": [99, 99, 0], "item": [1, 1, int(log().item[0])], "time": [20, 21, 22]})
    found.save(tmp_path / "found")
    told = Recommender.load(tmp_path / "found").update(again).record["data"]
    assert told == found.update(again).record["data"]
    assert (told["duplicates"], told["interactions"], told["users"]) == (5, 12 * USERS + 1, USERS + 1)


@pytest.mark.parametrize(("asked", "told"), [
    ({"time": None}, "Got time='time' and none with times"),
    ({"weight": "worth"}, "count alike for a recommender. Got some with weights")])
def test_interactions_that_were_made_otherwise_are_refused_before_training(asked, told):
    made = Interactions.of(log().assign(worth=2.0), **{"user": "user", "item": "item", "time": "time"} | asked)
    with pytest.raises(DataError, match=told):
        Recommender(SCHEMA, time="time").fit(made)


def test_histories_are_of_those_who_took_one_thing_after_another():
    with pytest.raises(DataError, match="nobody has two, one after the other"):
        Recommender(SCHEMA, time="time").fit(log().assign(time=7))


def test_so_much_cannot_be_held_out():
    with pytest.raises(DataError, match="be left to train on. Got 480, all held out by valid=0.99999"):
        Recommender(SCHEMA, time="time", valid=0.99999).fit(log())
