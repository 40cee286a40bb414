"""Recommendations from three tables: who gets what and on what grounds, on disk and back, one rule for each bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import widedeep as wd
from widedeep.cli import main
from widedeep.errors import ArtifactError, DataError, SchemaError, WidedeepWarning
from widedeep.recommend import options
from widedeep.recommend.baselines import EASE, ItemKNN, Popularity, RecentPopularity
from widedeep.recommend.evaluated import BASELINES
from widedeep.recommend.interactions import UNITS, Interactions
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.recommender import Recommender
from widedeep.recommend.retrieval import Retrieval

USERS, ITEMS = 60, 30
CLUBS, GENRES = ["chess", "go"], ["board", "ball"]


def tables(seed: int = 0) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Those of a club take items of one genre; the last items were taken by nobody, the last user took nothing."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(USERS), 8)
    item = np.concatenate([2 * rng.permutation(ITEMS // 2 - 2)[:8] + who % 2 for who in range(USERS)])
    order = rng.permutation(len(user))
    log = pa.table({"user": pa.array([f"u{who}" for who in user[order]]), "item": item[order], "time": np.arange(len(user))})
    users = pa.table({"user": [f"u{who}" for who in range(USERS + 1)], "club": [CLUBS[who % 2] for who in range(USERS + 1)]})
    items = pa.table({"item": np.arange(ITEMS), "genre": [GENRES[what % 2] for what in range(ITEMS)]})
    return log, users, items


def schema() -> wd.Schema:
    ids = ("user", "item", "club", "genre", "history")
    columns = {name: wd.Categorical() for name in ids} | {"club x genre": wd.Crossed(("club", "genre"), 64)}
    training = wd.Training(epochs=4, batch=64, wide=wd.Optimizer("ftrl", rate=0.3))
    return wd.Schema(wd.Label("taken"), columns, wide=wd.Wide(("item", "club x genre")),
                     deep=wd.Deep(ids, hidden=(8,), width=4), training=training)


def new(**asked) -> Recommender:
    return Recommender(schema(), time="time", retrieval=Retrieval(width=4, embedding=4, epochs=3, batch=64),
                       **{"negatives": Negatives(each=2)} | asked)


@pytest.fixture(scope="module")
def fitted() -> Recommender:
    return new().fit(*tables())


def test_users_get_what_their_like_take_and_nothing_they_have(fitted):
    found = fitted.recommend(k=5).to_pandas()
    assert set(found["user"]) == {f"u{who}" for who in range(USERS + 1)}
    assert found.groupby("user").size().eq(5).all()
    assert (found["rank"] == found.groupby("user").cumcount() + 1).all()
    assert found.groupby("user")["score"].is_monotonic_decreasing.all()
    assert (found["user"].str[1:].astype(int) % 2 == found["item"] % 2).mean() > 0.8
    log = tables()[0].to_pandas()
    assert not len(found.merge(log, on=["user", "item"]))
    assert fitted.lists(np.array([0]), 2 * ITEMS).items[0].tolist().count(-1) == ITEMS + 8
    with_seen = fitted.recommend(k=ITEMS, exclude_seen=False).to_pandas()
    assert len(with_seen) == ITEMS * (USERS + 1)
    assert np.allclose(with_seen.groupby("user")["probability"].sum(), 1)
    assert (found.groupby("user")["probability"].sum() <= 1 + 1e-9).all()


def test_a_list_says_what_it_rests_on(fitted):
    found = fitted.recommend(["u0", f"u{USERS}", "stranger"], k=ITEMS).to_pandas()
    grounds = found.groupby("user")["source"].unique()
    never_taken = found["item"] >= ITEMS - 4
    assert set(found["source"][(found["user"] == "u0") & never_taken]) == {"features"}
    assert set(found["source"][(found["user"] == "u0") & ~never_taken]) == {"model"}
    assert grounds[f"u{USERS}"].tolist() == ["features"] and grounds["stranger"].tolist() == ["popularity"]
    popularity = np.bincount(tables()[0]["item"].to_numpy(), minlength=ITEMS)
    assert found["item"][found["user"] == "stranger"].tolist() == np.argsort(-popularity, kind="stable").tolist()


def test_a_newcomer_is_answered_by_features_and_by_what_he_took_since(fitted):
    newcomers = pd.DataFrame({"user": ["x", "y"], "club": ["chess", "go"]})
    found = fitted.recommend(newcomers, k=4).to_pandas()
    assert set(found["source"]) == {"features"}
    assert ((found["user"] == "y") == found["item"] % 2).mean() > 0.8
    since = fitted.update(pa.table({"user": ["z", "u1"], "item": [4, 99], "time": [9_000, 9_001]}))
    assert since.recommend(["z"], k=3)["source"].to_pylist() == ["features"] * 3
    assert 4 not in since.recommend(["z"], k=ITEMS)["item"].to_pylist()
    now, before = (one.recommend(["u0"], k=6).select(["user", "rank", "item", "source"]) for one in (since, fitted))
    assert now.equals(before)


def test_a_recommender_comes_back_from_disk_as_it_was(fitted, tmp_path):
    fitted.save(tmp_path / "found")
    assert Recommender.load(tmp_path / "found").recommend(k=3).equals(fitted.recommend(k=3))
    with pytest.raises(ArtifactError, match="exists"):
        fitted.save(tmp_path / "found")
    fitted.save(tmp_path / "found", force=True)
    kinds = {path.suffix for path in (tmp_path / "found").rglob("*") if path.is_file()}
    assert kinds == {".json", ".toml", ".parquet", ".safetensors"}


@pytest.mark.parametrize("file", ["retrieval.safetensors", "recommender.json", "items.parquet", "ranker/weights.safetensors"])
def test_a_changed_file_is_refused_by_name(fitted, tmp_path, file):
    fitted.save(tmp_path / "found")
    whole = bytearray((tmp_path / "found" / file).read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "found" / file).write_bytes(whole)
    with pytest.raises(ArtifactError, match=f"{file}: this file was changed"):
        Recommender.load(tmp_path / "found")


def test_a_folder_of_something_else_is_no_recommender(tmp_path):
    with pytest.raises(ArtifactError, match="is not a recommender's folder: it has no manifest.json"):
        Recommender.load(tmp_path)


def test_everybodys_lists_are_written_and_counted(fitted, tmp_path):
    counts = fitted.write(tmp_path / "lists.parquet", k=3)
    assert pq.read_table(tmp_path / "lists.parquet").equals(fitted.recommend(k=3))
    assert sum(counts.values()) == 3 * (USERS + 1) and counts["features"] >= 3
    fitted.write(tmp_path / "many.parquet", users=["u1", "u2", "stranger"] * 2_500, k=10)
    many = pq.ParquetFile(tmp_path / "many.parquet").metadata
    assert many.num_rows == 75_000 and [many.row_group(place).num_rows for place in range(2)] == [66_560, 8_440]
    assert fitted.write(tmp_path / "none.parquet", users=pa.array([], pa.string()), k=3) == dict.fromkeys(counts, 0)
    assert pq.read_table(tmp_path / "none.parquet").schema.names == pq.read_schema(tmp_path / "lists.parquet").names


def test_without_a_ranker_retrievals_order_is_the_answer():
    found = new(rank=False).fit(*tables())
    lists = found.lists(np.arange(5), 7)
    assert (lists.items == found.retriever.brought(np.arange(5), 7).items).all()
    assert found.recommend(["u1"], k=2)["probability"].null_count == 2
    assert found.recommend(["nobody"], k=2)["probability"].null_count == 2


def test_the_same_seed_gives_the_same_lists(fitted):
    assert new().fit(*tables()).recommend(k=5)["item"].equals(fitted.recommend(k=5)["item"])


@pytest.mark.parametrize("law", [Negatives(each=3, hard=0, flatten=0), Negatives(each=3, hard=0.5, flatten=1)])
def test_probabilities_are_the_chances_of_the_next_item_whatever_the_law(law):
    chances = np.arange(1, 13) / 78
    log = pa.table({"user": np.arange(6_000), "item": np.random.default_rng(0).choice(12, 6_000, p=chances)})
    users = pa.table({"user": np.arange(6_001), "country": ["here"] * 6_001})
    asked = wd.Schema(wd.Label("taken"), {name: wd.Categorical() for name in ("item", "country")}, wide=wd.Wide(("item",)),
                      training=wd.Training(epochs=8, batch=256, wide=wd.Optimizer("ftrl", rate=0.3)))
    towers = Retrieval(width=2, embedding=2, epochs=1, blank=0.0)
    found = Recommender(asked, retrieval=towers, negatives=law, valid=None).fit(log, users)
    scores = found.lists(np.arange(50), 12, exclude_seen=False)
    shares = np.bincount(log["item"].to_numpy(), minlength=12) / 6_000
    assert scores.chances.ravel() == pytest.approx(shares[scores.items].ravel(), rel=0.25, abs=0.01)
    newcomer = found.lists(np.array([6_000]), 12)
    assert np.exp(newcomer.scores).sum() == pytest.approx(1, abs=0.1)
    assert newcomer.chances[0] == pytest.approx(shares[newcomer.items[0]], rel=0.25, abs=0.01)


@pytest.mark.parametrize("hard", [0.0, 0.5])
def test_what_users_take_later_is_not_thought_likelier_for_it(hard):
    weights, rng = np.arange(1, 101) ** -0.8, np.random.default_rng(0)
    taken = np.argsort(-(np.log(weights) + rng.gumbel(size=(300, 100))), axis=1)[:, :20]
    log = pa.table({"user": np.repeat(np.arange(300), 20), "item": taken.ravel()})
    users = pa.table({"user": np.arange(301), "country": ["here"] * 301})
    asked = wd.Schema(wd.Label("taken"), {name: wd.Categorical() for name in ("item", "country")}, wide=wd.Wide(("item",)),
                      training=wd.Training(epochs=5, batch=256, wide=wd.Optimizer("ftrl", rate=0.3)))
    law = Negatives(each=3, hard=hard, flatten=1.0)
    found = Recommender(asked, retrieval=Retrieval(width=2, embedding=2, epochs=1, blank=0.0), negatives=law, valid=None)
    lists = found.fit(log, users).lists(np.array([300]), 100)
    wrong = np.log(lists.chances[0] * weights.sum() / weights[lists.items[0]])
    assert abs(wrong[lists.items[0] == 0]) < 0.35 and abs(wrong).mean() < 0.4


def test_interactions_of_any_order_and_twice_give_the_same(fitted):
    log, users, items = tables()
    mixed = pa.concat_tables([log.take(np.random.default_rng(1).permutation(len(log))), log.slice(0, 3)])
    told = new(rank=False).fit(mixed, users, items)
    assert told.record["data"]["duplicates"] == 3 and told.record["data"]["out_of_order"] > 0
    assert told.known.histories.taken.flat.tolist() == fitted.known.histories.taken.flat.tolist()
    assert fitted.record["data"] == {"interactions": 8 * USERS, "users": USERS + 1, "items": ITEMS, "duplicates": 0,
                                     "out_of_order": 0, "users_without_features": 0, "items_without_features": 0,
                                     "items_never_taken": 4}


def test_an_item_without_features_is_counted_and_recommended(fitted):
    log, users, items = tables()
    found = new(rank=False).fit(log, users, items.slice(2))
    assert found.record["data"]["items_without_features"] == 2
    assert 0 in found.recommend(["u2"], k=ITEMS, exclude_seen=False)["item"].to_pylist()


def test_without_tables_there_are_ids_and_histories():
    columns = {name: wd.Categorical() for name in ("item", "history")}
    asked = wd.Schema(wd.Label("taken"), columns, deep=wd.Deep(("item", "history")))
    found = Recommender(asked, time="time", rank=False, retrieval=Retrieval(epochs=1)).fit(tables()[0])
    assert found.recommend(["u0", "nobody"], k=1)["source"].to_pylist() == ["model", "popularity"]


def test_an_items_score_is_the_same_whatever_else_is_asked():
    found = new(negatives=Negatives(each=2, depth=6)).fit(*tables())
    few = found.recommend(k=5).to_pandas().set_index(["user", "item"])["score"]
    for asked in ({"k": 10}, {"k": 5, "depth": 3}, {"k": 5, "depth": 20}, {"k": ITEMS, "exclude_seen": False}):
        other = found.recommend(**asked).to_pandas().set_index(["user", "item"])["score"]
        both = few.index.intersection(other.index)
        assert len(both) >= USERS and np.allclose(few[both], other[both], atol=1e-4)


def test_one_who_took_everything_is_no_hindrance():
    log, users, items = tables()
    more = pa.table({"user": ["u0"] * ITEMS, "item": np.arange(ITEMS), "time": 1_000 + np.arange(ITEMS)})
    found = new().fit(pa.concat_tables([log, more]), users, items)
    assert not len(found.recommend(["u0"]))
    everything = found.recommend(["u0"], k=ITEMS, exclude_seen=False)
    assert len(everything) == ITEMS and np.isfinite(everything["score"]).all()


def test_a_table_of_ids_erases_nothing(fitted):
    by_table, by_id = fitted.recommend(pd.DataFrame({"user": [f"u{USERS}"]}), k=4), fitted.recommend([f"u{USERS}"], k=4)
    for name in ("user", "item", "source"):
        assert by_table[name].to_pylist() == by_id[name].to_pylist()
    assert set(by_table["source"].to_pylist()) == {"features"}


def test_a_history_that_no_column_reads_is_no_ground():
    log, users, items = tables()
    asked = wd.Schema(wd.Label("taken"), {name: wd.Categorical() for name in ("item", "club")}, deep=wd.Deep(("item", "club")))
    found = Recommender(asked, time="time", rank=False, retrieval=Retrieval(epochs=1)).fit(log, users.slice(1), items)
    lists = found.recommend(["u0", "u1"], k=ITEMS).to_pandas()
    assert set(lists["source"][lists["user"] == "u0"]) == {"popularity"}
    assert "popularity" not in set(lists["source"][lists["user"] == "u1"])
    assert not len(lists.merge(log.to_pandas(), on=["user", "item"]))


def test_evaluation_keeps_known_pairs_only_where_lists_may_have_them_and_warns_of_early_rows(fitted):
    log = tables()[0]
    with pytest.raises(DataError, match="Got 480, all known already"):
        fitted.evaluate(log, [5])
    seen = fitted.evaluate(log, [ITEMS], exclude_seen=False)
    assert seen["known_already"] == 480 and seen[f"recall@{ITEMS}"]["mean"] == 1 and seen["not_later"] == 0
    mixed = pa.table({"user": ["u0", "u0", "u1"], "item": [1, 3, 0], "time": [479, 480, 1]})
    with pytest.warns(WidedeepWarning, match="Got 2 of 3 that are not"):
        assert fitted.evaluate(mixed, [5])["not_later"] == 2


def test_baselines_stand_beside_and_the_lead_is_the_difference(fitted):
    had = fitted.known.interactions.of_users(np.arange(USERS))
    new = [(who, what) for who in range(USERS) for what in range(who % 2, ITEMS - 4, 2)
           if what not in had.flat[had.splits[who]:had.splits[who + 1]]]
    ids = fitted.known.interactions.user_ids
    later = pd.DataFrame({"user": [ids[who].as_py() for who, _ in new], "item": [what for _, what in new], "time": 9_000})
    later = later.drop_duplicates("user")
    assert set(BASELINES) == set(options.BESIDE) and options.UNITS == UNITS
    found = fitted.evaluate(later, [5], beside=["popularity", "recent-popularity", "item-knn", "ease"])
    made, known = {"popularity": Popularity(), "recent-popularity": RecentPopularity(days=30), "item-knn": ItemKNN(),
                   "ease": EASE()}, fitted.known.interactions
    asked, taken = known.user_numbers(later["user"]), known.item_numbers(later["item"])
    for name, other in found["beside"].items():
        lists = made[name].fit(known).recommend(asked, 5)
        assert other["figures"]["recall@5"]["mean"] == np.mean([item in mine for item, mine in zip(taken, lists)])
        for figure, lead in other["lead"].items():
            assert lead["mean"] == pytest.approx(found[figure]["mean"] - other["figures"][figure]["mean"])
    assert found["beside"]["ease"]["figures"] != found["beside"]["popularity"]["figures"]
    assert fitted.evaluate(later, 5, beside=[])["beside"] == {}
    with pytest.raises(DataError, match="no such baselines.*'eas'.*ease"):
        fitted.evaluate(later, beside=["eas"])
    with pytest.raises(DataError, match="at how many places lists are judged, 1,000 at most. Got none"):
        fitted.evaluate(later, [])


def test_rows_made_anew_in_every_epoch_teach_the_same(fitted):
    streamed = new().fit(*tables(), stream=True)
    assert streamed.recommend(k=3)["item"].equals(fitted.recommend(k=3)["item"])


def test_new_features_of_users_leave_what_was_encoded_of_items(fitted):
    other = fitted.update(users=pa.table({"user": ["u0", "new"], "club": ["go", None]}))
    assert other.ranker.item_part is fitted.ranker.item_part and other.retriever.index is fitted.retriever.index
    assert other.record["data"]["users"] == fitted.record["data"]["users"] + 1
    assert other.recommend(["new"], k=1)["source"].to_pylist() == ["popularity"]
    number = pd.DataFrame({"user": ["new"], "club": [float("nan")]})
    assert fitted.recommend(number, k=1)["source"].to_pylist() == ["popularity"]


@pytest.mark.parametrize(("asked", "told"), [
    ({"k": 0}, "k is how many items are recommended.*Got 0"), ({"k": True}, "k is how many"),
    ({"users": "u1"}, "users are several ids, or a table"),
    ({"users": Path("users.parquet")}, "users are several ids, or a table"), ({"depth": 0}, "depth is how many.*Got 0"),
    ({"users": ["u1", None]}, "an id is there. Got none at place 1"),
    ({"users": [1, 2]}, "user: ids are of one type, here large_string. Got int64")])
def test_what_cannot_be_asked(fitted, asked, told):
    with pytest.raises(DataError, match=told):
        fitted.recommend(**asked)


def test_what_must_be_there_first():
    with pytest.raises(DataError, match="answers once it is fitted"):
        new().recommend(["u0"])
    with pytest.raises(DataError, match="answers once it is fitted"):
        new().update(users=tables()[1])
    log, users, items = tables()
    with pytest.raises(DataError, match="each id of 'item' has one row. Got 0 twice, the second time in row 30"):
        new().fit(log, users, pa.concat_tables([items, items.slice(0, 2)]))
    with pytest.raises(SchemaError, match="valid is a share.*Got 1.5"):
        new(valid=1.5)
    with pytest.raises(SchemaError, match="neither users, items nor interactions give: \\['club'"):
        new().fit(log, None, items)
    with pytest.raises(DataError, match="'history' is what a user took before. Got interactions of which nobody has two"):
        new().fit(log.slice(0, 1), users, items)
    with pytest.raises(DataError, match="ids in 'user': text in both tables, or whole numbers in both. Got large_string and"):
        new().fit(log, users.set_column(0, "user", pa.array(range(len(users)))), items)


def test_columns_are_named_where_they_are_or_might_be():
    log, users, items = tables()
    with pytest.raises(SchemaError, match="before anybody asks. Got 'hour', a column of the interactions"):
        Recommender(with_column("hour"), time="time").fit(log.append_column("hour", log["time"]), users, items)
    with pytest.raises(SchemaError, match="give: \\['age'\\].*Did you mean 'Age'"):
        Recommender(with_column("age"), time="time").fit(log, users.append_column("Age", pa.array(range(len(users)))), items)


def with_column(name: str, column: wd.Categorical | wd.Numeric | None = None) -> wd.Schema:
    known = schema()
    return replace(known, columns=known.columns | {name: column or wd.Categorical()}, deep=wd.Deep((*known.deep.columns, name)))


def test_a_cell_that_is_no_number_is_named_in_its_own_table(tmp_path):
    log, users, items = tables()
    known = with_column("price", wd.Numeric())
    items.append_column("price", pa.array(["1.5"] * 17 + ["cheap"] + ["2"] * (ITEMS - 18))).to_pandas().to_csv(
        tmp_path / "items.csv", index=False)
    with pytest.raises(DataError, match="items.csv: Column 'price': a numeric column holds numbers. Got 'cheap' in row 17"):
        Recommender(known, time="time").fit(log, users, tmp_path / "items.csv")


def test_ids_of_a_csv_file_that_are_codes_stay_text(tmp_path):
    Path(tmp_path / "log.csv").write_text("user,item\n7,1\n007,1\n8,2\n7,01\n007,2\n")
    found = Interactions.of(tmp_path / "log.csv", user="user", item="item")
    assert found.user_ids.to_pylist() == ["007", "7", "8"] and found.item_ids.to_pylist() == ["01", "1", "2"]
    Path(tmp_path / "users.csv").write_text("user,club\n7,go\n8,chess\n")
    columns = {name: wd.Categorical() for name in ("user", "item", "club")}
    asked = wd.Schema(wd.Label("taken"), columns, deep=wd.Deep(tuple(columns)))
    made = Recommender(asked, rank=False, retrieval=Retrieval(epochs=1)).fit(tmp_path / "log.csv", tmp_path / "users.csv")
    assert made.record["data"]["users_without_features"] == 1 and made.recommend(["7"], k=3)["item"].to_pylist() == ["2"]
    Path(tmp_path / "later.csv").write_text("user,item\n8,1\n9,2\n")
    more = made.update(tmp_path / "later.csv")
    assert more.known.interactions.user_ids.to_pylist() == ["007", "7", "8", "9"]
    assert made.evaluate(tmp_path / "later.csv", 2)["unknown_users"] == 1


def test_new_features_are_of_a_type_that_fits(fitted):
    with pytest.raises(DataError, match="'genre' has values of the type that it had before, string. Got list"):
        fitted.update(items=pa.table({"item": [0], "genre": [["ball"]]}))


def test_a_list_ends_with_the_catalogue_however_much_is_asked_for(fitted):
    assert fitted.recommend(["u1"], k=10**12).num_rows == ITEMS - 8
    with pytest.raises(DataError, match="1,000 at most. Got 1000000"):
        fitted.evaluate(tables()[0], 10**6)


def test_strangers_alone_say_nothing_and_those_with_known_pairs_alone_are_left_out(fitted):
    with pytest.warns(WidedeepWarning, match="some of the users are known. Got 2, all unknown"):
        fitted.evaluate(pa.table({"user": ["x", "y"], "item": [1, 2], "time": [9_000, 9_001]}), 5)
    log = tables()[0]
    known = {name: log[name][0].as_py() for name in ("user", "item")}
    more = pa.table({"user": ["stranger", "u0" if known["user"] != "u0" else "u1", known["user"]],
                     "item": [0, ITEMS - 1, known["item"]], "time": [9_000, 9_001, 9_002]})
    found = fitted.evaluate(more, 5)
    assert (found["users"], found["left_out"], found["known_already"], found["unknown_users"]) == (2, 1, 1, 1)
    made = Interactions.of(more, user="user", item="item", time="time")
    assert fitted.evaluate(made, 5) == found


def test_times_may_count_another_unit():
    log, users, items = tables()
    later = log.set_column(2, "time", pa.array(1_700_000_000_000 + 86_400_000 * log["time"].to_numpy()))
    with pytest.raises(DataError, match="Pass unit="):
        new(rank=False).fit(later, users, items)
    found = new(rank=False, unit="ms").fit(later, users, items)
    assert str(found.known.interactions.time.max()).startswith("2025-03-0")
    assert found.update(interactions=later.slice(0, 2)).record["data"]["duplicates"] == 2


@pytest.mark.parametrize(("asked", "told"), [
    ({"schema": "schema.toml"}, "schema is a Schema. Got str"),
    ({"retrieval": {"width": 8}}, "retrieval is a Retrieval. Got dict"),
    ({"user": "item"}, "three columns. Got \\['item', 'item'\\]")])
def test_what_no_recommender_is_made_of(asked, told):
    with pytest.raises(SchemaError, match=told):
        Recommender(**{"schema": schema()} | asked)


@pytest.mark.parametrize(("changes", "told"), [
    ({"weight": "w"}, "all count alike for a recommender. Got the weight 'w'"),
    ({"group": "user"}, "drawn from its interactions. Got the schema's group = 'user'"),
    ({"label": wd.Label("taken", negatives_kept=0.5)}, "The label is made here.*Got 'taken' with settings"),
    ({"deep": wd.Deep(("user", "item", "club x genre"))}, "belong to the wide tower. Got 'club x genre' in the deep one")])
def test_schemas_that_no_recommender_can_have_are_refused_before_training(changes, told):
    with pytest.raises(SchemaError, match=told):
        Recommender(replace(schema(), **changes), time="time").fit(*tables())


def test_the_command_line_fits_evaluates_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log, users, items = tables()
    for name, table in {"early": log.slice(0, 400), "late": log.slice(400), "users": users, "items": items}.items():
        pq.write_table(table, f"{name}.parquet")
    Path("schema.toml").write_text(schema().to_toml())
    Path("settings.toml").write_text("[retrieval]\nepochs = 1\n[negatives]\neach = 2\n")
    fit = ["recommend", "fit", "early.parquet", "--schema", "schema.toml", "--users", "users.parquet", "--items",
           "items.parquet", "--time", "time", "--settings", "settings.toml", "--out", "found", "--json"]
    assert main(fit) == 0
    assert json.loads(capsys.readouterr().out)["interactions"] == 400
    assert main(["recommend", "evaluate", "found", "late.parquet", "--k", "5", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["recall@5"]["mean"] > 0.2 and figures["unknown_users"] == 0
    assert figures["beside"]["popularity"]["lead"]["recall@5"]["mean"] > 0
    assert main(["recommend", "evaluate", "found", "late.parquet", "--k", "5", "--beside", "ease"]) == 0
    assert "ease, and the recommender's lead over it:" in capsys.readouterr().out
    assert main(["recommend", "write", "found", "--out", "lists.parquet", "--k", "2"]) == 0
    assert pq.read_table("lists.parquet").num_rows == 2 * (USERS + 1)
    assert main(["recommend", "write", "found", "--out", "lists.parquet"]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["recommend", "write", "found", "--out", "lists.csv"]) == 2
    assert "--out names a Parquet file. Got 'lists.csv'" in capsys.readouterr().err
    assert main(["recommend", "update", "found", "--interactions", "late.parquet", "--out", "newer", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["interactions"] == len(log)
    assert main(["recommend", "evaluate", "found", "early.parquet"]) == 2
    assert "Got 400, all known already" in capsys.readouterr().err
    assert main(["recommend", "evaluate", "found", "early.parquet", "--seen", "--k", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["known_already"] == 400
    Path("settings.toml").write_text("[retrieval]\nepoch = 1\n")
    assert main([*fit[:-3], "--out", "other"]) == 2
    assert "settings.toml: [retrieval] unknown settings: ['epoch']" in capsys.readouterr().err
    Path("settings.toml").write_text("[retrieval]\nhidden = [0]\n")
    assert main([*fit[:-3], "--out", "other"]) == 2
    assert "settings.toml: [retrieval] Retrieval: hidden" in capsys.readouterr().err
    Path("settings.toml").unlink()
    assert main([*fit[:-3], "--out", "other"]) == 2
    assert "'settings.toml', which is not there" in capsys.readouterr().err
    assert main([*fit[:-1], "--valid", "1.5"]) == 2
    assert "--valid: is a share, 0 or more and below 1. Got '1.5'" in capsys.readouterr().err
