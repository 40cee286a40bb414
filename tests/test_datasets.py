"""Adult as published: the official halves, checked byte for byte, and a schema that fits them."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from widedeep import datasets
from widedeep.columns import Bucketized, Categorical, Crossed, Numeric
from widedeep.datasets import load_adult
from widedeep.errors import DataError
from widedeep.schema import Schema


def test_adult_has_the_official_halves_and_shares_of_positives():
    adult = load_adult()
    assert (adult.name, adult.train.num_rows, adult.test.num_rows) == ("adult", 32_561, 16_281)
    positive = [pc.sum(pc.equal(table.read(["income"])["income"], ">50K")).as_py() for table in (adult.train, adult.test)]
    assert positive == [7_841, 3_846]
    assert "CC BY 4.0" in adult.citation and "Becker" in adult.citation


def test_every_column_of_the_schema_is_in_both_halves_with_the_type_that_its_kind_reads():
    adult = load_adult()
    for table in (adult.train, adult.test):
        table.require([*adult.schema.features, *adult.schema.roles])
        for name, column in adult.schema.columns.items():
            if not isinstance(column, Crossed):
                kind = table.type_of(column.source or name)
                assert pa.types.is_large_string(kind) if isinstance(column, Categorical) else pa.types.is_integer(kind), name


def test_towers_read_what_the_paper_gives_them_and_deep_the_buckets_too():
    schema = load_adult().schema
    assert Schema.from_toml(schema.to_toml()) == schema
    kinds = {tower: {type(schema.columns[name]) for name in getattr(schema, tower).columns} for tower in ("wide", "deep")}
    assert kinds == {"wide": {Bucketized, Categorical, Crossed}, "deep": {Numeric, Categorical, Bucketized}}
    assert {*schema.used} == {*schema.columns} and "income" not in schema.features


def test_bins_are_several_times_the_combinations_that_occur():
    adult = load_adult()
    for sources, bins in datasets.ADULT_CROSSES.items():
        columns = [adult.schema.columns[name].source or name for name in sources]
        occurring = adult.train.read(columns).group_by(columns).aggregate([]).num_rows
        assert bins > 4 * occurring, sources


def test_a_folder_without_the_files_is_refused_with_where_to_get_them(tmp_path):
    message = r"train\.parquet: load_adult needs this file.*UCI Adult, Becker & Kohavi 1996, CC BY 4\.0.*load_adult\(path="
    with pytest.raises(DataError, match=message):
        load_adult(tmp_path)


def test_outside_a_checkout_the_path_must_be_given(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "DATA", tmp_path / "data")
    with pytest.raises(DataError, match=r"load_adult\(path=\.\.\.\)"):
        load_adult()


def test_changed_files_are_refused_and_the_right_ones_are_found_anywhere(tmp_path):
    for file in datasets.ADULT_FILES:
        shutil.copy(datasets.DATA / "adult" / file, tmp_path / file)
    assert load_adult(tmp_path).train.num_rows == 32_561
    content = bytearray((tmp_path / "test.parquet").read_bytes())
    content[1000] ^= 1
    (tmp_path / "test.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"test\.parquet: must be the file whose sha256 is 5f41.*Got "):
        load_adult(tmp_path)
