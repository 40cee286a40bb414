"""Splits as one would serve: sides by hand, nothing lost, nothing leaked, and a leak check that finds what is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.recommend import splits
from widedeep.recommend.interactions import Interactions
from widedeep.recommend.splits import Split, by_time, last_n, leaks, new_users, refuse_leaks


def of(rows, timed=True):
    """Interactions of (user, item, day of 2024)."""
    who, what, when = map(list, zip(*rows))
    table = pa.table({"who": who, "what": what, "when": np.datetime64("2024-01-01") + np.array(when)})
    return Interactions.of(table, user="who", item="what", time="when" if timed else None)


def told(interactions):
    """Rows as ids, in order."""
    users, items = interactions.user_ids.take(interactions.user), interactions.item_ids.take(interactions.item)
    return list(zip(users.to_pylist(), items.to_pylist()))


ROWS = [("ann", 1, 0), ("ann", 2, 1), ("ann", 3, 5), ("bob", 1, 2), ("bob", 4, 6), ("cat", 2, 7), ("dan", 5, 3), ("dan", 1, 3)]
EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 9)), min_size=6, max_size=40)


@pytest.mark.parametrize("cut", [{"at": "2024-01-06"}, {"at": np.datetime64("2024-01-05T12:00")}, {"share": 0.4}])
def test_a_cut_in_time(cut):
    split = by_time(of(ROWS), **cut)
    assert told(split.test) == [("ann", 3), ("bob", 4), ("cat", 2)] and len(split.train) == 5
    assert split.record["rows"] == {"train": 5, "test": 3} and split.history is split.train
    assert split.test_users.tolist() == [0, 1, 2]


def test_a_share_never_cuts_through_one_time():
    rows = [(user, 1, day) for user, day in enumerate([0, 1, 1, 1, 1, 2])]
    assert len(by_time(of(rows), share=0.5).test) == 5   # 1 or 5 of 6
    assert len(by_time(of(rows), share=0.2).test) == 1


def test_the_last_rows_of_each_user():
    split = last_n(of(ROWS), 1)
    assert sorted(told(split.test)) == [("ann", 3), ("bob", 4), ("dan", 5)]   # of dan's two at one time, the higher id
    assert split.record["users_kept"] == 1   # cat
    assert sorted(told(last_n(of(ROWS), 2).test)) == [("ann", 2), ("ann", 3)]


def test_new_users_are_known_by_their_first_rows_only():
    rows = [(user, item, 10 * item + user) for user in range(10) for item in range(5)] + [(10, 1, 1)]
    split = new_users(of(rows), 0.3, seed=1, fold_in=0.6)
    held = set(split.test.user.tolist())
    assert len(held) == 3 and not held & set(split.train.user.tolist()) and split.history is split.fold_in
    for user in held - {10}:
        items = [one.item[one.user == user].tolist() for one in (split.fold_in, split.test)]
        assert items == [[0, 1, 2], [3, 4]]
    assert len(split.train) + len(split.test) + len(split.fold_in) == 51
    assert told(new_users(of(rows), 0.3, seed=1).test) != told(new_users(of(rows), 0.3, seed=2).test)
    assert told(new_users(of(rows), 0.3, seed=1).test) == told(new_users(of(rows), 0.3, seed=1).test)


def test_a_new_user_of_one_row_is_served_without_history():
    split = new_users(of([(user, 1, user) for user in range(4)]), 0.5)
    assert (len(split.fold_in), len(split.test)) == (0, 2) and leaks(split).unknown_users == 2


def test_without_times_new_users_are_known_by_drawn_rows():
    rows = [(user, item, 0) for user in range(40) for item in range(5)]
    split = new_users(of(rows, timed=False), 0.5, seed=3, fold_in=0.6)
    assert (len(split.fold_in), len(split.test)) == (60, 40) and leaks(split).found == ()
    assert len(set(split.test.item.tolist())) == 5   # not the last two of everybody


@given(EVENTS, st.sampled_from([lambda found: by_time(found, share=0.3), last_n, lambda found: new_users(found, 0.4)]))
def test_no_row_is_lost_and_nothing_leaks(rows, cut):
    found = of(rows)
    try:
        split = cut(found)
    except DataError as error:   # all rows of one time, or users of one row each
        assert "both sides of a split must have rows" in str(error)
        return
    parts = [split.train, split.test, *([split.fold_in] if split.fold_in else [])]
    assert sorted(pair for one in parts for pair in told(one)) == sorted(told(found))
    assert leaks(split).found == () and all(one.user_ids is found.user_ids for one in parts)


def test_two_tables_given_get_common_numbers():
    train, test = of(ROWS[:4]), of([("eve", 9, 50), ("ann", 4, 60)])
    split = splits.given(train, test)
    assert told(split.train) == told(train) and told(split.test) == told(test)
    assert split.train.user_ids is split.test.user_ids and split.train.item_ids.to_pylist() == [1, 2, 3, 4, 9]
    assert (leaks(split).unknown_users, leaks(split).unknown_items) == (1, 2)


@pytest.mark.parametrize(("train", "test", "message"), [
    ([("ann", 1, 0)], [("ann", 1, 5)], "1 test rows are of a user and an item that are together in training too"),
    ([("ann", 1, 0), ("ann", 2, 9)], [("ann", 3, 5)], "of 1 users training knows something later than one of their test rows"),
    ([("ann", 1, 0), ("bob", 2, 5)], [("ann", 3, 5)], "1 training rows are at or after the first test row"),
])
def test_a_planted_leak_is_found_and_refused(train, test, message):
    with pytest.raises(DataError, match=message + ".*Split by time, or drop these rows"):
        splits.given(of(train), of(test))


def test_a_new_user_in_training_is_a_leak():
    whole = of(ROWS)
    split = new_users(whole, 0.5)
    broken = replace(split, train=whole.take(~np.isin(whole.pairs, [*split.test.pairs, *split.fold_in.pairs[1:]])))
    assert leaks(broken).users == 1 and leaks(broken).found == ("1 users who are to be new are in training",)
    with pytest.raises(DataError, match="users who are to be new are in training"):
        refuse_leaks(broken)


def test_what_is_folded_in_must_not_be_in_the_test():
    split = new_users(of(ROWS), 0.5, fold_in=0.5)
    broken = replace(split, test=split.fold_in)
    assert (leaks(split).pairs, leaks(broken).pairs) == (0, len(split.fold_in))


def test_the_report_says_what_is_there_by_design():
    found = leaks(last_n(of(ROWS), 1))
    assert found.found == () and found.late_training == 2   # dan 1 on day 3, cat 2 on day 7
    assert found.text == ("no leaks\n2 training rows are at or after the first test row, as in every split by user\n"
                          "0 users and 3 items are in the test only")
    leaky = Split(of(ROWS), of(ROWS), {"how": "time"})
    assert leaks(leaky).text.startswith("leak: 8 test rows are of a user and an item")


@pytest.mark.parametrize(("call", "message"), [
    (lambda: by_time(of(ROWS)), "given as `at` or as `share`. Got at=None, share=None"),
    (lambda: by_time(of(ROWS), at="2024-01-03", share=0.1), "given as `at` or as `share`"),
    (lambda: by_time(of(ROWS), at="soon"), "`at` is a date or a time, .* Got 'soon'"),
    (lambda: by_time(of(ROWS), at=1_700_000_000), "`at` is a date or a time.* Got the number 1700000000. Write it as a date"),
    (lambda: by_time(of(ROWS), at="2025-01-01"), "Got no test rows of 8: cut at 2025"),
    (lambda: by_time(of(ROWS), at="2023-01-01"), "Got no training rows of 8"),
    (lambda: by_time(of(ROWS), share=1.0), r"share of a split must lie in \(0, 1\). Got 1.0"),
    (lambda: by_time(of(ROWS, timed=False), share=0.5), "by_time: a split by time needs times. Got interactions without. Name"),
    (lambda: last_n(of(ROWS, timed=False)), "last_n: a split by time needs times"),
    (lambda: last_n(of(ROWS), 0), "at least 1. Got 0"),
    (lambda: last_n(of(ROWS), 3), "Got no test rows of 8: users with more than 3 rows"),
    (lambda: new_users(of(ROWS), 0), r"must lie in \(0, 1\). Got 0"),
    (lambda: new_users(of(ROWS), 0.5, fold_in=1), r"share of a new user's rows that is known, in \[0, 1\). Got 1"),
    (lambda: new_users(of(ROWS), 0.01), "Got no test rows of 8: a share of 0.01 of 4 users"),
])
def test_every_mistake_has_its_message(call, message):
    with pytest.raises(DataError, match=message):
        call()
