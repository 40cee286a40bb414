"""Parquet read as dictionaries: the same values, where it is less work, and only where it was asked for."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tests.test_tables import write_parquet
from widedeep import parquet_files
from widedeep.tables import Table

TEXTS = st.lists(st.none() | st.sampled_from(["", "a", "b", "日本", "?"]), min_size=1, max_size=20)


@contextmanager
def always_coded():
    """Dictionaries even in files so small that what describes a page takes more than the text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_files, "CODED_BYTES", 10_000)
        yield


def coded_columns(table, columns):
    """The columns that come as dictionaries."""
    batch = next(table.batches(columns, coded=columns))
    return {name for name in columns if pa.types.is_dictionary(batch.column(name).type)}


@given(TEXTS, st.integers(1, 7), st.integers(1, 7), st.data())
def test_dictionaries_hold_the_values_of_plain_text_whatever_the_row_groups(tmp_path_factory, texts, group, rows, data):
    kind = data.draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
    content = {"text": pa.array(texts, kind), "other": pa.array(texts, pa.string()), "n": list(range(len(texts)))}
    table = Table.of(write_parquet(tmp_path_factory.mktemp("coded"), content, row_group_size=group))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))))
    for one, expected in ((table, texts), (table.where(mask, "some"), [text for text, kept in zip(texts, mask) if kept])):
        with always_coded():
            batches = list(one.batches(["n", "text", "other"], rows, coded={"text"}))
        assert {batch.column("text").type for batch in batches} <= {pa.dictionary(pa.int32(), pa.string())}
        assert all(1 <= len(batch) <= rows and batch.schema.names == ["n", "text", "other"] for batch in batches)
        assert [text for batch in batches for text in batch.column("text").to_pylist()] == expected
        assert [text for batch in batches for text in batch.column("other").to_pylist()] == expected
        assert {batch.column("other").type for batch in batches} <= {pa.string()}


def test_text_is_read_as_dictionaries_if_they_are_small_beside_their_rows(tmp_path):
    rows = 3000
    texts = [f"a rather long text {i}" for i in range(rows)]
    content = {"few": texts[:10] * (rows // 10), "all": texts,
               "gone": pa.nulls(rows, pa.string()), "n": list(range(rows)), "a.b": ["x", "yy", None] * (rows // 3),
               "bytes": [b"x"] * rows, "list": [["x"]] * rows, "late": ["x"] * 2000 + texts[:1000]}
    table = Table.of(write_parquet(tmp_path, content, row_group_size=1000))
    assert coded_columns(table, [*content]) == {"few", "gone", "a.b"}
    assert coded_columns(table, ["n", "a.b"]) == {"a.b"}
    plain = Table.of(write_parquet(tmp_path, content, "plain.parquet", use_dictionary=False))
    assert coded_columns(plain, [*content]) == set()


def test_a_dictionary_that_became_too_long_for_the_file_is_not_read_as_one(tmp_path):
    content = {"text": [f"{i:09d}" for i in range(5000)]}
    path = write_parquet(tmp_path, content, dictionary_pagesize_limit=1000, data_page_size=1000)
    assert parquet.read_metadata(path).row_group(0).column(0).has_dictionary_page
    table = Table.of(path)
    assert coded_columns(table, ["text"]) == set() and table.read(["text"]).to_pydict() == content


@pytest.mark.parametrize("columns", [[], ["text"], ["text", "other"]])
def test_only_what_is_asked_for_comes_as_dictionaries(columns, tmp_path):
    table = Table.of(write_parquet(tmp_path, {"text": ["a", "b"] * 9, "other": ["a", "b"] * 9}))
    with always_coded():
        batch = next(table.batches(["text", "other"], coded=columns))
    assert [name for name in ("text", "other") if pa.types.is_dictionary(batch.column(name).type)] == columns
    assert table.type_of("text") == pa.string()
