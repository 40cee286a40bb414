"""Public sets: those that a checkout carries, checked byte for byte; the others in every form in which they are given out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import widedeep as wd
from widedeep.columns import Bucketized, Categorical, Crossed, Numeric
from widedeep.datasets import (
    adult,
    criteo,
    dataset,
    frappe,
    frappe_pairs,
    load_adult,
    load_avazu,
    load_criteo,
    load_frappe,
    load_mnist,
    load_movielens,
    load_movielens_likes,
    mnist,
    movielens,
)
from widedeep.errors import ArtifactError, DataError
from widedeep.schema import Schema


def shared(folder: str) -> Path:
    """A set that may not be passed on, where there is one."""
    place = Path(os.environ.get("WIDEDEEP_DATA", "no such place")) / folder
    if not place.is_dir():
        pytest.skip(f"needs {folder}, which may not be passed on: set WIDEDEEP_DATA to the folder that holds it")
    return place


def column(table, name: str) -> list:
    return table.read([name])[name].to_pylist()


# ------------------------------------------------------------------------------------------------------------- adult, mnist


def test_adult_has_the_official_halves_and_shares_of_positives():
    data = load_adult()
    assert (data.name, data.train.num_rows, data.test.num_rows, data.valid) == ("adult", 32_561, 16_281, None)
    positive = [pc.sum(pc.equal(table.read(["income"])["income"], ">50K")).as_py() for table in (data.train, data.test)]
    assert positive == [7_841, 3_846]
    assert "CC BY 4.0" in data.citation and "Becker" in data.citation


def test_every_column_of_the_schema_is_in_both_halves_with_the_type_that_its_kind_reads():
    data = load_adult()
    for table in (data.train, data.test):
        table.require([*data.schema.features, *data.schema.roles])
        for name, one in data.schema.columns.items():
            if not isinstance(one, Crossed):
                kind = table.type_of(one.source or name)
                assert pa.types.is_large_string(kind) if isinstance(one, Categorical) else pa.types.is_integer(kind), name


def test_towers_read_what_the_paper_gives_them_and_deep_the_buckets_too():
    schema = load_adult().schema
    kinds = {tower: {type(schema.columns[name]) for name in getattr(schema, tower).columns} for tower in ("wide", "deep")}
    assert kinds == {"wide": {Bucketized, Categorical, Crossed}, "deep": {Numeric, Categorical, Bucketized}}


def test_bins_are_several_times_the_combinations_that_occur():
    data = load_adult()
    for sources, bins in adult.CROSSES.items():
        columns = [data.schema.columns[name].source or name for name in sources]
        occurring = data.train.read(columns).group_by(columns).aggregate([]).num_rows
        assert bins > 4 * occurring, sources


@pytest.mark.parametrize(("load", "message"), [
    (load_adult, r"train\.parquet: load_adult needs this file.*UCI Adult, Becker & Kohavi 1996, CC BY 4\.0.*load_adult\(path="),
    (load_mnist, r"train\.npz: load_mnist needs this file.*Cortes & Burges 1998, CC BY-SA 3\.0.*load_mnist\(path=")])
def test_outside_a_checkout_the_path_must_be_given(load, message, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=message):
        load(tmp_path)
    monkeypatch.setattr(dataset, "DATA", tmp_path / "data")
    with pytest.raises(DataError, match=message):
        load()


def test_changed_files_are_refused_and_the_right_ones_are_found_anywhere(tmp_path):
    for file in adult.FILES:
        shutil.copy(dataset.DATA / "adult" / file, tmp_path / file)
    assert load_adult(tmp_path).train.num_rows == 32_561
    content = bytearray((tmp_path / "test.parquet").read_bytes())
    content[1000] ^= 1
    (tmp_path / "test.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"test\.parquet: must be the file whose sha256 is 5f41.*Got "):
        load_adult(tmp_path)


def test_the_schema_of_digits_learns_from_ink():
    images, digits = mnist.arrays(dataset.DATA / "mnist" / "t10k.npz")
    few = mnist.table_of(images[:800], digits[:800])
    schema = mnist.schema()
    small = replace(schema, deep=replace(schema.deep, hidden=(32,), width=16), training=replace(schema.training, epochs=4))
    model = wd.fit(small, few.slice(0, 600), valid=0.2, seed=0, progress=False)
    assert wd.evaluate(model, few.slice(600))["auc"] > 0.9


def test_a_picture_as_a_row():
    image = np.zeros((2, 28, 28), np.uint8)
    image[0, 0:4, 4:8] = 255
    image[0, 27, 27] = 51
    image[1, 12, 0:4] = 255
    one, other = mnist.table_of(image, np.array([4, 7])).to_pylist()
    assert one["ink"] == [28 * row + place for row in range(4) for place in range(4, 8)] + [783]
    assert one["grey"] == pytest.approx([1.0] * 16 + [0.2]) and (one["odd"], one["upper"], one["lower"]) == (0, [1], [])
    assert (other["odd"], other["upper"], other["lower"]) == (1, [], [])
    image[1, 12:14, 0:4] = 255
    assert mnist.table_of(image, np.array([4, 7]))["lower"].to_pylist() == [[], [0]]   # the first block below the middle


# ------------------------------------------------------------------------------------------------------------------- frappe


CONTEXT = {"daytime": ("morning", "night"), "weekday": ("monday", "sunday"), "isweekend": ("workday", "weekend"),
           "homework": ("home", "unknown"), "cost": ("free", "paid"), "weather": ("sunny", "cloudy"),
           "country": ("Spain", "Peru"), "city": (0, 7)}


def frappe_x1(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    found = {"label": rng.integers(0, 2, rows), "user": rng.integers(0, 9, rows), "item": rng.integers(0, 9, rows)}
    return pd.DataFrame(found).assign(**{name: rng.choice(values, rows) for name, values in CONTEXT.items()})


@pytest.mark.parametrize(("prefix", "ending"), [("", "csv"), ("x1_", "parquet")])
def test_the_published_split_of_frappe_is_taken_where_it_is(prefix, ending, tmp_path):
    for seed, (part, rows) in enumerate({"train": 70, "valid": 20, "test": 10}.items()):
        frame, file = frappe_x1(rows, seed), tmp_path / f"{prefix}{part}.{ending}"
        frame.to_csv(file, index=False) if ending == "csv" else frame.to_parquet(file)
    data = load_frappe(tmp_path)
    assert data.name == "frappe_x1" and "arXiv:1505.03014" in data.citation and "research only" in data.citation
    assert [table.num_rows for table in (data.train, data.valid, data.test)] == [70, 20, 10]
    for table in (data.train, data.valid, data.test):
        table.require([*data.schema.features, *data.schema.roles])
    assert wd.Encoder.fit(data.schema, data.train).columns["user"].ids == 9 + 3


def test_labels_and_ids_that_are_written_as_floats_are_labels_and_ids_all_the_same(tmp_path):
    for part in ("train", "valid", "test"):
        written = frappe_x1(40, 0).assign(**{name: np.arange(40.0) % 5 for name in ("user", "item", *CONTEXT)})
        written.assign(label=written["label"].astype(float)).to_csv(tmp_path / f"{part}.csv", index=False)
    data = load_frappe(tmp_path)
    encoder = wd.Encoder.fit(data.schema, data.train)
    assert encoder.columns["user"].ids == 5 + 3 and (encoder.label.positive, encoder.label.negative) == (1, 0)


def frappe_log() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    pairs = [(user, item) for user in range(60) for item in rng.choice(30, 8, replace=False)]
    log = pd.DataFrame(pairs, columns=["user", "item"])
    apps = pd.DataFrame({"item": range(30), "package": "a.b", "category": [f"c{item % 4}" for item in range(30)]})
    return log.assign(cnt=3, daytime="night"), apps.assign(category=apps.category.where(apps.item != 5))


@pytest.mark.parametrize("files", [("frappe.csv", "meta.csv"), ("log.parquet", "apps.parquet")])
def test_the_log_of_frappe_becomes_pairs_with_negatives(files, tmp_path):
    for frame, file in zip(frappe_log(), files):
        frame.to_csv(tmp_path / file, sep="\t", index=False) if file.endswith("csv") else frame.to_parquet(tmp_path / file)
    data = load_frappe(tmp_path)
    assert data.name == "frappe_pairs" and sum(t.num_rows for t in (data.train, data.valid, data.test)) == 3 * 60 * 8
    assert np.mean(column(data.train, "label")) == pytest.approx(1 / 3)
    categories = dict(zip(column(data.train, "item"), column(data.train, "category")))
    assert categories == {item: None if item == 5 else f"c{item % 4}" for item in range(30)}


def test_a_folder_without_frappe_says_where_it_is_to_be_had_and_a_wrong_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"load_frappe needs a folder with.*frappe\.csv or log\.parquet.*forbid.*baltrunas"):
        load_frappe(tmp_path)
    (tmp_path / "frappe.csv").write_text("user,item\n1,2\n")
    (tmp_path / "meta.csv").write_text("item\tcategory\n2\tgame\n")
    with pytest.raises(DataError, match=r"frappe\.csv: must hold the columns \['user', 'item'\], with tabs between them"):
        load_frappe(tmp_path)


def test_frappe_as_it_is():
    data = load_frappe(shared("frappe"))
    assert [table.num_rows for table in (data.train, data.valid, data.test)] == [202_027, 57_722, 28_860]
    data.train.require([*data.schema.features, *data.schema.roles])


# ---------------------------------------------------------------------------------------------------------------- movielens


FILMS = {1: ("Toy Story (1995)", "Animation|Comedy"), 2: ("Fish: a tale, with \"words\" (2001)", "Drama"), 7: ("unknown", "")}
"""The films of every form; one has a name that each form writes in its own way, one neither year nor genres."""

NOON = 12 * 3600


def ratings(rows: int = 200) -> list[tuple[int, int, float, int]]:
    """User, film, stars, time; the films' order is not that of their list, and ratings come not in the order of time."""
    rng = np.random.default_rng(1)
    times = rng.permutation(rows) * 60 + NOON
    return [(int(rng.integers(1, 9)), (7, 1, 2)[row % 3], float(rng.integers(1, 6)), int(times[row])) for row in range(rows)]


def latest(folder: Path) -> None:
    films = [(item, title, genres or movielens.NO_GENRE) for item, (title, genres) in FILMS.items()]
    pd.DataFrame(films, columns=["movieId", "title", "genres"]).to_csv(folder / "movies.csv", index=False)
    pd.DataFrame(ratings(), columns=["userId", "movieId", "rating", "timestamp"]).to_csv(folder / "ratings.csv", index=False)


def as_parquet(folder: Path) -> None:
    latest(folder)
    for name in ("movies", "ratings"):
        pd.read_csv(folder / f"{name}.csv").to_parquet(folder / f"{name}.parquet")
        (folder / f"{name}.csv").unlink()


def one_million(folder: Path) -> None:
    films = [f"{item}::{title}::{genres}\n" for item, (title, genres) in FILMS.items()]
    (folder / "movies.dat").write_text("".join(films), encoding="latin-1")
    (folder / "ratings.dat").write_text("".join(f"{u}::{i}::{stars:.0f}::{time}\n" for u, i, stars, time in ratings()))
    (folder / "users.dat").write_text("1::F::1::10::48067\n")


def hundred_thousand(folder: Path) -> None:
    def film(item: int, title: str, genres: str) -> str:
        flags = "|".join("1" if genre in genres.split("|") else "0" for genre in movielens.GENRES)
        return f"{item}|{title}|01-Jan-1995||http://us.imdb.com/caf\xe9|{flags}\n"

    (folder / "u.item").write_text("".join(film(item, *said) for item, said in FILMS.items()), encoding="latin-1")
    (folder / "u.data").write_text("".join(f"{u}\t{i}\t{stars:.0f}\t{time}\n" for u, i, stars, time in ratings()))


FORMS: dict[str, Callable[[Path], None]] = {
    "latest": latest, "parquet": as_parquet, "1M": one_million, "100K": hundred_thousand}


@pytest.mark.parametrize("form", FORMS)
def test_what_was_liked_is_ready_for_a_recommender(form, tmp_path):
    FORMS[form](tmp_path)
    likes = load_movielens_likes(tmp_path)
    assert likes.interactions.to_pylist() == [{"user": user, "item": item, "timestamp": time}
                                              for user, item, stars, time in ratings() if stars >= 4]
    assert likes.items.to_pydict() == {"item": [1, 2, 7], "genres": [["Animation", "Comedy"], ["Drama"], []],
                                       "year": [1995, 2001, None]}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_movielens_is_the_same_table(form, tmp_path):
    FORMS[form](tmp_path)
    found = movielens.table_of(tmp_path).to_pylist()
    expected = [{"user": user, "item": item, "liked": int(stars >= 4), "genres": FILMS[item][1], "hour": time // 3600 % 24,
                 "year": {1: 1995, 2: 2001, 7: None}[item], "rating": stars, "timestamp": time}
                for user, item, stars, time in ratings()]
    assert found == expected


def test_the_latest_ratings_are_the_test_rows_and_of_the_others_the_latest_are_held_out(tmp_path):
    latest(tmp_path)
    data = load_movielens(tmp_path)
    assert (data.train.num_rows, data.test.num_rows) == (160, 40)
    assert max(column(data.train, "timestamp")) < min(column(data.test, "timestamp"))
    assert "Not for commercial use" in data.citation and "for development" in data.citation and "TiiS" not in data.citation
    model = wd.fit(replace(data.schema, training=replace(data.schema.training, epochs=1)), data.train, valid=0.1, seed=0,
                   progress=False)
    assert model.record["split"]["how"] == "time" and model.record["split"]["late_training_rows"] == 0
    assert "genres" in model.encoder.multivalued


@pytest.mark.parametrize(("form", "file", "content", "message"), [
    ("latest", "ratings.csv", "userId,movieId,rating\n1,2,3\n", r"ratings\.csv: must hold the columns userId, movieId,"),
    ("latest", "ratings.csv", "userId,movieId,rating,timestamp\n1,2,many,4\n", r"ratings\.csv: must hold.*'many'"),
    ("latest", "movies.csv", "movieId,title,genres\n1,a (1990),Drama\n", r"every film that is rated must be listed\..*item 7"),
    ("1M", "ratings.dat", "1::2::5\n", r"ratings\.dat: must hold user, item, rating and timestamp in every line"),
    ("1M", "movies.dat", "1::a\n2::b (1990)::Drama\n", r"movies\.dat, line 1: a film is its number, title and genres.*'1::a'"),
    ("100K", "u.item", "1|a|b\n", r"u\.item, line 1: a film is")])
def test_a_file_of_movielens_that_is_not_in_its_form_is_named(form, file, content, message, tmp_path):
    FORMS[form](tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(DataError, match=message):
        movielens.table_of(tmp_path)


def test_a_folder_without_movielens_says_where_it_is_to_be_had(tmp_path):
    with pytest.raises(DataError, match=r"load_movielens needs the folder of an unpacked MovieLens set.*grouplens\.org"):
        load_movielens(tmp_path)


def test_movielens_as_it_is():
    data = load_movielens(shared("ml_latest_small"))
    assert (data.train.num_rows, data.test.num_rows) == (80_669, 20_167)
    assert 0.4 < np.mean(column(data.train, "liked")) < 0.55


# ------------------------------------------------------------------------------------------------------------------- criteo


def click_log(folder: Path, rows: int = 700) -> Path:
    """train.txt: the label is that of I1; some fields are empty."""
    rng = np.random.default_rng(2)
    lines = []
    for _ in range(rows):
        label = int(rng.random() < 0.4)
        numbers = [str(10 * label), *("" if rng.random() < 0.2 else str(rng.integers(-2, 99)) for _ in criteo.NUMBERS[1:])]
        texts = ["" if rng.random() < 0.2 else f"{rng.integers(0, 5):08x}" for _ in criteo.VALUES]
        lines.append("\t".join([str(label), *numbers, *texts]))
    (folder / "train.txt").write_text("\n".join(lines) + "\n")
    return folder / "train.txt"


def test_criteo_is_read_as_it_stands_and_the_last_seventh_is_for_testing(tmp_path):
    path = click_log(tmp_path, rows=703)
    data = load_criteo(path)
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert (data.train.num_rows, data.test.num_rows) == (603, 100)
    assert column(data.train, "C7") + column(data.test, "C7") == [line[20] or None for line in lines]
    assert column(data.train, "I13") + column(data.test, "I13") == [int(line[13]) if line[13] else None for line in lines]
    days = column(data.train, "day") + column(data.test, "day")
    assert days == sorted(days) and np.bincount(days).tolist() == [101, 100, 101, 100, 101, 100, 100]
    assert set(column(data.test, "day")) == {6} and "Criteo's terms" in data.citation


def test_a_stream_of_criteo_trains_and_holds_out_the_latest_seventh(tmp_path):
    data = load_criteo(click_log(tmp_path))
    schema = replace(data.schema, deep=replace(data.schema.deep, hidden=(8,), width=4),
                     training=replace(data.schema.training, batch=64, epochs=2))
    model = wd.fit(schema, data.train, valid=0.1, seed=0, stream=True, progress=False)
    assert model.record["split"]["rows"] == {"train": 500, "valid": 100}
    assert wd.evaluate(model, data.test)["auc"] > 0.95


def test_what_is_written_is_what_is_read_again(tmp_path):
    data = load_criteo(click_log(tmp_path))
    data.write(tmp_path / "criteo")
    again = load_criteo(tmp_path / "criteo")
    for part in ("train", "test"):
        columns = getattr(data, part).columns
        assert getattr(data, part).read(columns).equals(getattr(again, part).read(columns))
    assert Schema.read(tmp_path / "criteo" / "schema.toml") == again.schema == data.schema
    assert again.train.type_of("day") == pa.int8()
    with pytest.raises(ArtifactError, match="exists, and nothing is written over"):
        data.write(tmp_path / "criteo")


def test_a_split_that_others_drew_is_not_taken_for_one_by_time(tmp_path):
    lines = click_log(tmp_path).read_text().replace("\t", ",").splitlines()
    header = ",".join(criteo.FIELDS)
    for part, rows in (("train", lines[:500]), ("valid", lines[500:600]), ("test", lines[600:])):
        (tmp_path / f"{part}.csv").write_text("\n".join([header, *rows, ""]))
    data = load_criteo(tmp_path)
    assert [table.num_rows for table in (data.train, data.valid, data.test)] == [500, 100, 100]
    assert data.schema.time is None and data.schema.training.split == "random"
    data.valid.require([*data.schema.features, *data.schema.roles])


@pytest.mark.parametrize(("line", "got"), [("1\t2\t3", r"'1\\t2\\t3"), ("1\t" + "x\t" * 38 + "y", r"'1\\tx\\tx")])
def test_a_line_of_criteo_that_is_none_is_named(line, got, tmp_path):
    path = click_log(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:30], line, *lines[30:]]))
    with pytest.raises(DataError, match=rf"train\.txt: each line must have 40 fields with tabs.*Got, in line 31, {got}"):
        load_criteo(path).train.read(["I1"])


# -------------------------------------------------------------------------------------------------------------------- avazu


AVAZU = ("id", "click", "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain",
         "app_category", "device_id", "device_ip", "device_model", "device_type", "device_conn_type",
         *(f"C{number}" for number in range(14, 22)))


def avazu(rows_of_hours: dict[int, int]) -> pd.DataFrame:
    """So many rows of each hour; the click is that of site_id."""
    hours = np.repeat(list(rows_of_hours), list(rows_of_hours.values()))
    rng = np.random.default_rng(3)
    found = {name: rng.integers(0, 6, len(hours)) for name in AVAZU} | {"id": np.arange(len(hours)) + 10**18, "hour": hours}
    found["click"] = rng.integers(0, 2, len(hours))
    return pd.DataFrame(found).assign(site_id=[f"{click:08x}" for click in found["click"]])


HOURS = {14102300 + hour: 20 for hour in range(24)} | {14102900 + hour: 10 for hour in range(24)} | {14103023: 100}


def test_the_last_day_of_avazu_is_for_testing_and_the_hour_becomes_what_comes_again(tmp_path):
    avazu(HOURS).to_csv(tmp_path / "train.csv", index=False)
    data = load_avazu(tmp_path / "train.csv")
    assert (data.train.num_rows, data.test.num_rows) == (720, 100)
    assert set(column(data.test, "time")) == {pd.Timestamp("2014-10-30 23:00")}
    assert set(column(data.test, "hour_of_day")) == {23}
    assert column(data.test, "weekday")[0] == 3   # a Thursday
    assert column(data.train, "hour_of_day")[:21] == [0] * 20 + [1]
    schema = replace(data.schema, deep=replace(data.schema.deep, hidden=(8,), width=4),
                     training=replace(data.schema.training, batch=64, epochs=2))
    model = wd.fit(schema, data.train, valid=0.1, seed=0, cache=tmp_path / "cache", progress=False)
    assert model.record["split"]["how"] == "time" and wd.evaluate(model, data.test)["auc"] > 0.95


def test_avazu_in_parts_has_the_same_columns(tmp_path):
    rows = avazu(HOURS)
    rows.to_csv(tmp_path / "train.csv", index=False)
    data = load_avazu(tmp_path / "train.csv")
    data.write(tmp_path / "written")
    again = load_avazu(tmp_path / "written")
    assert again.train.read(data.train.columns).equals(data.train.read(data.train.columns)) and again.schema == data.schema
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    for number, part in enumerate(("train", "valid", "test")):
        rows[rows.index % 3 == number].to_parquet(drawn / f"{part}.parquet")
    parts = load_avazu(drawn)
    assert parts.schema.time is None and column(parts.valid, "hour_of_day")[-1] == 23
    assert {part.num_rows for part in (parts.train, parts.valid, parts.test)} <= {273, 274}


def test_hours_that_are_none_and_a_single_day_are_refused(tmp_path):
    rows = avazu(HOURS)
    rows[:50].to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(DataError, match=r"there must be two at least\. Got one day, 50 rows"):
        load_avazu(tmp_path / "train.csv")
    rows.assign(hour=rows["hour"].astype(str).where(rows.index != 77, "noon")).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(DataError, match=r"train\.csv: column 'hour' holds hours such as 14102123.*Got 'noon' in row 77\."):
        load_avazu(tmp_path / "train.csv")


@pytest.mark.parametrize(("load", "message"), [
    (load_criteo, r"load_criteo needs train\.txt.*terms must be agreed to.*kaggle\.com/c/criteo"),
    (load_avazu, r"load_avazu needs train\.csv.*train\.gz unpacked.*kaggle\.com/c/avazu")])
def test_files_that_are_not_there_are_refused_with_where_to_get_them(load, message, tmp_path):
    for path in (tmp_path, tmp_path / "train"):
        with pytest.raises(DataError, match=message):
            load(path)


def schemas() -> dict[str, Schema]:
    with tempfile.TemporaryDirectory() as folder:
        click_log(Path(folder))
        latest(Path(folder))
        avazu(HOURS).to_csv(f"{folder}/avazu.csv", index=False)
        sets = (load_criteo(f"{folder}/train.txt"), load_movielens(folder), load_avazu(f"{folder}/avazu.csv"))
    own = {made.__name__: made.schema() for made in (adult, mnist, frappe, frappe_pairs)}
    return own | {data.name: data.schema for data in sets}


def test_every_schema_has_crosses_uses_all_it_declares_and_survives_its_file():
    for name, schema in schemas().items():
        assert Schema.from_toml(schema.to_toml()) == schema, name
        assert {*schema.used} == {*schema.columns} and not {*schema.roles[:1]} & {*schema.features}, name
        assert any(isinstance(schema.columns[one], Crossed) for one in schema.wide.columns) and schema.deep.columns, name


def test_the_front_door_leads_to_the_sets():
    assert wd.datasets.load_adult is load_adult
