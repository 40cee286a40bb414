"""Work done in a thread ahead of whoever consumes it: in order, and in bounded memory."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """The same items, each made in a thread while the one before is consumed; an error comes where its item would have come.

    Whatever ends the consumer, Ctrl-C too, waits for the one item that is being made and closes `items`.

    >>> list(ahead(number for number in range(3)))
    [0, 1, 2]
    """
    over = object()
    with closing(items), ThreadPoolExecutor(1, "ahead") as thread:
        pending = thread.submit(next, items, over)
        while (item := pending.result()) is not over:
            pending = thread.submit(next, items, over)
            yield item
