"""Work in a thread ahead of its consumer: in order, one item ahead, and nothing left behind however it ends."""

from __future__ import annotations

import threading

import pytest

from widedeep.ahead import ahead


class Source:
    """Numbers made one by one; knows how many were made, and whether it was closed."""

    def __init__(self, error=None):
        self.made, self.closed, self.error = 0, False, error

    def items(self):
        try:
            for number in range(100):
                if number == 3 and self.error:
                    raise self.error
                self.made += 1
                yield number, threading.current_thread()
        finally:
            self.closed = True


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_items_come_in_order_from_another_thread_which_is_gone_at_the_end():
    source = Source()
    items = list(ahead(source.items()))
    assert [number for number, _ in items] == list(range(100))
    assert threading.current_thread() not in {thread for _, thread in items} and not threads() and source.closed


def test_one_item_is_made_ahead_and_no_more():
    source = Source()
    for taken, _ in enumerate(ahead(source.items()), 1):
        assert taken <= source.made <= taken + 1


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_an_error_comes_where_its_item_would_have_come(error):
    source, seen = Source(error), []
    with pytest.raises(type(error)) as found:
        for number, _ in ahead(source.items()):
            seen.append(number)
    assert seen == [0, 1, 2] and found.value is error and source.closed and not threads()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, GeneratorExit])
def test_a_consumer_that_ends_early_leaves_no_thread_and_an_inner_source_is_closed_too(error):
    source = Source()
    items = ahead(item for item in ahead(source.items()))
    next(items)
    assert threads()
    try:
        items.throw(error)
    except error:
        pass
    assert not threads()
    del items
    assert source.closed
