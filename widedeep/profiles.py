"""What one pass sees of a table, column by column: values, counts, what is missing, what text may stand for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from operator import add

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from widedeep.errors import DataError, SchemaError
from widedeep.rows import Bag, Rows
from widedeep.samples import Sample, Spread, marks
from widedeep.schema import Label
from widedeep.sketches import ValueCounts
from widedeep.tables import Table, fits
from widedeep.values import CANONICAL, Place, Values, categories, element_type, is_list, kind_of_type

MARKERS = pa.array(["", "?", "-", "na", "n/a", "nan", "null", "none"], pa.large_string())
"""Text that means "missing", whatever its case and the blanks around it."""

READINGS = {"number": pa.float64(), "time": pa.timestamp("us"), "zoned time": pa.timestamp("us", "UTC")}
"""What all texts of a column may stand for."""

EXACT = 100_000
"""So many distinct values of a column are counted exactly and may become a vocabulary; more are hashed."""


class Profile:
    """What one pass sees of a column: how many cells are there, which values, how often, and what text may stand for."""

    def __init__(self, name: str, kind: pa.DataType, is_label: bool = False) -> None:
        self.name, self.kind, self.multivalued = name, kind_of_type(element_type(kind), name), is_list(kind)
        self.rows = self.missing = self.cells = 0
        self.first_missing: int | None = None
        self.markers: Counter[str] = Counter()
        self.low, self.high, self.whole, self.finite = math.inf, -math.inf, True, True
        self.readings = dict(READINGS) if self.kind == "string" and not is_label else {}
        self._is_label = is_label
        self._spread, self._counts = Spread(), ValueCounts(EXACT, name)

    def add(self, array: pa.Array, first_row: int) -> tuple[np.ndarray | Bag, np.ndarray]:
        """Take in a part of the column; gives its cells as marks, and as numbers: NaN for what is none."""
        values = categories(array, self.kind, Place(self.name, partial(add, first_row)))
        found, numbers = marks(values.distinct), self._numbers(values)
        self._count(values, found, first_row)
        cells = np.append(found, np.uint64(0))[values.codes]
        if values.splits is not None:
            return Bag(cells, values.splits), np.full(len(values), np.nan)
        return cells, np.append(numbers, np.nan)[values.codes]

    def _count(self, values: Values, found: np.ndarray, first_row: int) -> None:
        absent = values.codes < 0 if values.null is None else values.null
        if self.first_missing is None and absent.any():
            self.first_missing = first_row + int(np.argmax(absent))
        self.rows += len(values)
        self.missing += int(absent.sum())
        self.cells += int((values.codes >= 0).sum())
        self._spread.add(found)
        if self._counts is not None:
            try:
                self._counts.add(values.present())
            except DataError:
                self._counts = None

    def _numbers(self, values: Values) -> np.ndarray:
        """The distinct values as float64 (n,), NaN for what is no number."""
        if self.kind in ("int", "float"):
            numbers = np.asarray(values.distinct).astype(np.float64)
        else:
            text = self.kind == "string" and not self._is_label
            numbers = self._read(values) if text else np.full(len(values.distinct), np.nan)
        finite = numbers[np.isfinite(numbers)]
        self.low, self.high = min(self.low, finite.min(initial=math.inf)), max(self.high, finite.max(initial=-math.inf))
        self.whole &= bool((finite == np.floor(finite)).all())
        self.finite &= not np.isinf(numbers).any()
        return numbers

    def _read(self, values: Values) -> np.ndarray:
        """Text as numbers, as long as all of it is numbers and missing markers; the markers are counted."""
        text, kind = values.distinct, values.distinct.type
        marked = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(text)), MARKERS)
        counts = np.bincount(values.codes[values.codes >= 0], minlength=len(text))
        self.markers.update({text[int(i)].as_py(): int(counts[i]) for i in np.flatnonzero(marked)})
        text = pc.if_else(marked, pa.scalar(None, kind), text)
        self.readings = {name: reading for name, reading in self.readings.items() if fits(text, reading)}
        if "number" in self.readings and pc.any(pc.match_substring_regex(text, r"^0\d")).as_py():
            del self.readings["number"]
        return np.asarray(text.cast(pa.float64())) if "number" in self.readings else np.full(len(text), np.nan)

    @cached_property
    def present(self) -> int:
        """Cells (of lists: elements) that hold a value and no missing marker."""
        return self.cells - self.markers.total()

    @cached_property
    def found(self) -> tuple[pa.Array, np.ndarray] | None:
        """The values without missing markers, most frequent first, and their counts; None if there are more than `EXACT`."""
        if self._counts is None:
            return None
        try:
            values, counts = self._counts.ranked()
        except DataError:
            return None
        kept = pc.invert(pc.is_in(values, pa.array(list(self.markers), values.type)))
        return values.filter(kept), counts[np.asarray(kept)]

    @cached_property
    def distinct(self) -> int:
        """How many values there are, missing markers apart; beyond `EXACT` within about 2 %."""
        about = min(self._spread.count, self.cells) - len(self.markers)
        return about if self.found is None else len(self.found[0])

    @property
    def reading(self) -> str:
        """What the cells are: list, time, text, bool, whole or real (numbers)."""
        if self.multivalued or self.kind == "bool":
            return "list" if self.multivalued else "bool"
        if self.readings.keys() - {"number"}:
            return "time"
        if self.kind == "string" and not (self.markers and "number" in self.readings):
            return "text"
        return "whole" if self.whole and self.finite else "real"

    @property
    def text(self) -> str:
        """How many values, and what share of rows has none: for comments."""
        values = "1 value" if self.distinct == 1 else f"{'' if self.found else 'about '}{self.distinct:,} values"
        gone = self.missing + (0 if self.multivalued else self.markers.total())
        return values + (f", {percent(gone, self.rows)} missing" if gone else "")

    @property
    def range(self) -> str:
        """From where to where the numbers go: for comments."""
        return f"{_number(self.low)} to {_number(self.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == math.floor(value) and abs(value) < 1e15 else f"{value:,.4g}"


def percent(part: float, whole: float) -> str:
    """A share in words.

    >>> percent(1, 8), percent(1, 10_000)
    ('12.5 %', 'under 0.1 %')
    """
    share = 100 * part / whole
    return f"{share:.1f} %" if share >= 0.1 else "under 0.1 %"


@dataclass(frozen=True)
class Survey:
    """What one pass saw of a table: profiles of the label and of the columns that may be features, and a sample of rows.

    `refused` says of the columns of which no feature can be made why that is.
    """

    table: Table
    roles: Mapping[str, str]
    profiles: Mapping[str, Profile]
    refused: Mapping[str, str]
    sample: Rows

    @classmethod
    def of(cls, table: Table, named: Mapping[str, str | None]) -> Survey:
        """Raises: DataError for columns that the table lacks or has twice, SchemaError for a label with two roles."""
        roles = {role: column for role, column in named.items() if column is not None}
        table.require(dict.fromkeys([*roles.values(), *table.columns]))
        if twice := [role for role, column in roles.items() if role != "label" and column == roles["label"]]:
            raise SchemaError(f"The label has no other role. Got {roles['label']!r} as {twice[0]} too. Name another column.")
        profiles, refused = {}, {}
        for name in [roles["label"], *_features(table, roles)]:
            try:
                profiles[name] = Profile(name, table.type_of(name), name == roles["label"])
            except DataError as error:
                refused[name] = str(error).partition(" Got ")[2]
        if roles["label"] in refused:
            raise DataError(f"Label {roles['label']!r}: a label is text, a number or a boolean. "
                            f"Got {table.type_of(roles['label'])}. Choose another column.")
        return cls(table, roles, profiles, refused, _sample(table, profiles))

    @property
    def rows(self) -> int:
        return self.profiles[self.roles["label"]].rows

    @property
    def features(self) -> list[str]:
        return _features(self.table, self.roles)

    @property
    def profiled(self) -> list[Profile]:
        """The features' profiles."""
        return [self.profiles[name] for name in self.features if name in self.profiles]

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """The missing markers in the features."""
        return tuple(sorted({marker for profile in self.profiled for marker in profile.markers}))

    def targets(self, label: Label) -> np.ndarray:
        """The sample's labels: 0 and 1, or numbers; float64 (rows,)."""
        if label.kind == "regression":
            return self.sample.features[f"number {label.column}"]
        positive = str(label.positive).lower() if isinstance(label.positive, bool) else label.positive
        mark = marks(pa.array([positive], CANONICAL[self.profiles[label.column].kind]))
        return (self.sample.features[f"mark {label.column}"] == mark).astype(np.float64)


def how_split(roles: Mapping[str, str]) -> str:
    """How validation rows are held out: by what is declared."""
    return next((role for role in ("time", "group") if role in roles), "random")


def _features(table: Table, roles: Mapping[str, str]) -> list[str]:
    """The columns that have no other role; the group is a feature too, unless whole groups are held out."""
    taken = {column for role, column in roles.items() if role != "group" or how_split(roles) == "group"}
    return [name for name in table.columns if name not in taken]


def _sample(table: Table, profiles: Mapping[str, Profile]) -> Rows:
    """The one pass: fills the profiles, and gives a sample of rows."""
    sample, row = Sample(), 0
    for batch in table.batches(list(profiles)):
        parts = {name: profile.add(array, row) for (name, profile), array in zip(profiles.items(), batch.columns)}
        sample.add({f"mark {name}": cells for name, (cells, _) in parts.items()},
                   {f"number {name}": numbers for name, (_, numbers) in parts.items()})
        row += len(batch)
    return sample.rows()
