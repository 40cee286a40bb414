"""Rows that never lie in memory together: made anew in every pass, and shuffled within a window that moves over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from widedeep.rows import Rows, concatenate

WINDOW = 131_072
"""Rows among which a streaming pass shuffles."""


class Stream:
    """`count` rows that `batches()` makes anew, in order, for each pass; between passes nothing is kept.

    A shuffled pass holds `window` rows: those of each chunk are drawn from among them at random, and the rows that come next
    take their places. Rows that fit the window are shuffled as `Rows` are, in the same order.

    >>> stream = Stream(lambda: (Rows({"x": np.arange(start, start + 4)}) for start in (0, 4, 8)), count=12)
    >>> [chunk.features["x"].tolist() for chunk in stream.chunks(5)]
    [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    """

    def __init__(self, batches: Callable[[], Iterable[Rows]], count: int, window: int = WINDOW):
        self.batches, self.count, self.window = batches, count, window

    def __len__(self) -> int:
        return self.count

    def chunks(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Rows]:
        """Every row once, `size` rows at a time and at last what is left: in order, or as a generator shuffles them."""
        pieces = _cut(self.batches(), size)
        return pieces if rng is None else _shuffled(pieces, size, self.window, rng)


def _cut(batches: Iterable[Rows], size: int) -> Iterator[Rows]:
    """The same rows in pieces of `size`, the last one of what is left."""
    waiting, count = [], 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        if count >= size:
            joined, whole = concatenate(waiting), count - count % size
            yield from joined.slice(0, whole).chunks(size)
            waiting, count = [joined.slice(whole, count)], count - whole
    if count:
        yield concatenate(waiting)


def _shuffled(pieces: Iterator[Rows], size: int, window: int, rng: np.random.Generator) -> Iterator[Rows]:
    held = concatenate(list(islice(pieces, -(-window // size))))
    for piece in pieces:
        if len(piece) < size:
            held = concatenate([held, piece])
        else:
            drawn = rng.choice(len(held), size, replace=False)
            yield held.take(drawn)
            held = held.put(drawn, piece)
    yield from held.chunks(size, rng)
