"""Sketches against exact oracles (fractions, Counter, sorting), in any order and in any pieces."""

import math
import statistics
from collections import Counter
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.sketches import CHUNK, ExactMoments, QuantileSketch, ValueCounts, _floor_to_grid, _root

finite = st.floats(allow_nan=False, allow_infinity=False)
int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(codec="utf-8"), max_size=4)
HUGE, TINY = 1.7976931348623157e308, 5e-324


def in_pieces(make, values, seed):
    """A sketch of the values permuted, cut into batches, fed to several sketches, and those merged in any order."""
    rng = np.random.default_rng(seed)
    values = values.take(rng.permutation(len(values)))
    cuts = np.sort(rng.integers(0, len(values) + 1, rng.integers(0, 6))).tolist()
    pieces = [make() for _ in range(rng.integers(1, 4))]
    for start, stop in zip([0, *cuts], [*cuts, len(values)]):
        pieces[rng.integers(len(pieces))].add(values[start:stop])
    whole = make()
    for piece in pieces:
        whole.merge(piece)
    return whole


def at_once(make, values):
    sketch = make()
    sketch.add(values)
    return sketch


# Moments

def summary(moments):
    return moments.count, moments.mean, moments.deviation, moments.minimum, moments.maximum


def is_nearest_root(root, square):
    """Is no float64 nearer to √square than root? Halfway points are compared as exact fractions."""
    above = Fraction(root) + Fraction(math.ulp(root)) / 2
    below = (Fraction(root) + Fraction(math.nextafter(root, -math.inf))) / 2
    return max(below, 0) ** 2 <= square <= above**2


@given(st.lists(finite, min_size=1, max_size=30))
@example([HUGE, HUGE, -HUGE])
@example([HUGE, -HUGE])
@example([TINY, 0.0])
@example([TINY, 3 * TINY])
@example([1e308, TINY, -1e308])
@example([0.1] * 10)
def test_mean_and_deviation_are_the_exact_ones_rounded_once(values):
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / len(exact)
    variance = sum((v - mean) ** 2 for v in exact) / len(exact)
    moments = at_once(ExactMoments, np.array(values))
    assert moments.count == len(values)
    assert moments.mean == float(mean)
    assert is_nearest_root(moments.deviation, variance)
    assert (moments.minimum, moments.maximum) == (min(values), max(values))


@given(st.lists(finite, min_size=1, max_size=30), st.integers(0, 2**32))
def test_moments_do_not_depend_on_order_batches_or_merging(values, seed):
    assert summary(in_pieces(ExactMoments, np.array(values), seed)) == summary(at_once(ExactMoments, np.array(values)))


def test_the_variance_does_not_cancel_and_chunks_stay_exact():
    values = 1e9 + np.random.default_rng(0).normal(size=2 * CHUNK + 77)
    moments, ints = at_once(ExactMoments, values), [int(v * 2**23) for v in values]
    assert [v / 2**23 for v in ints] == values.tolist()
    square = Fraction(len(ints) * sum(v * v for v in ints) - sum(ints) ** 2, (len(ints) << 23) ** 2)
    assert moments.mean == math.fsum(values) / len(values)
    assert is_nearest_root(moments.deviation, square)
    assert moments.deviation == pytest.approx(1, rel=0.01)


def test_full_mantissas_of_one_exponent_fill_the_accumulators_without_rounding():
    values = np.full(CHUNK, np.nextafter(2.0, 0))
    values[0] = -values[0]
    moments = at_once(ExactMoments, values)
    assert moments.mean == float(Fraction(values[1]) * (CHUNK - 2) / CHUNK)
    assert moments.deviation == statistics.pstdev(map(Fraction, values.tolist()))


def test_the_last_bit_of_a_root_sees_what_lies_just_beside_halfway():
    halfway = 2**53 + 1
    assert [_root((halfway**2 << 400) + bit, 1 << 400) for bit in (-1, 0, 1)] == [2**53, 2**53, 2**53 + 2]


def test_moments_of_nothing_are_nan_and_zero_has_one_sign():
    assert all(map(math.isnan, summary(ExactMoments())[1:3]))
    assert math.copysign(1, at_once(ExactMoments, np.array([-0.0])).minimum) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sketch", [ExactMoments, QuantileSketch])
def test_a_value_that_is_not_finite_is_refused_with_its_position(sketch, bad):
    with pytest.raises(DataError, match=rf"finite.*Got {bad} at position 1"):
        at_once(sketch, np.array([1.0, bad]))


# Counts

def ranking_oracle(values, order=lambda v: v, least=1, size=None):
    counts = Counter(v for v in values if v is not None)
    return sorted(((v, n) for v, n in counts.items() if n >= least), key=lambda p: (-p[1], order(p[0])))[:size]


def ranking(counts, *args):
    values, numbers = counts.ranked(*args)
    assert numbers.dtype == np.int64
    return list(zip(values.to_pylist(), numbers.tolist(), strict=True))


@given(st.lists(st.none() | text, max_size=30), st.integers(1, 3), st.none() | st.integers(0, 5), st.integers(0, 2**32))
@example(["a", "a\0", "a\0b", "", "", None, "é", "\U0001f600", "\uffff"], 1, None, 0)
def test_strings_are_counted_and_ranked_by_count_then_utf8_bytes(values, least, size, seed):
    expected = ranking_oracle(values, str.encode, least, size)
    for kind in (pa.string(), pa.large_string()):
        array = pa.array(values, kind)
        for column in (array, array.dictionary_encode()):
            counts = in_pieces(ValueCounts, column, seed)
            assert ranking(counts, least, size) == expected
            assert counts.total == len(values) - values.count(None)


@given(st.lists(st.none() | int64 | st.sampled_from([-(2**63), 2**63 - 1, 0]), max_size=30), st.integers(0, 2**32))
def test_integers_of_64_bits_are_counted_exactly(values, seed):
    assert ranking(in_pieces(ValueCounts, pa.array(values, pa.int64()), seed)) == ranking_oracle(values)


@given(st.lists(st.none() | st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0]), max_size=30), st.integers(0, 2**32))
def test_floats_are_counted_with_one_zero(values, seed):
    counted = ranking(in_pieces(ValueCounts, pa.array(values, pa.float64()), seed))
    assert counted == ranking_oracle(values)
    assert all(math.copysign(1, v) == 1 for v, _ in counted if v == 0)


def test_nan_is_missing():
    counts = at_once(ValueCounts, pa.array([math.nan, 1.5, -math.nan]))
    assert (ranking(counts), counts.total) == ([(1.5, 1)], 1)


def test_a_dictionary_may_hold_doubles_nulls_and_unused_values():
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2, 3, 3]), pa.array(["a", "b", None, "a", "unused"]))
    assert ranking(at_once(ValueCounts, dictionary)) == [("a", 3), ("b", 1)]


@given(st.lists(st.tuples(st.sampled_from(["ab", "ba", "abc", ""]), st.lists(st.none() | st.integers(0, 1))), max_size=6))
def test_batches_with_equal_and_with_other_dictionaries_are_counted_alike(batches):
    counts, values = ValueCounts(), []
    for letters, codes in batches:
        codes = codes if letters else []
        counts.add(pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(list(letters), pa.string())))
        values += [None if code is None else letters[code] for code in codes]
        if len(batches) % 2:
            assert counts.total == len(values) - values.count(None)
    assert ranking(counts) == ranking_oracle(values)


def test_many_batches_of_many_values_are_joined_exactly():
    values = np.random.default_rng(0).zipf(1.2, 60_000) % 20_000 << 40
    counts = ValueCounts()
    for start in range(0, len(values), 1_000):
        counts.add(pa.array(values[start:start + 1_000]))
    assert ranking(counts) == ranking_oracle(values.tolist())


def test_nothing_and_only_nulls_rank_as_nothing():
    assert (ranking(ValueCounts()), ValueCounts().total) == ([], 0)
    counts = at_once(ValueCounts, pa.array([None, None], pa.string()))
    assert (ranking(counts), counts.total) == ([], 0)


@pytest.mark.parametrize("pieces", [1, 3, 101])
def test_one_value_beyond_the_limit_is_an_error_that_stays_and_proposes_hashed(pieces):
    counts = ValueCounts(limit=100, name="user")
    for part in np.array_split(np.arange(100), pieces):
        counts.add(pa.array(part))
    assert len(counts.ranked()[0]) == 100
    counts.add(pa.array([100]))
    for _ in range(2):
        with pytest.raises(DataError, match=r"'user'.*up to 100 distinct.*Hashed\(bins=…\)"):
            counts.ranked()


def test_memory_is_bounded_because_a_long_stream_beyond_the_limit_fails_early():
    counts = ValueCounts(limit=100)
    with pytest.raises(DataError, match="100 distinct"):
        for start in range(0, 10**6, 100):
            counts.add(pa.array(np.arange(start, start + 100)))
    assert start < 10_000


def test_a_column_of_two_types_or_of_an_uncountable_one_is_refused_by_name():
    counts = at_once(lambda: ValueCounts(name="age"), pa.array(["1"]))
    with pytest.raises(DataError, match="'age'.*one type.*large_string, then int64"):
        counts.merge(at_once(ValueCounts, pa.array([1])))
    with pytest.raises(DataError, match="'age'.*Got timestamp"):
        counts.add(pa.array([0], pa.timestamp("s")))


# Quantiles

def boundaries_oracle(values, quantiles):
    inner = sorted(set(values))[1:]
    if len(inner) < quantiles:
        return inner
    size = capped_oracle({v: Fraction(values.count(v)) for v in set(values)}, quantiles)
    below = {v: sum(size[x] for x in size if x < v) for v in inner}
    targets = [k * sum(size.values()) / quantiles for k in range(1, quantiles)]
    return sorted({min(inner, key=lambda v, t=target: (abs(below[v] - t), v)) for target in targets})


def capped_oracle(size, quantiles):
    """Lower the largest sizes to the share of a bucket, until none is more than that."""
    heavy = set()
    while True:
        cap = sum(c for v, c in size.items() if v not in heavy) / (quantiles - len(heavy))
        more = {v for v, c in size.items() if v not in heavy and c > cap}
        if not more:
            return {v: cap if v in heavy else c for v, c in size.items()}
        heavy |= more


def share_oracle(values, x):
    return float(Fraction(sum(v < x for v in values) * 2 + sum(v == x for v in values), 2 * len(values)))


few = st.lists(finite | st.sampled_from([0.0, -0.0, 1.0]), max_size=25)


@given(few, st.integers(2, 8))
@example([0.0] * 95 + [1.0] * 5, 4)
def test_boundaries_cut_the_sorted_values_nearest_to_equal_shares(values, quantiles):
    sketch = at_once(QuantileSketch, np.array(values, np.float64))
    assert sketch.boundaries(quantiles).tolist() == boundaries_oracle(values, quantiles)
    assert (sketch.exact, sketch.relative_error) == (True, 0.0)


@given(few, st.integers(2, 8))
def test_knots_are_the_shares_below_between_the_smallest_and_the_largest(values, points):
    knots, shares = at_once(QuantileSketch, np.array(values, np.float64)).knots(points)
    assert len(knots) == len(shares) <= points
    assert shares.tolist() == [share_oracle(values, x) for x in knots.tolist()]
    assert np.all(np.diff(knots) > 0)
    if values:
        assert {knots[0], knots[-1]} == {min(values), max(values)}
    if len(set(values)) <= points:
        assert knots.tolist() == sorted(set(values))


def test_a_value_that_is_most_of_the_column_leaves_the_other_buckets_to_the_others():
    values = np.concatenate([np.zeros(9_200), np.arange(1.0, 801.0)])
    buckets = np.searchsorted(at_once(QuantileSketch, values).boundaries(32), values, "right")
    counts = np.bincount(buckets)
    assert counts[0] == 9_200 and len(counts) == 32
    assert 20 <= counts[1:].min() <= counts[1:].max() <= 32


def test_no_bucket_is_empty_and_those_of_distinct_values_are_equal():
    values = np.random.default_rng(0).permutation(1024).astype(float)
    buckets = np.searchsorted(at_once(QuantileSketch, values).boundaries(32), values, "right")
    assert np.bincount(buckets).tolist() == [32] * 32


def test_knots_of_many_values_are_evenly_spread():
    knots, shares = at_once(QuantileSketch, np.arange(1001.0)).knots(11)
    assert knots.tolist() == np.arange(0, 1001, 100).tolist()
    assert shares == pytest.approx(np.linspace(0, 1, 11), abs=1e-3)


@settings(max_examples=60)
@given(st.lists(finite, max_size=40) | st.lists(st.floats(1, 1.001), max_size=40), st.integers(0, 2**32))
def test_quantiles_do_not_depend_on_order_batches_or_merging_on_either_side_of_the_limit(values, seed):
    values = np.array(values, np.float64)
    one, other = at_once(lambda: QuantileSketch(20), values), in_pieces(lambda: QuantileSketch(20), values, seed)
    assert one.exact == other.exact == (len(set(values.tolist())) <= 20)
    assert one.boundaries(7).tobytes() == other.boundaries(7).tobytes()
    assert [a.tobytes() for a in one.knots(9)] == [a.tobytes() for a in other.knots(9)]


def test_a_long_stream_becomes_the_same_grid_in_any_pieces():
    values = np.random.default_rng(0).normal(size=20_000)
    one, other = at_once(lambda: QuantileSketch(3_000), values), in_pieces(lambda: QuantileSketch(3_000), values, 1)
    assert (one.exact, other.exact) == (False, False)
    assert [a.tobytes() for a in one.knots(500)] == [a.tobytes() for a in other.knots(500)]


def test_the_limit_itself_is_exact_and_one_more_value_is_not():
    sketch = at_once(lambda: QuantileSketch(50), np.arange(50.0))
    assert sketch.exact
    sketch.add(np.array([50.0]))
    assert (sketch.exact, sketch.relative_error) == (False, 2**-12)


def test_a_sketch_on_the_grid_stays_there_although_its_cells_are_few():
    one_cell = 1 + np.arange(21) * 2.0**-50
    whole = at_once(lambda: QuantileSketch(20), one_cell)
    assert not whole.exact
    merged = QuantileSketch(20)
    merged.merge(whole)
    merged.add(one_cell[:3])
    assert not merged.exact
    assert [a.tolist() for a in merged.knots(9)] == [[1.0], [0.5]]
    assert not len(merged.boundaries(9))


@given(finite, finite)
@example(HUGE, -HUGE)
@example(TINY, -TINY)
def test_the_grid_lowers_a_value_by_at_most_the_stated_error_and_keeps_order(x, y):
    low, high = _floor_to_grid(np.array(sorted([x + 0.0, y + 0.0])))
    assert low <= high
    assert 0 <= Fraction(min(x, y)) - Fraction(low) <= Fraction(2) ** -12 * max(abs(Fraction(min(x, y))), Fraction(2) ** -1022)
    assert _floor_to_grid(np.array([low]))[0] == low


def test_beyond_the_limit_answers_are_the_exact_ones_for_values_lowered_to_the_grid():
    values = np.random.default_rng(0).normal(size=5_000) ** 3
    gridded, exact = at_once(lambda: QuantileSketch(100), values), at_once(QuantileSketch, _floor_to_grid(values))
    assert exact.exact and not gridded.exact
    boundaries = gridded.boundaries(32)
    assert boundaries.tobytes() == exact.boundaries(32).tobytes()
    assert [a.tobytes() for a in gridded.knots(100)] == [a.tobytes() for a in exact.knots(100)]
    assert [(values < b).sum() for b in boundaries] == [(_floor_to_grid(values) < b).sum() for b in boundaries]
