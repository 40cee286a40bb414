"""What a stream of values looked like, whatever its order: moments, counts, quantiles.

Every result is bit for bit the same for any order of the values, any cut into batches, and any merging of pieces, because
the state is a function of the multiset alone: exact integers, or counts of distinct values.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from widedeep.errors import DataError

CHUNK = 1 << 14
"""Values summed at once, so that they stay in cache: terms of at most 2**37 must add up to at most 2**53 to be exact."""

LIMB = 18
"""Bits of a limb: a mantissa of 53 bits is 17 + 18 + 18, and the product of two numbers of three limbs has five."""

LEAST = -1073
"""The exponent `np.frexp` gives for the smallest subnormal; the unit of all exact sums is 2**(LEAST - 53)."""

GRID_BITS = 12
"""Mantissa bits that the grid of `QuantileSketch` keeps out of 52."""

PATIENCE = 1 << 12
"""Counted parts always wait for this many values before they are joined."""


def _finite(values: np.ndarray) -> np.ndarray:
    """Values as float64 with one zero: -0.0 becomes 0.0. Raises: DataError for NaN and infinities."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"A sketch takes finite numbers. Got {values[row]} at position {row}. Take such values out first.")
    return values + 0.0


class ExactMoments:
    """Count, mean, population deviation and extremes of float64 values, each exactly rounded.

    The sum and the sum of squares are kept as integers, multiples of the smallest unit a float64 (or its square) can have, so
    nothing overflows, underflows or cancels. Of no values the mean and deviation are NaN, the extremes infinite.

    >>> moments = ExactMoments()
    >>> moments.add(np.array([1e308, 1.0, -1e308, 2.0]))
    >>> moments.count, moments.mean
    (4, 0.75)
    """

    def __init__(self) -> None:
        self.count = 0
        self.minimum, self.maximum = math.inf, -math.inf
        self._sum = self._squares = 0

    def add(self, values: np.ndarray) -> None:
        """Take in values (n,). Raises: DataError unless all are finite."""
        values = _finite(values)
        for start in range(0, len(values), CHUNK):
            chunk = values[start:start + CHUNK]
            self.count += len(chunk)
            self.minimum, self.maximum = min(self.minimum, float(chunk.min())), max(self.maximum, float(chunk.max()))
            self._add_powers(chunk)

    def _add_powers(self, chunk: np.ndarray) -> None:
        mantissa, exponent = np.frexp(chunk)
        a, rest = _whole(mantissa * 2.0 ** (53 - 2 * LIMB))
        b, rest = _whole(rest * 2.0**LIMB)
        c = rest * 2.0**LIMB
        slots = exponent.astype(np.intp) - LEAST
        self._sum += _exact_sum(slots, (a, b, c))
        self._squares += _exact_sum(2 * slots, (a * a, 2 * a * b, 2 * a * c + b * b, 2 * b * c, c * c))

    def merge(self, other: ExactMoments) -> None:
        """Take in all that `other` has seen."""
        self.count += other.count
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self._sum += other._sum
        self._squares += other._squares

    @property
    def mean(self) -> float:
        """The mean, rounded once."""
        return self._sum / (self.count << (53 - LEAST)) if self.count else math.nan

    @property
    def deviation(self) -> float:
        """The population standard deviation, rounded once; 0.0 also where it is below half the smallest float64."""
        if not self.count:
            return math.nan
        return _root(self.count * self._squares - self._sum**2, self.count**2 << 2 * (53 - LEAST))


def _whole(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values as whole numbers and what is left; `np.modf` takes six times as long."""
    whole = np.trunc(values)
    return whole, values - whole


def _exact_sum(slots: np.ndarray, limbs: tuple[np.ndarray, ...]) -> int:
    """Σ limb · 2**slot over rows and limbs, the first limb the most significant; each (n,), at most CHUNK rows."""
    total = 0
    for limb in limbs:
        sums = np.bincount(slots, limb)
        filled = np.flatnonzero(sums)
        total = (total << LIMB) + sum(int(part) << slot for part, slot in zip(sums[filled], filled.tolist()))
    return total


def _root(numerator: int, denominator: int) -> float:
    """√(numerator / denominator), rounded once: 64 bits or more of the root, then a bit that says whether any followed."""
    shift = max(0, 128 + denominator.bit_length() - numerator.bit_length() + 1) // 2
    whole, rest = divmod(numerator << 2 * shift, denominator)
    root = math.isqrt(whole)
    return (2 * root + bool(rest or root * root < whole)) / (2 << shift)


class _Tally:
    """Distinct values of one Arrow type and how often each came.

    Counted parts wait until they are as long as what is kept, then join it: every value is joined a bounded number of times
    on average, and memory is bounded by the distinct values. `bounded` sees each joined table and returns what to keep.
    """

    def __init__(self, bounded: Callable[[pa.Table], pa.Table]) -> None:
        self.kept: pa.Table | None = None
        self._bounded = bounded
        self._parts: list[pa.Table] = []
        self._waiting = 0

    def add(self, part: pa.Table) -> None:
        """Take in a table of `value` and `count`, in which a value may come more than once."""
        self._parts.append(part)
        self._waiting += len(part)
        if self._waiting >= max(PATIENCE, len(self.kept or ())):
            self.settle()

    def settle(self) -> pa.Table | None:
        """All that was taken in, each value once; None before anything was."""
        if self._parts:
            parts = [self.kept, *self._parts] if self.kept else self._parts
            self.kept = self._bounded(_joined(pa.concat_tables(parts)))
            self._parts, self._waiting = [], 0
        return self.kept


def _joined(table: pa.Table) -> pa.Table:
    """Each value once, its counts summed. Not by `group_by`, which is quadratic on numbers whose low bits are zero."""
    encoded = table["value"].combine_chunks().dictionary_encode()
    counts = np.bincount(encoded.indices, table["count"], minlength=len(encoded.dictionary))
    return pa.table({"value": encoded.dictionary, "count": counts.astype(np.int64)})


def _counted(values: pa.Array) -> pa.Table:
    """Plain values that are there, nearly distinct, with their counts."""
    counted = pc.value_counts(values)
    return _table(counted.field("values"), counted.field("counts"))


def _table(values: pa.Array, counts: np.ndarray | pa.Array) -> pa.Table:
    """Values that are there and occur, in the type in which they are kept, with their counts."""
    if pa.types.is_floating(values.type):
        values = pc.add(values, 0.0)
    table = pa.table({"value": values.cast(_INSIDE[values.type]), "count": counts})
    return table.filter(pc.and_(pc.greater(table["count"], 0), pc.invert(pc.is_null(table["value"], nan_is_null=True))))


_INSIDE = {pa.string(): pa.large_string()} | {kind: kind for kind in (pa.large_string(), pa.int64(), pa.float64())}
"""The type in which values of each countable type are kept."""


class ValueCounts:
    """Exact counts of the distinct values of one column: strings, int64 or float64, plain or dictionary-encoded.

    Missing values (nulls, NaN) are ignored; -0.0 is 0.0. Raises: DataError once there are more than `limit` distinct values
    (at the latest when they are asked for), naming the column.

    >>> counts = ValueCounts(name="city")
    >>> counts.add(pa.array(["Rome", "Oslo", "Rome", None]))
    >>> counts.ranked()[0].to_pylist(), counts.ranked()[1].tolist(), counts.total
    (['Rome', 'Oslo'], [2, 1], 3)
    """

    def __init__(self, limit: int = 5_000_000, name: str = "") -> None:
        self.limit, self.name = limit, name
        self._type: pa.DataType | None = None
        self._tally = _Tally(self._refuse_too_many)
        self._dictionary: pa.Array | None = None
        self._counts = np.zeros(0, np.int64)

    def add(self, values: pa.Array) -> None:
        """Take in values (n,). Raises: DataError for another type than before, or one that cannot be counted."""
        plain = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        if plain not in _INSIDE:
            raise DataError(f"Column {self.name!r}: values are counted as {', '.join(map(str, _INSIDE))}. Got {plain}. "
                            f"Cast the column first.")
        self._check_type(_INSIDE[plain])
        if not pa.types.is_dictionary(values.type):
            return self._tally.add(_counted(values))
        if self._dictionary is None or not self._dictionary.equals(values.dictionary):
            self._close_dictionary()
            self._dictionary, self._counts = values.dictionary, np.zeros(len(values.dictionary), np.int64)
        self._counts += np.bincount(values.indices.drop_null(), minlength=len(self._counts))

    @property
    def total(self) -> int:
        """All values that were counted."""
        table = self._settled()
        return 0 if table is None else pc.sum(table["count"]).as_py() or 0

    def merge(self, other: ValueCounts) -> None:
        """Take in all that `other` has counted."""
        if (table := other._settled()) is not None:
            self._check_type(other._type)
            self._tally.add(table)

    def ranked(self, min_count: int = 1, max_size: int | None = None) -> tuple[pa.Array, np.ndarray]:
        """Values by count, highest first, equal counts by value (text by its UTF-8 bytes); with the counts, int64.

        Only values counted `min_count` times or more, at most `max_size` of them. Text comes back as large_string.
        """
        table = self._settled()
        if table is None:
            return pa.nulls(0), np.zeros(0, np.int64)
        table = table.filter(pc.greater_equal(table["count"], min_count))
        table = table.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, max_size)
        return table["value"].combine_chunks(), table["count"].to_numpy()

    def _settled(self) -> pa.Table | None:
        self._close_dictionary()
        return self._tally.settle()

    def _close_dictionary(self) -> None:
        """Take in the counts of the dictionary that came last: batches that share one are counted by code."""
        if self._dictionary is not None:
            table, self._dictionary = _table(self._dictionary, self._counts), None
            self._tally.add(table)

    def _check_type(self, inside: pa.DataType) -> None:
        if self._type not in (None, inside):
            raise DataError(f"Column {self.name!r}: one column holds values of one type. Got {self._type}, then {inside}. "
                            f"Cast all of it to one of them.")
        self._type = inside

    def _refuse_too_many(self, table: pa.Table) -> pa.Table:
        if len(table) > self.limit:
            raise DataError(f"Column {self.name!r}: a vocabulary is counted exactly up to {self.limit:,} distinct values. "
                            f"Got more. Declare the column as Hashed(bins=…).")
        return table


class QuantileSketch:
    """Quantiles of float64 values: exact up to `limit` distinct ones, then of values rounded down to a grid.

    The grid keeps 12 bits of each mantissa: cells of float64 numbers that share sign, exponent and those bits, each value
    counted as the smallest of its cell. So beyond the limit every answer is the exact one for values that were each lowered by
    at most `relative_error` = 2**-12 of their size (below 2**-1022: by at most 2**-1034), and the share of values strictly
    below a boundary is still exact. Merge only sketches of one limit.

    >>> sketch = QuantileSketch()
    >>> sketch.add(np.arange(100.0))
    >>> sketch.boundaries(4).tolist(), sketch.exact
    ([25.0, 50.0, 75.0], True)
    """

    def __init__(self, limit: int = 100_000) -> None:
        self.limit = limit
        self._exact = True
        self._tally = _Tally(self._coarsen_too_many)

    def add(self, values: np.ndarray) -> None:
        """Take in values (n,). Raises: DataError unless all are finite."""
        values = _finite(values)
        self._tally.add(_counted(pa.array(values if self._exact else _floor_to_grid(values))))

    def merge(self, other: QuantileSketch) -> None:
        """Take in all that `other` has seen."""
        if (table := other._tally.settle()) is not None:
            self._exact = self._exact and other._exact
            self._tally.add(table)

    @property
    def exact(self) -> bool:
        """Were there at most `limit` distinct values?"""
        self._tally.settle()
        return self._exact

    @property
    def relative_error(self) -> float:
        """By how much of its size a value may have been lowered."""
        return 0.0 if self.exact else 2.0**-GRID_BITS

    def boundaries(self, quantiles: int) -> np.ndarray:
        """At most `quantiles` - 1 ascending boundaries, for buckets of nearly equal counts: how many boundaries are ≤ x.

        A column of no more values than `quantiles` has a bucket for each. Otherwise a value that is more than a bucket's share
        of the column counts as one bucket, and the others share what is left: where 92 % are zero, 31 of 32 buckets still tell
        the rest apart. Boundary k is the value, other than the smallest, with the
        share of values strictly below it (so counted) nearest to k / `quantiles`; each is named once, so no bucket is empty.
        """
        values, counts = self._sorted()
        if len(values) <= quantiles:
            return values[1:]
        counts = _capped(counts, quantiles)
        below = np.cumsum(counts)[:-1]
        return values[1:][_nearest(below * quantiles, np.arange(1, quantiles) * counts.sum())]

    def knots(self, points: int) -> tuple[np.ndarray, np.ndarray]:
        """At most `points` (two or more) of the values, ascending, and the share of all values below each, in [0, 1].

        The share is that of values strictly below plus half of those equal. The smallest and the largest value are always among
        them, the others so that the shares are as even as they can be.
        """
        values, counts = self._sorted()
        if not len(values):
            return np.zeros(0), np.zeros(0)
        twice, twice_total = 2 * np.cumsum(counts) - counts, 2 * counts.sum()
        chosen = np.arange(len(values))
        if len(values) > points:
            chosen = _nearest(twice * (points - 1), np.arange(points) * twice_total)
        return values[chosen], twice[chosen] / twice_total

    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        table = self._tally.settle()
        if table is None:
            return np.zeros(0), np.zeros(0, np.int64)
        values, counts = table["value"].to_numpy(), table["count"].to_numpy()
        order = np.argsort(values)
        return values[order], counts[order]

    def _coarsen_too_many(self, table: pa.Table) -> pa.Table:
        self._exact = self._exact and len(table) <= self.limit
        if self._exact:
            return table
        return _joined(table.set_column(0, "value", pa.array(_floor_to_grid(table["value"].to_numpy()))))


def _capped(counts: np.ndarray, parts: int) -> np.ndarray:
    """Counts to scale, the heavy ones lowered until none is more than a `parts`-th of the sum; there are more than `parts`."""
    heavy, free = np.zeros(len(counts), bool), parts
    while (more := ~heavy & (counts * free > counts[~heavy].sum())).any():
        heavy |= more
        free = parts - int(heavy.sum())
    return np.where(heavy, counts[~heavy].sum(), counts * free)


def _floor_to_grid(values: np.ndarray) -> np.ndarray:
    """The smallest number of each value's cell: low mantissa bits cleared, or set where the value is negative."""
    bits = values.view(np.int64)
    low = (1 << (52 - GRID_BITS)) - 1
    return np.where(bits < 0, bits | low, bits & ~low).view(np.float64)


def _nearest(ascending: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The positions, ascending and each once, of the numbers nearest to the targets; the lower of two equally near."""
    right = np.searchsorted(ascending, targets).clip(0, len(ascending) - 1)
    left = (right - 1).clip(0)
    return np.unique(np.where(np.abs(targets - ascending[left]) <= np.abs(ascending[right] - targets), left, right))
