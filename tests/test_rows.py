"""Encoded rows: cut, joined, gathered and shuffled, they stay the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from widedeep import rows as room
from widedeep.rows import Bag, Rows, concatenate


def some_rows(count=500, seed=0):
    """Rows of every kind of part; `x` numbers them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, count)
    bag = Bag(rng.integers(0, 100, lengths.sum()).astype(np.int8), np.concatenate([[0], np.cumsum(lengths)]))
    features = {"ids": rng.integers(0, 9, (count, 3)), "bag": bag, "x": np.arange(count)}
    return Rows(features, rng.random(count), rng.random(count))


def plain(rows):
    """Rows as tuples of plain values."""
    bag = rows.features["bag"]
    lists = [part.tolist() for part in np.split(bag.flat, bag.splits[1:-1])]
    return list(zip(rows.features["ids"].tolist(), lists, rows.features["x"].tolist(), rows.labels, rows.weights, strict=True))


@pytest.mark.parametrize("many", [10**9, 1])
def test_rows_are_gathered_alike_by_one_thread_and_by_several(many, monkeypatch):
    monkeypatch.setattr(room, "MANY", many)
    rows, index = some_rows(), np.random.default_rng(1).integers(0, 500, 300).astype(np.int32)
    assert plain(rows.take(index)) == [plain(rows)[place] for place in index]


def test_a_slice_is_a_view_of_these_rows():
    rows = some_rows()
    part = rows.slice(490, 600)
    assert plain(part) == plain(rows)[490:]
    for name in ("ids", "x"):
        assert np.shares_memory(part.features[name], rows.features[name])
    assert np.shares_memory(part.features["bag"].flat, rows.features["bag"].flat)


def test_chunks_hold_every_row_once_in_order_or_as_a_generator_permutes_them():
    rows = some_rows()
    chunks = list(rows.chunks(64))
    assert [len(chunk) for chunk in chunks] == [64] * 7 + [52] and plain(concatenate(chunks)) == plain(rows)
    shuffled = concatenate(list(rows.chunks(64, np.random.default_rng(3))))
    assert plain(shuffled) == plain(rows.take(np.random.default_rng(3).permutation(500)))


def test_rows_put_in_others_places_leave_the_rest():
    rows, new, index = some_rows(), some_rows(3, seed=1), np.array([7, 0, 499])
    expected = plain(rows)
    for place, row in zip(index, plain(new)):
        expected[place] = row
    assert plain(rows.put(index, new)) == expected


def test_they_tell_the_memory_that_they_take():
    assert Rows({"x": np.zeros((5, 2))}, np.zeros(5, np.float32)).nbytes == 100
    assert Rows({"b": Bag(np.zeros(3, np.int8), np.zeros(3, np.int64))}).nbytes == 27
