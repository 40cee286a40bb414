"""The sizes of the nets that are timed, and rows drawn for them from a seed: the same for every system. Needs NumPy only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

ZIPF = 1.2
EFFECTS = 50


@dataclass(frozen=True)
class Shape:
    """A wide & deep net: ids go into both towers, numbers too, crosses into the wide tower only.

    `rows` is the table size of each id column; a cross is a pair of columns, hashed into `cross_rows`. Without `wide`, the deep
    tower is alone; without `hidden`, the wide tower. Dropout and batch norm come after every hidden layer.
    """

    rows: tuple[int, ...]
    crosses: tuple[tuple[int, int], ...]
    cross_rows: int
    numbers: int
    dim: int
    hidden: tuple[int, ...]
    batch: int
    batch_norm: bool = False
    dropout: float = 0.0
    wide: bool = True

    @property
    def width(self) -> int:
        """Inputs of the MLP."""
        return len(self.rows) * self.dim + self.numbers

    @property
    def wide_rows(self) -> tuple[int, ...]:
        """Table sizes of the wide tower's columns: ids, then crosses."""
        return self.rows + (self.cross_rows,) * len(self.crosses)


def _pairs(count: int) -> tuple[tuple[int, int], ...]:
    return tuple((2 * i, 2 * i + 1) for i in range(count))


SHAPES = {
    "criteo": Shape(rows=(100_000,) * 26, crosses=_pairs(10), cross_rows=100_000, numbers=13, dim=16, hidden=(1024, 512, 256),
                    batch=4096),
    "adult": Shape(rows=(9, 16, 7, 15, 6, 5, 2, 42), crosses=_pairs(3), cross_rows=1000, numbers=6, dim=16, hidden=(256, 128),
                   batch=256),
    "frappe": Shape(rows=(540,) * 10, crosses=(), cross_rows=0, numbers=0, dim=10, hidden=(400, 400, 400), batch=4096,
                    batch_norm=True, dropout=0.3, wide=False),
    "wide": Shape(rows=(100_000,) * 10, crosses=_pairs(5), cross_rows=100_000, numbers=0, dim=16, hidden=(), batch=4096),
}


def shape_of(name: str, rows: int | None = None, wide: bool | None = None) -> Shape:
    """The shape of this name, with another table size or without its wide tower if asked.

    >>> shape_of("criteo").width
    429
    >>> sum(shape_of("criteo", rows=1000).wide_rows)
    1026000
    """
    shape = SHAPES[name]
    if rows is not None:
        shape = replace(shape, rows=(rows,) * len(shape.rows))
    return shape if wide is None else replace(shape, wide=wide)


class Data(NamedTuple):
    """Drawn rows: ids (n, columns) int32 and crosses (n, crosses) int32, numbers (n, numbers) float32, labels (n,) float32."""

    ids: np.ndarray
    crosses: np.ndarray
    numbers: np.ndarray
    labels: np.ndarray


def draw(shape: Shape, examples: int, seed: int = 0) -> Data:
    """Zipf ids within each table, normal numbers, and labels that depend on the first three columns and the first number.

    >>> draw(SHAPES["adult"], 5).ids.shape
    (5, 8)
    """
    rng = np.random.default_rng(seed)
    ids = (rng.zipf(ZIPF, (examples, len(shape.rows))) - 1) % np.array(shape.rows)
    numbers = rng.normal(size=(examples, shape.numbers)).astype(np.float32)
    crosses = [(ids[:, a] * 1_000_003 + ids[:, b]) % shape.cross_rows for a, b in shape.crosses]
    effects = rng.normal(size=(3, EFFECTS))
    logits = sum(effects[i, ids[:, i] % EFFECTS] for i in range(3)) + numbers[:, :1].sum(1) - 1
    labels = rng.random(examples) < 1 / (1 + np.exp(-logits))
    return Data(ids.astype(np.int32), np.stack(crosses, 1).astype(np.int32) if crosses else np.empty((examples, 0), np.int32),
                numbers, labels.astype(np.float32))


def packed(ids: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    """Ids of one table that holds all columns' rows, one column after the other, int64.

    >>> packed(np.array([[1, 0]]), (3, 4)).tolist()
    [[1, 3]]
    """
    return ids + np.cumsum((0, *rows[:-1]))


def wide_ids(shape: Shape, data: Data) -> np.ndarray:
    """The wide tower's ids, columns and crosses, in one packed table."""
    return packed(np.concatenate([data.ids, data.crosses], 1), shape.wide_rows)
