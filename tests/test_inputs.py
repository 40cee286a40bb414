"""In memory, from the cache or streamed: the same rows, the same model, the same record and the same warnings."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import widedeep as wd
from tests.worlds import xor, xor_schema
from widedeep import inputs
from widedeep.cache import Cache
from widedeep.encoder import Encoder
from widedeep.inputs import Cached, InMemory, Streamed
from widedeep.rows import concatenate
from widedeep.run import _split
from widedeep.splits import given_split
from widedeep.stream import Stream
from widedeep.tables import Table

ALL = """
import hashlib, json, sys, tempfile, warnings
import numpy as np
import widedeep as wd
from tests.test_inputs import everything, everything_schema
from widedeep.run import start
start(threads=1)
table, folder = everything(), tempfile.mkdtemp()
for way in ({}, {"cache": folder}, {"cache": folder}, {"stream": True}):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", wd.WidedeepWarning)
        model = wd.fit(everything_schema(), table, valid=0.2, seed=3, **way)
    for epoch in [model.record, *model.record["history"]]:
        for name in ("seconds", "examples_per_s", "input_wait_share"):
            epoch.pop(name, None)
    said = [str(w.message) for w in caught if issubclass(w.category, wd.WidedeepWarning)]
    state = {name: hashlib.sha256(np.ascontiguousarray(part)).hexdigest() for name, part in model.state().items()}
    print(json.dumps([said, model.record, state, model.encoder.fingerprint]))
"""


def everything(rows=600):
    """A table of lists, weights and crosses; one column never varies, one cross is crowded."""
    rng = np.random.default_rng(0)
    tags = [rng.integers(0, 9, rng.integers(0, 3)).tolist() for _ in range(rows)]
    return xor(rows).assign(tags=tags, same="s", w=rng.integers(0, 3, rows))


def everything_schema():
    """A schema that uses all of it."""
    schema = xor_schema(epochs=2)
    columns = {**schema.columns, "tags": wd.Categorical(), "same": wd.Categorical(), "few": wd.Crossed(("a", "b"), bins=8),
               "a_x_tags": wd.Crossed(("a", "tags"), bins=4096)}
    return replace(schema, columns=columns, weight="w", wide=wd.Wide(("a", "same", "few", "a_x_b", "a_x_tags")),
                   deep=replace(schema.deep, columns=("a", "x", "tags"), dropout=0.2))


def test_all_ways_give_the_same_bits_records_and_warnings_on_one_thread():
    env = os.environ | {"PYTHONPATH": "."}
    printed = subprocess.run([sys.executable, "-c", ALL], stdout=subprocess.PIPE, text=True, check=True, env=env).stdout
    plain, first, again, streamed = (json.loads(line) for line in printed.splitlines())
    assert plain == first == again == streamed
    assert len(plain[0]) == 2 and "Column 'same' never varies" in plain[0][0] and "Column 'few': 9" in plain[0][1]


def content(rows):
    """Rows in an order of their own: plain values."""
    return sorted(zip(*(part.tolist() for part in (*rows.features.values(), rows.labels))))


# -------------------------------------------------------------------------------------------------------------------- cache


@pytest.fixture
def parquet(tmp_path):
    xor(500).to_parquet(tmp_path / "t.parquet")
    return str(tmp_path / "t.parquet")


def prepare(table, folder, schema=None, valid=0.2, seed=0):
    """What a run with a cache does before it trains: the encoder, findings, the split's record, both sides' rows."""
    schema, way = schema or xor_schema(), Cached(Cache(folder), False)
    parts = _split(schema, Table.of(table, schema), valid, seed, way)
    encoder = way.encoder(schema, parts.train)
    rows, findings = way.train(encoder, parts.train, len)
    held = None if parts.valid is None else content(way.valid(encoder, parts.valid))
    return encoder, findings(), parts.record, content(rows), held


def entries(folder):
    return {name for name in os.listdir(folder) if not name.startswith(".")}


def test_later_runs_neither_fit_nor_encode_nor_read_the_table(parquet, tmp_path, monkeypatch):
    first = prepare(parquet, tmp_path / "cache")

    def refuse(*_, **__):
        raise AssertionError("all is in the cache")

    for owner, name in ((Encoder, "fit"), (Encoder, "stream"), (Encoder, "encode"), (Table, "numbered"), (Table, "batches")):
        monkeypatch.setattr(owner, name, refuse)
    assert prepare(parquet, tmp_path / "cache") == first


def test_what_changes_no_encoded_row_makes_no_new_entry_and_all_else_does(parquet, tmp_path):
    folder, schema = tmp_path / "cache", xor_schema()

    def new(schema=schema, table=parquet, **more):
        before = entries(folder) if folder.exists() else set()
        prepare(table, folder, schema, **more)
        return sorted(name.partition("-")[0] for name in entries(folder) - before)

    assert new() == ["encoder", "train", "valid"]
    assert new(xor_schema(epochs=2, batch=32, metric="logloss", deep=wd.Optimizer("adagrad", rate=0.1))) == []
    assert new(replace(schema, deep=replace(schema.deep, hidden=(8,), dropout=0.1))) == []
    assert new(replace(schema, columns={**schema.columns, "idle": wd.Numeric("x")})) == []
    assert new(replace(schema, columns={**schema.columns, "a_x_b": wd.Crossed(("a", "b"), bins=99)})) == ["train", "valid"]
    assert new(replace(schema, deep=replace(schema.deep, width=8))) == ["train", "valid"]
    assert new(replace(schema, columns={**schema.columns, "a": wd.Categorical(min_count=2)})) == ["encoder", "train", "valid"]
    assert new(replace(schema, missing=("a1",))) == ["encoder", "train", "valid"]
    assert new(seed=1) == new(valid=0.3) == ["encoder", "train", "valid"]
    assert new(valid=None) == ["encoder", "train"]
    assert new(table=xor(500)) == ["encoder", "train", "valid"], "a frame is not a file"
    xor(500).assign(x=lambda t: t.x.where(t.index != 7, 5.0)).to_parquet(parquet)
    assert new() == ["encoder", "train", "valid"]
    xor(500).to_parquet(parquet)
    assert new() == []


def test_the_content_of_a_pretrained_file_counts_and_not_its_name(tmp_path):
    schema, folder = xor_schema(), tmp_path / "cache"
    for number, values in enumerate((["a1", "a2"], ["a1", "a2"], ["a1", "a3"])):
        path = str(tmp_path / f"{number}.parquet")
        pq.write_table(pa.table({"value": values, "vector": [[0.5, 1.0], [2.0, 0.0]]}), path)
        prepare(xor(300), folder, replace(schema, columns={**schema.columns, "a": wd.Categorical(pretrained=path)}))
    assert len([name for name in entries(folder) if name.startswith("encoder")]) == 2


@pytest.mark.parametrize("what", ["encoder", "train", "valid"])
def test_a_damaged_entry_changes_no_result(what, parquet, tmp_path):
    expected = prepare(parquet, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").glob(f"{what}-*")
    for file in folder.iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    with pytest.warns(wd.WidedeepWarning, match=f"{what}-.* cannot be trusted, so it is made again"):
        assert prepare(parquet, tmp_path / "cache") == expected


def test_tables_given_apart_are_recorded_as_without_a_cache_and_not_read_again(parquet, tmp_path, monkeypatch):
    xor(300, seed=1).to_parquet(tmp_path / "valid.parquet")
    valid, schema = str(tmp_path / "valid.parquet"), xor_schema()
    plain = given_split(Table.of(parquet), Table.of(valid), schema).record
    assert prepare(parquet, tmp_path / "cache", valid=valid)[2] == plain
    monkeypatch.setattr(Table, "batches", None)
    assert prepare(parquet, tmp_path / "cache", valid=valid)[2] == plain


def test_a_table_that_changes_while_it_is_read_leaves_no_entry(parquet, tmp_path, monkeypatch):
    stream = Encoder.stream

    def meanwhile(*arguments, **more):
        for encoded in stream(*arguments, **more):
            os.utime(parquet, ns=(1, 1))
            with open(parquet, "ab") as file:
                file.write(b"!")
            yield encoded

    monkeypatch.setattr(Encoder, "stream", meanwhile)
    with pytest.raises(wd.DataError, match="the table was changed while it was read"):
        prepare(parquet, tmp_path / "cache", valid=None)
    assert [name.partition("-")[0] for name in entries(tmp_path / "cache")] == ["encoder"]


def test_a_cache_that_cannot_be_is_refused_before_the_table_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(wd.ArtifactError, match="must be a folder that may be written to"):
        wd.fit(xor_schema(), "nowhere.parquet", cache=tmp_path / "file")
    with pytest.raises(wd.WidedeepError, match=r"not both\. Got cache='c' and stream=True"):
        wd.fit(xor_schema(), "nowhere.parquet", cache="c", stream=True)


# ----------------------------------------------------------------------------------------------------------------- identity


def test_an_identity_is_of_the_content_of_files_and_of_what_is_chosen_from_them(tmp_path):
    frame = xor(50)
    for name in ("one", "two"):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    frame.assign(x=1.0).to_parquet(tmp_path / "other.parquet")
    one, two, other = (Table.of(tmp_path / f"{name}.parquet") for name in ("one", "two", "other"))
    assert one.identity(["a", "x"]) == two.identity(["a", "x"]) != other.identity(["a", "x"])
    first, second = (one.where(np.arange(50) % 2 == half, "half") for half in (0, 1))
    assert len({first.identity(["a"]), second.identity(["a"]), one.identity(["a"])}) == 3
    for folder, names in (("ab", ("one", "other")), ("ba", ("other", "one"))):
        (tmp_path / folder).mkdir()
        for place, name in enumerate(names):
            (tmp_path / folder / f"{place}.parquet").write_bytes((tmp_path / f"{name}.parquet").read_bytes())
    assert Table.of(tmp_path / "ab").identity(["a"]) != Table.of(tmp_path / "ba").identity(["a"])


def test_the_identity_of_files_reads_no_cell_and_that_of_memory_each_cell_once(tmp_path, monkeypatch):
    xor(50).to_csv(tmp_path / "t.csv", index=False)
    xor(50).to_parquet(tmp_path / "t.parquet")
    files = [Table.of(tmp_path / "t.csv", xor_schema()), Table.of(tmp_path / "t.parquet")]
    memory = [Table.of(xor(50)), Table.of(pa.Table.from_pandas(xor(50)))]
    known = [table.identity(["a", "x"]) for table in memory]
    monkeypatch.setattr(Table, "batches", None)
    assert [table.identity(["a", "x"]) for table in memory] == known
    assert all(len(table.identity(["a", "x"])) == 64 for table in files)


def test_what_a_schema_makes_of_a_csv_file_counts(tmp_path):
    xor(50).to_csv(tmp_path / "t.csv", index=False)
    schemas = [xor_schema(), replace(xor_schema(), missing=("a1",)),
               replace(xor_schema(), columns={**xor_schema().columns, "b": wd.Categorical(dtype="int")})]
    assert len({Table.of(tmp_path / "t.csv", schema).identity(["a", "b"]) for schema in schemas}) == 3


# ------------------------------------------------------------------------------------------------------------------- stream


@pytest.fixture(scope="module")
def fitted():
    schema = xor_schema()
    return Encoder.fit(schema, xor(5000))


def test_a_stream_sees_what_is_in_memory_and_shows_each_row_once_in_the_first_pass(fitted, tmp_path):
    table, seen = Table.of(xor(5000)), {}
    for way in (InMemory(False), Cached(Cache(tmp_path), False), Streamed(False)):
        shown = []
        rows, findings = way.train(fitted, table, shown.append)
        for epoch in range(2):
            passed = concatenate(list(rows.chunks(512, np.random.default_rng([0, epoch]))))
            assert content(passed) == seen.setdefault("rows", content(passed))
        assert content(concatenate(shown)) == seen["rows"] and findings() == seen.setdefault("findings", findings())
        assert content(concatenate(list(way.valid(fitted, table).chunks(99)))) == seen["rows"]
    assert isinstance(rows, Stream) and len(rows) == 5000


def test_rows_beyond_the_window_train_too(monkeypatch):
    made = Stream.__init__
    monkeypatch.setattr(Stream, "__init__", lambda self, batches, count: made(self, batches, count, window=512))
    model = wd.fit(xor_schema(epochs=4), xor(3000), valid=0.2, stream=True)
    assert model.record["metrics"]["auc"] > 0.95 and sum(model.touches["wide"]) == 3 * model.record["split"]["rows"]["train"]


def test_without_validation_rows_a_stream_trains_every_epoch():
    record = wd.fit(xor_schema(epochs=2), xor(300), valid=None, stream=True).record
    assert record["metrics"] is None and len(record["history"]) == 2


# --------------------------------------------------------------------------------------------------- faults, memory, progress


WAYS = {"memory": {}, "cache": {"cache": "cache"}, "stream": {"stream": True}}


@pytest.mark.parametrize("way", WAYS)
def test_faults_of_labels_and_weights_are_named_in_every_way(way, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schema, more = replace(xor_schema(epochs=1), weight="w"), WAYS[way]
    zero = xor(300).assign(w=0.0)
    with pytest.raises(wd.DataError, match="some row must have a weight above 0. Got 0 in all 300 rows"):
        wd.fit(schema, zero, valid=xor(100, 1).assign(w=1.0), **more)
    with pytest.raises(wd.DataError, match="some row must have a weight above 0. Got 0 in all 300 rows"):
        wd.fit(schema, xor(100).assign(w=1.0), valid=zero, **more)
    with pytest.raises(wd.DataError, match="a weight is a finite number of at least 0. Got -1.0 in row 7"):
        wd.fit(schema, xor(300).assign(w=lambda t: np.where(t.index == 7, -1.0, 1.0)), valid=None, **more)
    with pytest.raises(wd.DataError, match=r"must give auc a value.*60 rows of one label|must give auc a value"):
        wd.fit(xor_schema(epochs=1), xor(300), valid=xor(100, 1).query("y == 1"), **more)
    with pytest.raises(wd.DataError, match="Label 'y': each row's label is 1 or 0. Got 5 in row 3"):
        wd.fit(xor_schema(epochs=1), xor(300), valid=xor(100).assign(y=lambda t: t.y.where(t.index != 3, 5)), **more)


def test_rows_too_many_for_memory_are_warned_of_with_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "free_memory", lambda: 1000)
    with pytest.warns(wd.WidedeepWarning, match=r"to encode 300 rows in memory takes .* GB.*--cache DIR.*--stream") as caught:
        wd.fit(xor_schema(epochs=1), xor(300), valid=None)
    assert len(caught) == 1
    for way in ({"cache": tmp_path}, {"stream": True}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            wd.fit(xor_schema(epochs=1), xor(300), valid=None, **way)


def test_free_memory_is_some():
    assert 1 << 20 < inputs.free_memory() < 1 << 50


def test_bars_show_the_passes_on_a_terminal_and_nothing_elsewhere(monkeypatch):
    for terminal in (True, False):
        stream = io.StringIO()
        stream.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(sys, "stderr", stream)
        wd.fit(xor_schema(epochs=1), xor(300))
        assert all(what in stream.getvalue() for what in ("fitting the encoder", "encoding rows")) == terminal
        assert bool(stream.getvalue()) == terminal


def test_rows_are_named_as_in_the_source_behind_a_bar():
    table = xor(300).assign(x=lambda t: t.x.astype(str).where(t.index != 150, "tall"))
    with pytest.raises(wd.DataError, match=r"'tall' in row 150"):
        wd.fit(xor_schema(epochs=1), pd.DataFrame(table), progress=True)
