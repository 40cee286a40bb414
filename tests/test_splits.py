"""Validation rows: the right ones, the same ones, and none on both sides."""

from __future__ import annotations

import datetime
import itertools
import json

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_tables import rows_of, schema_of, write_parquet
from widedeep import csv_files
from widedeep.columns import Numeric
from widedeep.errors import DataError, WidedeepWarning
from widedeep.schema import SPLITS, Training
from widedeep.splits import given_split, split
from widedeep.tables import Table


def split_schema(how="random", **roles):
    return schema_of({"x": Numeric()}, training=Training(split=how), **roles)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_any_arrow_type_can_be_read_and_split(kind):
    table = Table.of(pa.table({"job": pa.array(["a", None, "b"] * 100).cast(kind), "x": range(300)}))
    halves = split(table, split_schema(), 0.5, seed=1)
    both = rows_of(halves.train, ["x", "job"]) + rows_of(halves.valid, ["x", "job"])
    assert sorted(both, key=lambda row: row["x"]) == [{"x": x, "job": ["a", None, "b"][x % 3]} for x in range(300)]


def sides(halves, column="x"):
    return [[row[column] for row in rows_of(table, [column])] for table in (halves.train, halves.valid)]


@given(st.integers(0, 2**63), st.floats(0.05, 0.95))
def test_a_random_split_gives_each_row_to_one_side_in_order_and_near_the_fraction(seed, fraction):
    halves = split(Table.of(pa.table({"x": range(2000)})), split_schema(), fraction, seed)
    train, valid = sides(halves)
    assert sorted(train + valid) == list(range(2000)) and train == sorted(train) and valid == sorted(valid)
    assert abs(len(valid) - 2000 * fraction) < 6 * (2000 * fraction * (1 - fraction)) ** 0.5
    assert halves.record["rows"] == {"train": len(train), "valid": len(valid)}
    assert (halves.train.num_rows, halves.valid.num_rows) == (len(train), len(valid))


@pytest.mark.parametrize("how", SPLITS)
def test_a_split_does_not_depend_on_the_source_or_its_batches(how, tmp_path, monkeypatch):
    content = {"x": list(range(500)), "user": [i * 7 % 40 for i in range(500)], "day": [i * 13 % 100 for i in range(500)]}
    sources = [pa.table(content), write_parquet(tmp_path, content, "a.parquet"), tmp_path / "rows.csv",
               write_parquet(tmp_path, content, "b.parquet", row_group_size=7)]
    pd.DataFrame(content).to_csv(sources[2], index=False)
    roles = {"random": {}, "group": {"group": "user"}, "time": {"time": "day"}}[how]
    schema = split_schema(how, **roles)
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 100)
    halves = [split(Table.of(source, schema), schema, 0.3, seed=5) for source in sources]
    assert len({half.record["fingerprint"] for half in halves}) == 1
    assert sides(halves[0]) == sides(halves[1]) == sides(halves[2]) == sides(halves[3])
    assert rows_of(halves[3].valid, ["x"], rows=3) == rows_of(halves[0].valid, ["x"])


def test_a_seed_decides_the_split_and_its_fingerprint():
    table = Table.of(pa.table({"x": range(300), "user": [i % 60 for i in range(300)]}))
    for schema in (split_schema(), split_schema("group", group="user")):
        records = [split(table, schema, 0.4, seed).record for seed in (1, 1, 2)]
        assert records[0] == records[1] and records[0]["fingerprint"] != records[2]["fingerprint"]


GROUPS = st.sampled_from(["", "a", "b", "ä", *map(str, range(12))])


@given(st.lists(GROUPS, min_size=2, max_size=60), st.integers(0, 99), st.floats(0.2, 0.8))
def test_a_group_split_never_divides_a_group(groups, seed, fraction):
    table = Table.of(pa.table({"x": range(len(groups)), "user": groups}))
    try:
        halves = split(table, split_schema("group", group="user"), fraction, seed)
    except DataError as error:
        assert "both sides of a split must have rows" in str(error)
        return
    train, valid = sides(halves, "user")
    assert not {*train} & {*valid} and sorted(train + valid) == sorted(groups)
    assert halves.record["shared_groups"] == 0


def test_a_group_split_takes_about_the_fraction_of_groups():
    users = [f"user-{i % 2000}" for i in range(6000)]
    halves = split(Table.of(pa.table({"x": range(6000), "user": users})), split_schema("group", group="user"), 0.25, seed=0)
    assert 0.2 < len({*sides(halves, "user")[1]}) / 2000 < 0.3


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40).filter(lambda times: len({*times}) > 1), st.floats(0.05, 0.95))
def test_a_time_split_takes_the_latest_rows_up_to_the_cut_nearest_to_the_fraction(times, fraction):
    halves = split(Table.of(pa.table({"day": times})), split_schema("time", time="day"), fraction, seed=0)
    train, valid = sides(halves, "day")
    assert max(train) < min(valid) and sorted(train + valid) == sorted(times)
    shares = [sum(time >= cut for time in times) for cut in {*times} - {min(times)}]
    nearest = min(abs(share - fraction * len(times)) for share in shares)
    assert abs(len(valid) - fraction * len(times)) == pytest.approx(nearest)
    assert halves.record["late_training_rows"] == 0


@pytest.mark.parametrize("times", [
    pa.array([datetime.datetime(2024, 1, day) for day in (3, 1, 4, 2)]),
    pa.array([datetime.date(2024, 1, day) for day in (3, 1, 4, 2)]),
    pa.array(["2024-01-03", "2024-01-01 10:00:00", "2024-01-04", "2024-01-02"]),
    pa.array(["10", "8", "11", "9"]), pa.array([1.5, 0.0, 2.5, 1.0]),
    pa.array(["2024-01-03T00:00:00+01:00", "2024-01-01T00:00:00Z", "2024-01-04T00:00:00Z", "2024-01-02T00:00:00Z"]),
    pa.array([10, 8, 11, 9]).dictionary_encode()])
def test_times_are_compared_as_times_whatever_their_type(times):
    halves = split(Table.of(pa.table({"x": [3, 1, 4, 2], "day": times})), split_schema("time", time="day"), 0.5, seed=0)
    assert sides(halves) == [[1, 2], [3, 4]]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_zero_and_one_is_refused(fraction):
    with pytest.raises(DataError, match=r"must lie in \(0, 1\)\. Got .*Give 0\.1 for a tenth"):
        split(Table.of(pa.table({"x": [1, 2]})), split_schema(), fraction, 0)


@pytest.mark.parametrize(("how", "roles"), [("random", {}), ("group", {"group": "g"}), ("time", {"time": "g"})])
def test_an_empty_side_is_refused_with_what_to_do(how, roles):
    message = rf"Got no (training|validation) rows by split = '{how}' with fraction 0\.001 of 3 rows\. Change the fraction"
    with pytest.raises(DataError, match=message):
        split(Table.of(pa.table({"x": [1, 2, 3], "g": [7, 7, 7]})), split_schema(how, **roles), 0.001, seed=0)


@pytest.mark.parametrize(("how", "role"), [("group", "group"), ("time", "time")])
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_null_in_the_deciding_column_is_named_by_row(how, role, missing):
    table = Table.of(pa.table({"x": [1, 2, 3], "g": pa.chunked_array([[1.0, 2.0], [missing]], pa.float64())}))
    with pytest.raises(DataError, match=r"a split by 'g' needs its value in every row\. Got null in row 2\. Fill it in"):
        split(table, split_schema(how, **{role: "g"}), 0.5, 0)


def test_deciding_columns_of_impossible_types_are_refused():
    table = Table.of(pa.table({"x": [1, 2], "g": [[1], [2]], "day": ["monday", "tuesday"]}))
    with pytest.raises(DataError, match=r"the group column 'g' holds one value per row, text or a number\. Got list"):
        split(table, split_schema("group", group="g"), 0.5, 0)
    with pytest.raises(DataError, match=r"the time column 'day' holds numbers, dates or .*Got string, first 'monday'"):
        split(table, split_schema("time", time="day"), 0.5, 0)
    table = Table.of(pa.table({"x": [1, 2], "day": pa.array([1, 2], pa.duration("s"))}))
    with pytest.raises(DataError, match=r"the time column 'day' holds numbers, dates or .*Got duration\[s\]"):
        split(table, split_schema("time", time="day"), 0.5, 0)


def test_groups_on_both_sides_and_late_training_rows_are_counted_recorded_and_warned_of():
    schema = split_schema(group="user", time="day")
    train = Table.of(pa.table({"x": [1, 2, 3, 4], "y": [0, 1, 0, 1], "user": ["7", "b", "c", None], "day": [1, 5, 6, 4]}))
    valid = Table.of(pa.table({"x": [1, 2, 3], "y": [0, 1, 0], "user": [7, 8, None], "day": [5, 4, 9]}))
    with pytest.warns(WidedeepWarning) as caught:
        halves = given_split(train, valid, schema)
    groups, times = (str(warning.message) for warning in caught)
    assert groups.startswith("1 groups of 'user' stand on both sides") and 'split = "group"' in groups
    assert times.startswith("2 training rows are later, by 'day',") and 'split = "time"' in times
    assert caught[0].filename == __file__
    columns = ["x", "y", "user", "day"]
    assert halves.record == {"how": "given", "rows": {"train": 4, "valid": 3}, "shared_groups": 1, "late_training_rows": 2,
                             "fingerprint": {"train": train.fingerprint(columns), "valid": valid.fingerprint(columns)}}
    assert (halves.train, halves.valid) == (train, valid)


def test_after_a_split_by_time_groups_may_come_again(recwarn):
    rows = pa.table({"x": range(40), "user": [i % 5 for i in range(40)], "day": range(40)})
    halves = split(Table.of(rows), split_schema("time", group="user", time="day"), 0.3, seed=0)
    assert halves.record["shared_groups"] == 5 and not recwarn.list


def test_a_random_split_of_grouped_rows_warns_with_the_true_count():
    users = [i % 50 for i in range(400)]
    with pytest.warns(WidedeepWarning, match="groups of 'user' stand on both sides"):
        halves = split(Table.of(pa.table({"x": range(400), "user": users})), split_schema(group="user"), 0.3, seed=3)
    train, valid = sides(halves, "user")
    assert halves.record["shared_groups"] == len({*train} & {*valid})
    assert json.loads(json.dumps(halves.record)) == halves.record


DAYS = [datetime.datetime(2024, 1, day) for day in (1, 5, 6, 4)]
FAR = [*DAYS, datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1)]
WHOLE, LARGE, BROKEN = [1, 5, 6, 4], [1, 5, 6, 4, 2**64 - 1], [1.25, 5, 6, 4.5]
TIMES = [(DAYS, pa.array(DAYS, kind)) for kind in (
    pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("s", "Asia/Tokyo"), pa.date32(), pa.date64())]
TIMES += [(FAR, pa.array(FAR, pa.date32())), (DAYS, pa.array([f"{day:%Y-%m-%d}" for day in DAYS])),
          (DAYS, pa.array([f"{day:%Y-%m-%d %H:%M:%SZ}" for day in DAYS]).dictionary_encode())]
NUMBERS = [(WHOLE, pa.array(WHOLE, kind)) for kind in (pa.int8(), pa.int32(), pa.int64(), pa.float32())]
NUMBERS += [(LARGE, pa.array(LARGE, pa.uint64())), (BROKEN, pa.array(BROKEN)), (WHOLE, pa.array(map(str, WHOLE))),
            (BROKEN, pa.array(map(str, BROKEN)))]


@pytest.mark.parametrize(("one", "other"), [pair for kind in (TIMES, NUMBERS) for pair in itertools.product(kind, repeat=2)],
                         ids=lambda times: str(times[1].type))
def test_times_of_two_tables_are_compared_whatever_their_types(one, other):
    (before, _), (after, _) = one, other
    train, valid = (Table.of(pa.table({"x": range(len(day)), "y": [0] * len(day), "day": day}))
                    for day in (one[1], other[1].slice(1)))
    late = sum(time > min(after[1:]) for time in before)
    with pytest.warns(WidedeepWarning, match=rf"^{late} training rows are later, by 'day'"):
        record = given_split(train, valid, split_schema(time="day")).record
    assert record["late_training_rows"] == late


def test_times_that_differ_by_less_than_a_microsecond_are_told_apart():
    schema = split_schema(time="day")
    one, other = (Table.of(pa.table({"x": [1], "y": [1], "day": pa.array([time], kind)}))
                  for time, kind in ((1_000_001, pa.timestamp("ns")), (1_000, pa.timestamp("us", "UTC"))))
    assert given_split(other, one, schema).record["late_training_rows"] == 0
    with pytest.warns(WidedeepWarning, match="1 training rows are later"):
        given_split(one, other, schema)


def test_a_given_split_without_overlap_is_silent_and_numbers_are_not_compared_with_times():
    schema = split_schema(group="user", time="day")
    early, late = ({"x": [1], "y": [1], "user": [user], "day": [user]} for user in (1, 2))
    record = given_split(Table.of(pa.table(early)), Table.of(pa.table(late)), schema).record
    assert (record["shared_groups"], record["late_training_rows"]) == (0, 0)
    late["day"] = [datetime.date(2024, 1, 2)]
    with pytest.raises(DataError, match=r"'day' must hold numbers on both sides of the split, or times on both\. Got int64 in "
                                        r"Arrow table and date32\[day\] in Arrow table\. Write both alike"):
        given_split(Table.of(pa.table(early)), Table.of(pa.table(late)), schema)
