"""Which columns to cross: what would each cross add, on held-out rows, to all single columns together?

Everything is measured on a bounded sample of distinct rows that depends neither on their order nor on their batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from widedeep.evaluation.metrics import sigmoid
from widedeep.rows import Bag, Rows

MOST_CROSSES = 6
MOST_COLUMNS = 60
"""So many columns are paired, the first of the table."""

MOST_CELLS = 1 << 18
"""A pair with more possible combinations is not compared: too few of them come twice in the sample."""

DETERMINED, MANY_VALUES, SHARED = 1.2, 30, 0.5
"""Pairs by rule: ids of which neither determines the other; or a list of many values that shares half of them with a column."""

SURE, WORTH = 3.0, 0.001
"""A cross is suggested if its gain is so many standard errors above 0, and such a share of the loss."""

BUDGET = 30_000_000
"""Cells of all pairs together; a table of more columns is searched on fewer rows."""

PRIOR = 1.0
"""The pull of each value's effect towards 0, in units of the loss's curvature (of a logistic loss: at most 1/4 a row)."""

ROUNDS, STEPS, CENTRED, SHORTLIST = 6, 2, 3, 16
"""Rounds of fitting all columns, steps of fitting a cross, rounds of taking its parts out of it, pairs judged exactly."""


@dataclass(frozen=True, eq=False)
class Part:
    """One column of the sample, or a cross of two: `codes` below `size`, 0 where missing.

    Single-valued: codes (rows,). Lists: a code per element, `rows` names the row of each. `values` are the marks that the
    codes from 1 on stand for (of numbers and crosses: None). `is_ids`: of many things that come again, users or items.
    """

    name: str
    codes: np.ndarray
    size: int
    rows: np.ndarray | None = None
    values: np.ndarray | None = None
    is_ids: bool = False

    def head(self, rows: int) -> Part:
        """The column's first rows."""
        if self.rows is None:
            return replace(self, codes=self.codes[:rows])
        inside = self.rows < rows
        return replace(self, codes=self.codes[inside], rows=self.rows[inside])

    def sums(self, per_row: np.ndarray) -> np.ndarray:
        """What the rows of each code sum up to: float64 (size,)."""
        return np.bincount(self.codes, per_row if self.rows is None else per_row[self.rows], self.size)

    def spread(self, per_code: np.ndarray, rows: int) -> np.ndarray:
        """What the codes of each row sum up to: float64 (rows,)."""
        return per_code[self.codes] if self.rows is None else np.bincount(self.rows, per_code[self.codes], rows)

    def lengths(self, rows: int) -> np.ndarray | int:
        """How many codes each row has."""
        return 1 if self.rows is None else np.bincount(self.rows, minlength=rows)


def part_of_marks(name: str, cells: np.ndarray | Bag, missing: np.ndarray, is_ids: bool = False) -> Part:
    """A column of ids; marks among `missing` are missing, in lists they are left out."""
    flat = cells.flat if isinstance(cells, Bag) else cells
    there = ~np.isin(flat, np.append(missing, np.uint64(0)))
    values, codes = np.unique(flat[there], return_inverse=True)
    if isinstance(cells, Bag):
        return Part(name, codes + 1, len(values) + 1, cells.row_of[there], values, is_ids)
    filled = np.zeros(len(flat), np.int64)
    filled[there] = codes + 1
    return Part(name, filled, len(values) + 1, None, values, is_ids)


def part_of_numbers(name: str, numbers: np.ndarray, boundaries: np.ndarray) -> Part:
    """A bucketized column; NaN is missing."""
    codes = np.where(np.isnan(numbers), 0, np.searchsorted(boundaries, numbers, side="right") + 1)
    return Part(name, codes, len(boundaries) + 2)


def crossed(a: Part, b: Part) -> Part:
    """The cross of two columns, at most one of them of lists: code a · b.size + b, or 0 where a part is missing.

    >>> a = Part("a", np.array([1, 1, 2, 0]), 3)
    >>> crossed(a, Part("b", np.array([1, 2, 2, 2]), 3)).codes.tolist()
    [4, 5, 8, 0]
    """
    rows = b.rows if a.rows is None else a.rows
    left = a.codes if rows is a.rows else a.codes[rows]
    right = b.codes if rows is b.rows else b.codes[rows]
    return Part(f"{a.name} × {b.name}", np.where((left == 0) | (right == 0), 0, left * b.size + right), a.size * b.size, rows)


class Half:
    """A logistic (or least-squares) regression fitted on one half of the rows and judged on the other.

    `trained` and `held` say how often each row counts on either side; `outputs` are the logits of all rows.
    """

    def __init__(self, binary: bool, labels: np.ndarray, trained: np.ndarray, held: np.ndarray) -> None:
        self.binary, self.labels, self.trained, self.held = binary, labels, trained, held
        mean = (trained @ labels + 0.5 * binary) / (trained.sum() + 1)
        self.outputs = np.full(len(labels), np.log(mean / (1 - mean)) if binary else mean)

    def fit(self, parts: Sequence[Part]) -> None:
        """Fit all columns together, one after the other, several times."""
        effects = [np.zeros(part.size) for part in parts]
        for _ in range(ROUNDS):
            for part, effect in zip(parts, effects):
                rise, weight = self._sums(part, self.outputs, self.trained)
                change = (rise - PRIOR * effect) / (weight + PRIOR)
                effect += change
                self.outputs += part.spread(change, len(self.outputs))

    def glance(self, pair: Pair, cross: Part) -> float:
        """About how much one step of a cross lowers the loss of all held-out rows."""
        rise, weight = self._sums(cross, self.outputs, self.trained)
        effects = _interaction(pair, rise / (weight + PRIOR), weight)
        rise, weight = self._sums(cross, self.outputs, self.held)
        return float(effects @ (rise - weight * effects / 2))

    def added(self, pair: Pair, cross: Part) -> np.ndarray:
        """What a cross, fitted on this half, adds to each row's output beyond its parts: float64 (rows,)."""
        effects, outputs = np.zeros(cross.size), self.outputs
        for _ in range(STEPS):
            rise, weight = self._sums(cross, outputs, self.trained)
            effects = _interaction(pair, effects + (rise - PRIOR * effects) / (weight + PRIOR), weight)
            outputs = self.outputs + cross.spread(effects, len(outputs))
        return outputs - self.outputs

    def losses(self, added: np.ndarray | float = 0.0) -> np.ndarray:
        """Each row's log loss if this is added to the outputs; in a regression half its squared error."""
        outputs = self.outputs + added
        if self.binary:
            return np.logaddexp(0.0, outputs) - self.labels * outputs
        return (self.labels - outputs) ** 2 / 2

    def _sums(self, part: Part, outputs: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By code, over rows that count so often: minus the loss's slope, and a curvature that lets all codes step at once."""
        means = sigmoid(outputs) if self.binary else outputs
        curvature = means * (1 - means) if self.binary else 1.0
        return part.sums((self.labels - means) * counts), part.sums(curvature * counts * part.lengths(len(counts)))


def _interaction(pair: Pair, effects: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The effects (size,) of a cross without what its parts could say alone: their weighted means by part are taken out."""
    table, weight = (x.reshape(pair[0].size, pair[1].size).copy() for x in (effects, weight))
    weight[0, 0] = 0.0
    for axis in (1, 0) * CENTRED:
        table -= (table * weight).sum(axis, keepdims=True) / np.maximum(weight.sum(axis, keepdims=True), 1e-12)
    return np.where(weight > 0, table, 0.0).ravel()


Pair = tuple[Part, Part]


@dataclass(frozen=True, eq=False)
class Judged:
    """A pair's cross, fitted on either half: by how much it lowers the loss of a held-out row, and whether that is sure."""

    pair: Pair
    added: tuple[np.ndarray, ...]
    gain: float
    sure: bool

    @classmethod
    def of(cls, halves: Sequence[Half], pair: Pair) -> Judged:
        cross = crossed(*pair)
        added = tuple(half.added(pair, cross) for half in halves)
        before, held = _held(half.losses() for half in halves), _held(half.held for half in halves)
        gains = before - _held(half.losses(more) for half, more in zip(halves, added))
        gain = np.average(gains, weights=held)
        error = np.sqrt(np.average((gains - gain) ** 2, weights=held) / held.sum())
        return cls(pair, added, float(gain), bool(gain > SURE * error and gain > WORTH * np.average(before, weights=held)))


def _held(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))


@dataclass(frozen=True)
class Cross:
    """A suggested cross, and how many combinations occur in the sample; `once` counts those of a single row.

    `gain`: by how much it lowers the loss of a held-out row beyond all single columns and the crosses before it, in nats
    (regression: in halves of the label's variance); None for a pair that was taken by rule, without measuring.
    """

    sources: tuple[str, str]
    gain: float | None
    occurring: int
    once: int


@dataclass(frozen=True)
class Search:
    """What was found by comparing so many pairs of columns on so many rows; `loss` is that of all single columns together."""

    crosses: tuple[Cross, ...]
    rows: int
    columns: int
    pairs: int
    loss: float


def search(sample: Rows, parts: Sequence[Part], labels: np.ndarray, binary: bool) -> Search:
    """The crosses worth having, in the order in which they were chosen. Labels (rows,): 0 and 1, or numbers.

    A glance at every pair comes first; then the best are judged exactly, one after the other, each beyond all single columns
    and the crosses before it. Pairs of ids are taken by rule, for their combinations hardly repeat in a sample.
    """
    rows = _affordable(parts, len(labels))
    parts, counts = [part.head(rows) for part in parts], sample.weights[:rows]
    halves = _halves(binary, labels[:rows], counts)
    ruled = _by_rule(parts, counts)
    for half in halves:
        half.fit(parts)
    loss = sum(half.held @ half.losses() for half in halves) / counts.sum()
    pairs = [pair for pair in _pairs(parts[:MOST_COLUMNS]) if pair[0].size * pair[1].size <= MOST_CELLS and pair not in ruled]
    chosen = [Cross((a.name, b.name), None, *_occurring((a, b), counts)) for a, b in ruled]
    left = _shortlist(halves, pairs)
    while left and len(chosen) < MOST_CROSSES:
        sure = [judged for pair in left if (judged := Judged.of(halves, pair)).sure]
        if sure:
            best = max(sure, key=lambda judged: judged.gain)
            chosen.append(_taken(halves, best, counts))
        left = [judged.pair for judged in sure if judged is not best]
    return Search(tuple(chosen), int(counts.sum()), len(parts[:MOST_COLUMNS]), len(pairs), float(loss))


def _affordable(parts: Sequence[Part], rows: int) -> int:
    """How many of the rows to use, so that the pairs of all columns have `BUDGET` cells at most."""
    cells = sum(len(part.codes) for part in parts) * min(len(parts), MOST_COLUMNS) / 2
    return min(rows, max(1_000, int(rows * BUDGET / max(1, cells))))


def _halves(binary: bool, labels: np.ndarray, counts: np.ndarray) -> list[Half]:
    """Two halves of the rows, each way round; for each time that a row came a coin is tossed."""
    if not binary:
        labels = labels - np.average(labels, weights=counts)
        labels = labels / (np.sqrt(np.average(labels**2, weights=counts)) or 1.0)
    one = np.random.default_rng(0).binomial(counts.astype(np.int64), 0.5).astype(np.float64)
    return [Half(binary, labels, one, counts - one), Half(binary, labels, counts - one, one)]


def _pairs(parts: Iterable[Part]) -> list[Pair]:
    """All pairs of columns, except two of lists."""
    return [(a, b) for a, b in combinations(parts, 2) if a.rows is None or b.rows is None]


def _shortlist(halves: Sequence[Half], pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that look best, best first."""
    glances = []
    for pair in pairs:
        cross = crossed(*pair)
        glances.append(sum(half.glance(pair, cross) for half in halves))
    best = sorted(range(len(pairs)), key=lambda i: -glances[i])[:SHORTLIST]
    return [pairs[i] for i in best if glances[i] > 0]


def _by_rule(parts: Sequence[Part], counts: np.ndarray) -> list[Pair]:
    """The pair of ids with the most combinations (user × item), and lists with the ids they hold (installed × candidate)."""
    occurring = {pair: _occurring(pair, counts)[0] for pair in _pairs(part for part in parts if part.is_ids)}
    free = [pair for pair, n in occurring.items() if n > DETERMINED * max(part.size for part in pair)]
    many = [part for part in parts if part.values is not None and len(part.values) >= MANY_VALUES]
    mixed = [pair for pair in _pairs(many) if (pair[0].rows is None) != (pair[1].rows is None)]
    held = [(a, b) for a, b in mixed if len(np.intersect1d(a.values, b.values)) > SHARED * min(len(a.values), len(b.values))]
    return sorted(free, key=lambda pair: -occurring[pair])[:1] + held[:MOST_CROSSES - 1]


def _taken(halves: Sequence[Half], judged: Judged, counts: np.ndarray) -> Cross:
    """The pair as a suggestion; later ones are judged beyond it."""
    for half, added in zip(halves, judged.added):
        half.outputs += added
    a, b = judged.pair
    return Cross((a.name, b.name), judged.gain, *_occurring((a, b), counts))


def _occurring(pair: Pair, counts: np.ndarray) -> tuple[int, int]:
    """How many combinations occur in the rows, each of which came so often, and how many of them once."""
    cross = crossed(*pair)
    _, codes = np.unique(np.append(cross.codes, 0), return_inverse=True)
    seen = replace(cross, codes=codes[:-1], size=int(codes.max()) + 1).sums(counts)[1:]
    return len(seen), int((seen == 1).sum())
