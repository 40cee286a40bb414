"""A stream of rows: every row once in every pass, shuffled within a window, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_rows import plain, some_rows
from widedeep.rows import concatenate
from widedeep.stream import Stream


def stream(rows, batch=70, window=10**9):
    return Stream(lambda: rows.chunks(batch), len(rows), window)


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 700))
def test_a_pass_has_every_row_once_in_chunks_of_one_size_and_the_rest(batch, size, window):
    rows = some_rows()
    for rng in (None, np.random.default_rng(0)):
        chunks = list(stream(rows, batch, window).chunks(size, rng))
        assert [len(chunk) for chunk in chunks] == [size] * (500 // size) + ([500 % size] if 500 % size else [])
        found = plain(concatenate(chunks))
        assert (found if rng is None else sorted(found, key=lambda row: row[2])) == plain(rows)


def test_rows_that_fit_the_window_are_shuffled_as_rows_in_memory_are():
    rows = some_rows()
    for window in (500, 501):
        one, other = (source.chunks(64, np.random.default_rng(5)) for source in (rows, stream(rows, window=window)))
        assert [plain(chunk) for chunk in one] == [plain(chunk) for chunk in other]


def test_each_row_is_drawn_from_a_window_that_moves():
    rows, window, size = some_rows(20_000), 2_000, 100
    order = [row for chunk in stream(rows, window=window).chunks(size, np.random.default_rng(0)) for row in chunk.features["x"]]
    place = np.arange(20_000)
    assert (order < place + window + size).all()
    assert np.abs(np.array(order) - place).mean() > window / 4 and np.mean(np.diff(order) == 1) < 0.01


def test_the_seed_decides_the_order():
    def order(seed):
        chunks = stream(some_rows(), window=128).chunks(32, np.random.default_rng(seed))
        return [chunk.features["x"].tolist() for chunk in chunks]
    assert order([1, 0]) == order([1, 0]) != order([1, 1])


def test_the_source_is_left_as_it_was():
    rows = some_rows()
    before = plain(rows)
    list(stream(rows, batch=64, window=128).chunks(64, np.random.default_rng(0)))
    assert plain(rows) == before


@pytest.mark.parametrize("size", [10, 1000])
def test_passes_are_independent(size):
    source = stream(some_rows())
    assert [plain(concatenate(list(source.chunks(size)))) for _ in range(2)] == [plain(some_rows())] * 2
