"""Interactions: numbers in place of ids, one rule for each thing that tables are like, and a message for each mistake."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.recommend.interactions import Interactions

NAMES = {"user": "who", "item": "what", "time": "when", "weight": "stars"}
PLAIN = {"who": ["bob", "ann", "bob", "cat"], "what": [7, 9, 3, 7], "when": [40, 20, 20, 10], "stars": [1.0, 2.0, 3.0, 4.0]}


def of(columns=PLAIN, **options):
    table = pa.table(columns) if isinstance(columns, dict) else columns
    return Interactions.of(table, **{role: name for role, name in NAMES.items() if name in table.column_names}, **options)


def ids(found):
    """Rows as ids, in the order in which they are kept."""
    return list(zip(found.user_ids.take(found.user).to_pylist(), found.item_ids.take(found.item).to_pylist()))


def test_rows_come_in_order_of_time_and_those_of_one_time_by_user_and_item():
    found = of()
    assert ids(found) == [("cat", 7), ("ann", 9), ("bob", 3), ("bob", 7)]
    assert found.weight.tolist() == [4, 2, 3, 1] and found.unordered == 3
    assert found.time.tolist() == [dt.datetime(1970, 1, 1, 0, 0, second) for second in (10, 20, 20, 40)]
    assert (found.user_ids.to_pylist(), found.item_ids.to_pylist()) == (["ann", "bob", "cat"], [3, 7, 9])


def test_many_rows_of_one_time_come_in_the_order_of_their_ids():
    found = of({"who": [0] * 1_000, "what": np.random.default_rng(0).permutation(1_000), "when": [5, 4] * 500})
    before = np.random.default_rng(0).permutation(1_000)
    assert found.item.tolist() == [*sorted(before[1::2]), *sorted(before[::2])]


def test_the_earliest_of_the_same_pair_stays_with_its_weight():
    columns = {"who": [1, 1, 1, 2], "what": [5, 5, 5, 5], "when": [30, 10, 10, 40], "stars": [1.0, 2.0, 3.0, 4.0]}
    found = of(columns)
    assert ids(found) == [(1, 5), (2, 5)] and found.weight.tolist() == [2, 4] and found.duplicates == 2
    without = of({name: columns[name] for name in ("who", "what", "stars")})   # then the first row is the earliest
    assert without.weight.tolist() == [1, 4] and without.duplicates == 2 and without.time is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)), min_size=1),
       st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows, random):
    mixed = random.sample(rows, len(rows))
    one, other = (of(dict(zip(("who", "what", "when"), map(list, zip(*some))))) for some in (rows, mixed))
    assert ids(one) == ids(other) and (one.user == other.user).all() and (one.time == other.time).all()
    assert one.duplicates == other.duplicates == len(rows) - len({row[:2] for row in rows})


@pytest.mark.parametrize("source", ["pandas", "parquet", "csv", "dictionary"])
def test_tables_of_every_kind_give_the_same(source, tmp_path):
    table = pa.table(PLAIN)
    if source == "dictionary":
        table = table.set_column(0, "who", table["who"].dictionary_encode())
    elif source == "pandas":
        table = table.to_pandas()
    elif source == "parquet":
        pq.write_table(table, tmp_path / "rows.parquet")
        table = tmp_path / "rows.parquet"
    else:
        pd.DataFrame(PLAIN).to_csv(tmp_path / "rows.csv", index=False)
        table = tmp_path / "rows.csv"
    found = Interactions.of(table, **NAMES)
    assert ids(found) == ids(of()) and (found.time == of().time).all() and found.user_ids.equals(of().user_ids)


@pytest.mark.parametrize(("when", "unit"), [
    ([1_700_000_000, 1_700_086_400], "s"), ([1_700_000_000_000, 1_700_086_400_000], "ms"),
    ([1_700_000_000.0, 1_700_086_400.0], "s"), (["2023-11-14 22:13:20", "2023-11-15 22:13:20"], "s"),
    ([dt.datetime(2023, 11, 14, 22, 13, 20), dt.datetime(2023, 11, 15, 22, 13, 20)], "s"),
    (pa.array([1_700_000_000, 1_700_086_400]).cast(pa.timestamp("s", "Europe/Paris")), "s"),
    (pa.array([1_700_000_000, 1_700_086_400]).cast(pa.timestamp("s")).cast(pa.timestamp("ns")), "s"),
])
def test_a_time_is_the_same_in_whatever_form(when, unit):
    found = of({"who": [1, 2], "what": [1, 2], "when": when}, unit=unit)
    assert found.time.astype("datetime64[s]").astype(int).tolist() == [1_700_000_000, 1_700_086_400]


def test_days_and_dates():
    dates = of({"who": [1, 2], "what": [1, 2], "when": [dt.date(1970, 1, 4), dt.date(1970, 1, 6)]})
    assert (of({"who": [1, 2], "what": [1, 2], "when": [3, 5]}, unit="D").time == dates.time).all()


def test_further_ids_get_numbers_too():
    found = of(users=["zoe", "ann"], items=range(2, 5))
    assert found.user_ids.to_pylist() == ["ann", "bob", "cat", "zoe"] and found.item_ids.to_pylist() == [2, 3, 4, 7, 9]
    assert ids(found) == ids(of()) and found.counts.tolist() == [0, 1, 0, 2, 1] and found.matrix.shape == (4, 5)


def test_the_matrix_holds_weights_or_ones():
    assert of().matrix.toarray().tolist() == [[0, 0, 2], [3, 1, 0], [0, 4, 0]]
    assert of({"who": [1, 1, 2], "what": [5, 6, 6]}).matrix.toarray().tolist() == [[1, 1], [0, 1]]


def test_items_of_users_come_in_order_of_time_and_unknown_users_have_none():
    found = of(users=["zoe"])
    numbers = found.user_numbers(["bob", "zoe", "nobody", "cat"])
    assert numbers.tolist() == [1, 3, -1, 2]
    bag = found.of_users(numbers)
    assert found.item_ids.take(bag.flat).to_pylist() == [3, 7, 7] and bag.splits.tolist() == [0, 2, 2, 2, 3]
    assert len(found.of_users()) == found.users and found.of_users().flat.tolist() == [2, 0, 1, 1]


def test_ids_are_looked_up_whatever_they_come_in():
    found = of()
    kinds = [7, 8], (7, 8), np.array([7, 8], np.int16), pd.Series([7, 8]), pa.array([7, 8]), pa.chunked_array([[7], [8]])
    for asked in kinds:
        assert found.item_numbers(asked).tolist() == [1, -1]
    assert found.item_numbers([]).tolist() == []
    assert found.user_numbers(pd.Series(["ann"], dtype="category")).tolist() == [0]


def test_rows_under_other_numbers_are_the_same_rows():
    found = of()
    other = found.numbered(pa.array(["abe", *found.user_ids.to_pylist()], pa.large_string()), pa.array([1, 3, 7, 8, 9]))
    assert ids(other) == ids(found) and other.user.tolist() != found.user.tolist()
    with pytest.raises(DataError, match="hold all that these interactions have. Got some that lack one"):
        found.numbered(found.user_ids[1:], found.item_ids)


def with_(**columns):
    return lambda: of({**PLAIN, **columns})


@pytest.mark.parametrize(("call", "message"), [
    (with_(who=["bob", None, "bob", "cat"]), "Arrow table: every interaction has its 'who'. Got none in row 1. Fill it in"),
    (with_(what=[7, 8, 9, None]), "has its 'what'. Got none in row 3"),
    (with_(when=[1.0, 2.0, float("nan"), None]), "has its 'when'. Got none in row 2"),
    (with_(stars=[None, 1.0, 1.0, 1.0]), "has its 'stars'. Got none in row 0"),
    (with_(who=[0.5, 1.0, 2.0, 3.0]), "Arrow table: 'who': ids are text or whole numbers. Got double, first 0.5"),
    (with_(what=[True, False, True, True]), "'what': ids are text or whole numbers. Got bool"),
    (with_(what=pa.array([2**63, 1, 2, 3], pa.uint64())), "whole numbers as ids fit 64 bits.* Use text"),
    (with_(stars=[1.0, 0.0, 1.0, 1.0]), "a weight is finite and above 0. Got 0.0 in 'stars', row 1. Drop the row"),
    (with_(stars=[1.0, 1.0, np.inf, 1.0]), "a weight is finite and above 0. Got inf in 'stars', row 2"),
    (with_(stars=["a", "b", "c", "d"]), "weights are numbers. Got string in 'stars'"),
    (with_(when=["x", "y", "z", "x"]), "the time column 'when' holds numbers, dates or timestamps"),
    (with_(when=[10, 20, 1_700_000_000_000, 30]), r"between 1900 and 2200; numbers count 's' since 1970. Got 1700000000000 in "
                                                  r"row 2. Pass unit=, one of \['s', 'ms'"),
    (with_(when=[1.0, 2.0, 3.0, 1e30]), "between 1900 and 2200.* Got 1e\\+30 in row 3"),
    (with_(when=[dt.time(1), dt.time(2), dt.time(3), dt.time(4)]), "holds times with their day. Got time64"),
    (lambda: of(unit="h"), r"one of \['s', 'ms', 'us', 'ns', 'D'\]. Got 'h'"),
    (lambda: Interactions.of(pa.table(PLAIN), user="woh", item="what"), r"lacks columns: \['woh'\]. .* Did you mean 'who'"),
    (lambda: Interactions.of("no.parquet", user="who", item="what"), "no.parquet: there is no such file"),
    (lambda: of(items=["a"]), "ids in 'what': text in both tables, or whole numbers in both. Got int64 and large_string"),
    (lambda: of(items=[1, None]), "what: an id is there. Got none at place 1"),
    (lambda: of().user_numbers([1]), "user: ids are of one type, here large_string. Got int64, first 1. Convert them"),
    (lambda: of().user_numbers(["a", 1]), "user: ids are all text, or all whole numbers"),
])
def test_every_mistake_has_its_message(call, message):
    with pytest.raises(DataError, match=message):
        call()
