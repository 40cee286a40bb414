"""From Parquet to ids, read ahead and by dictionaries: what plain rows give, to the bit and to the message."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_encoder import batch_of, plain, table_of, wide_schema
from tests.test_parquet_files import always_coded
from tests.test_tables import write_parquet
from widedeep import fitted
from widedeep.columns import Bucketized, Categorical, Crossed, Hashed, Numeric
from widedeep.encoder import Encoder, Tally
from widedeep.errors import DataError
from widedeep.rows import Bag, concatenate
from widedeep.schema import Wide
from widedeep.tables import Table
from widedeep.values import Lexicon, Place, categories

COLUMNS = {
    "word": Categorical("t"), "hash": Hashed("t", bins=9), "rare": Categorical("t", min_count=2), "whole": Hashed("i", bins=9),
    "text": Hashed("i", bins=9, dtype="string"), "tags": Categorical("l"), "split": Hashed("d", bins=9, delimiter="|"),
    "n": Numeric(), "bucket": Bucketized("n", boundaries=(0.0,)), "number": Numeric("as text"),
    "cross": Crossed(("word", "bucket", "hash"), bins=99), "bags": Crossed(("tags", "hash"), bins=99)}
KINDS = pa.schema([("t", pa.string()), ("i", pa.int64()), ("l", pa.list_(pa.string())), ("d", pa.string()), ("n", pa.float64()),
                   ("as text", pa.string()), ("y", pa.int64())])
ROWS = st.lists(st.tuples(
    st.none() | st.sampled_from(["", "?", "a", "b", "日本", "c"]), st.none() | st.integers(-2, 2),
    st.none() | st.lists(st.none() | st.sampled_from("ab?"), max_size=2), st.none() | st.sampled_from(["", "a|b", "?", "b||?"]),
    st.none() | st.sampled_from([1.5, -2.0, float("inf")]), st.none() | st.sampled_from(["1", "2.5", "?"])), max_size=24)
FIRST = [("a", 1, ["a"], "a|b", 1.0, "1", 0), ("a", 2, ["b"], "b", None, "2", 1)]


def parts_of(features):
    return {name: plain(part) for name, part in features.items()}


def found(tally):
    shares = {name: collisions.share for name, collisions in tally.collisions.items()}
    return tally.rows, tally.cells, tally.unseen, tally.spans, shares


@settings(max_examples=40)
@given(ROWS, st.integers(1, 9))
def test_parquet_by_dictionaries_is_encoded_as_plain_rows_are(tmp_path_factory, rows, group):
    rows = FIRST + [(*row, i % 2) for i, row in enumerate(rows)]
    table = pa.Table.from_pylist([dict(zip(KINDS.names, row)) for row in rows], KINDS)
    schema = wide_schema(COLUMNS, missing=("?",))
    path = write_parquet(tmp_path_factory.mktemp("ingest"), table, row_group_size=group)
    with always_coded():
        encoder = Encoder.fit(schema, Table.of(path))
    assert encoder == Encoder.fit(schema, table) and encoder.fingerprint == Encoder.fit(schema, table).fingerprint
    streamed, at_once = Tally(collisions={}), Tally(collisions={})
    expected = encoder.encode(batch_of(table), at_once)
    with always_coded():
        batches = [rows for rows, _ in encoder.stream(Table.of(path), streamed)]
    assert len(batches) >= len(table) / group
    assert parts_of(concatenate(batches).features) == parts_of(expected) and found(streamed) == found(at_once)
    assert all(type(part) is Bag or part.dtype == expected[name].dtype for b in batches for name, part in b.features.items())


def test_distinct_values_are_hashed_once_per_row_group_and_a_changed_dictionary_is_noticed(tmp_path, monkeypatch):
    rows, words = 160_000, np.array([f"word {i}" for i in range(200)], object)
    texts = words[np.r_[np.arange(rows // 2) % 100, 100 + np.arange(rows // 2) % 100]]
    path = write_parquet(tmp_path, {"t": texts, "y": np.arange(rows) % 2}, row_group_size=rows // 2)
    columns = {"a": Hashed("t", bins=1000), "b": Hashed("t", bins=9), "c": Crossed(("a", "b"), bins=9)}
    encoder = Encoder.fit(wide_schema(columns), Table.of(path))
    sizes, hashed = [], fitted.fingerprints
    monkeypatch.setattr(fitted, "fingerprints", lambda distinct: sizes.append(len(distinct)) or hashed(distinct))
    batches = [rows for rows, _ in encoder.stream(Table.of(path))]
    assert len(batches) == 4 and sizes == [100] * 4
    expected = encoder.encode(pa.RecordBatch.from_pydict({"t": texts}))["wide/ids"]
    np.testing.assert_array_equal(np.concatenate([batch.features["wide/ids"] for batch in batches]), expected)


def dictionary(values, codes, kind=None):
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(values, kind))


def test_a_lexicon_knows_a_dictionary_by_what_it_holds():
    lexicon, derived = Lexicon(), []
    for values, codes, expected in [
            (["a", "?", "b"], [0, 1, 2, None], ["a", None, "b", None]), (["a", "?", "b"], [2, 2], ["b", "b"]),
            (["a", "?", "c"], [2, 0], ["c", "a"]), (["?"], [0], [None]), (["a", "?", "c"], [2], ["c"]),
            (["c", "a"], [0], ["c"]), (["c", None], [0, 1, None], ["c", None, None]), ([], [], [])]:
        array = dictionary(values, codes, pa.string())
        cells = categories(array, "string", Place("x"), missing=("?",), lexicon=lexicon)
        sizes = cells.once("size", lambda distinct: derived.append(1) or np.array([len(distinct)]))
        assert [None if code < 0 else cells.distinct[code].as_py() for code in cells.codes.tolist()] == expected
        assert sizes.tolist() == [len(set(values) - {"?", None})]
    assert len(derived) == 7


@pytest.mark.parametrize(("values", "kind"), [(["1", "x"], "int"), ([1.0, 1.5], "string"), (["true", "maybe"], "bool")])
def test_entries_of_a_dictionary_that_do_not_occur_may_be_anything_and_those_that_do_are_named_with_their_row(values, kind):
    lexicon = Lexicon()
    cells = categories(dictionary(values, [0, None, 0]), kind, Place("x"), lexicon=lexicon)
    assert cells.codes.tolist() == [0, -1, 0] and len(cells.distinct) == 1
    with pytest.raises(DataError, match=f"Column 'x': values must be of kind {kind}. Got {values[1]!r} in row 2"):
        categories(dictionary(values, [0, None, 1]), kind, Place("x"), lexicon=lexicon)


def test_errors_from_the_threads_name_file_column_and_row_and_come_after_the_rows_before(tmp_path):
    rows = 150_000
    numbers = ["1"] * rows
    numbers[140_000] = "tall"
    content = {"x": numbers, "t": ["a"] * rows, "y": np.arange(rows) % 2}
    table = Table.of(write_parquet(tmp_path, content, row_group_size=70_000))
    schema = wide_schema({"x": Hashed(bins=9, dtype="int"), "t": Categorical()})
    message = r"rows\.parquet: Column 'x': values must be of kind int\. Got 'tall' in row 140000"
    with pytest.raises(DataError, match=message):
        Encoder.fit(schema, table)
    good = np.arange(rows) % 3 > 0
    encoder, tally, seen = Encoder.fit(schema, table.where(good & (np.arange(rows) != 140_000), "good")), Tally(), 0
    with pytest.raises(DataError, match=message):
        for batch, _ in encoder.stream(table, tally):
            seen += len(batch)
            assert tally.rows == seen
    assert seen == 140_000
    with pytest.raises(DataError, match=r"rows\.parquet \(chosen\): .*Got 'tall' in row 140000"):
        encoder.rows(table.where(good | (np.arange(rows) == 140_000), "chosen"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_a_stream_that_is_left_early_leaves_no_thread_and_has_counted_what_it_gave(tmp_path):
    table = Table.of(write_parquet(tmp_path, {"t": ["a", "b"] * 50, "y": [0, 1] * 50}, row_group_size=10))
    encoder, tally = Encoder.fit(wide_schema({"t": Hashed(bins=9)}), table), Tally(collisions={})
    stream = encoder.stream(table, tally)
    assert len(next(stream)[0]) == tally.rows == 10
    stream.close()
    assert tally.rows == 10 and not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize(("bins", "kind"), [(125, np.int8), (126, np.int16), (2**15 - 3, np.int16), (2**15 - 2, np.int32),
                                            (2**31 - 3, np.int32), (2**31 - 2, np.int64)])
@pytest.mark.parametrize(("name", "column", "lowest"), [("x", Hashed, 0), ("tags", Hashed, 3), ("cross", Crossed, -1)])
def test_ids_have_the_smallest_type_that_holds_the_table_s(name, column, lowest, bins, kind):
    columns = {"x": Hashed(bins=9), "tags": Hashed(bins=9)}
    columns[name] = Crossed(("x", "other"), bins=bins) if column is Crossed else Hashed(bins=bins)
    columns["other"] = Hashed("x", bins=9)
    texts = [f"{i}" for i in range(99)]
    table = table_of(x=[*texts, None], tags=[[text] for text in [*texts, "a"]])
    features = Encoder.fit(wide_schema(columns, wide=Wide((name,))), table).encode(batch_of(table))
    ids = features["wide#ids/tags"].flat if name == "tags" else features["wide/ids"]
    low, high = int(ids.min()), int(ids.max())
    assert ids.dtype == kind and bins / 2 < high < bins + 3 and (low == lowest if lowest < 3 else low >= 3)
