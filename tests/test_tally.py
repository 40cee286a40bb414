"""What encoding met: exact, whatever the order and the batches."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.tally import Collisions

BINS = 5
VALUES = st.lists(st.lists(st.tuples(st.integers(0, BINS - 1), st.integers(0, 3)), max_size=6), max_size=6)


def share_of(values):
    """The share of crowded values by definition."""
    seen = defaultdict(set)
    for bucket, fingerprint in values:
        seen[bucket].add(fingerprint)
    return sum(len(seen[bucket]) > 1 for bucket, _ in values) / max(1, len(values))


def arrays(values):
    return np.array([bucket for bucket, _ in values], np.int64), np.array([print_ for _, print_ in values], np.uint64)


@given(VALUES, st.randoms(use_true_random=False))
def test_the_share_of_crowded_values_is_that_of_the_definition_in_any_order(batches, random):
    collisions, distinct = Collisions(BINS), Collisions(BINS)
    for batch in batches:
        collisions.add(*arrays(batch))
    random.shuffle(batches)
    for batch in batches:
        values = sorted(set(batch)) + [(0, 9)]
        times = np.array([batch.count(value) for value in values])
        coded = arrays(values)
        distinct.add_distinct(*coded, times)
    expected = share_of([value for batch in batches for value in batch])
    assert collisions.share == pytest.approx(expected) and distinct.share == collisions.share


@given(VALUES, st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_batches_that_share_their_distinct_values_count_like_rows(batches, times):
    rows, shared = Collisions(BINS), Collisions(BINS)
    for batch in batches:
        values = sorted(set(batch))
        coded = arrays(values)
        for each in times:
            counts = np.full(len(values), each)
            shared.add_distinct(*coded, counts)
            rows.add(*(np.repeat(part, counts) for part in coded))
        assert shared.share == rows.share
    assert shared.share == rows.share
