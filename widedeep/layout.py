"""Where ids live: each tower's tables, one row per id, the columns of one width one below the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from widedeep.columns import Crossed, Numeric
from widedeep.schema import Schema


@dataclass(frozen=True)
class TableLayout:
    """One table of `rows` × `width`: which columns it holds, where each begins, and how a model reads it.

    `singles` come as one int matrix under the feature `name/ids`, `bags` as ragged ids under `name/<column>` (weights, where
    declared, under `name/<column>/weights`); ids already include the column's offset. Id −1 is a dropped cross.
    """

    name: str
    width: int
    ids: Mapping[str, int]
    bags: tuple[str, ...] = ()
    combiners: Mapping[str, str] = None
    weighted: frozenset[str] = frozenset()
    dropping: bool = False
    pretrained: str | None = None
    trainable: bool = True

    @property
    def singles(self) -> tuple[str, ...]:
        return tuple(name for name in self.ids if name not in self.bags)

    @property
    def rows(self) -> int:
        return sum(self.ids.values())

    @property
    def offsets(self) -> dict[str, int]:
        """The row of each column's id 0."""
        starts, at = {}, 0
        for name, ids in self.ids.items():
            starts[name], at = at, at + ids
        return starts


@dataclass(frozen=True)
class TowerLayout:
    """What a tower reads: its tables, and the numeric columns (with the width of each) under the feature `<tower>/values`."""

    tower: str
    tables: tuple[TableLayout, ...]
    values: Mapping[str, int]

    @property
    def value_names(self) -> list[str]:
        """One name per value column: the column's, and `<column> is missing` for its flag."""
        return [label for name, width in self.values.items() for label in (name, f"{name} is missing")[:width]]


def layout(schema: Schema, tower: str, sizes: Mapping[str, int], multivalued: frozenset[str]) -> TowerLayout:
    """A tower's layout. `sizes`: ids of each id column, or number of values of each numeric one."""
    names = getattr(schema, tower).columns
    values = {n: sizes[n] for n in names if isinstance(schema.columns[n], Numeric)}
    groups: dict[tuple[str, int, str | None], list[str]] = {}
    for name in names:
        if name not in values:
            groups.setdefault(_home(schema, tower, name, sizes[name]), []).append(name)
    tables = tuple(_table(schema, *home, members, sizes, multivalued) for home, members in groups.items())
    return TowerLayout(tower, tables, values)


def _home(schema: Schema, tower: str, name: str, ids: int) -> tuple[str, int, str | None]:
    """The table that a column lives in: its name, width, and the column's name if the vectors are pretrained."""
    if tower == "wide":
        return "wide", 1, None
    column = schema.columns[name]
    if getattr(column, "pretrained", None):
        return f"deep.{name}", 0, name
    rule = schema.deep.width
    width = column.width or (math.ceil(6 * ids**0.25) if rule == "fourth-root" else rule)
    return f"deep.{width}", width, None


def _table(schema: Schema, name: str, width: int, pretrained: str | None, members: list[str], sizes: Mapping[str, int],
           multivalued: frozenset[str]) -> TableLayout:
    bags = tuple(n for n in members if n in multivalued)
    deep = name != "wide"
    return TableLayout(
        name, width, {n: sizes[n] for n in members}, bags,
        combiners={n: schema.columns[n].combiner if deep else "sum" for n in bags},
        weighted=frozenset(n for n in bags if getattr(schema.columns[n], "weights", None)),
        dropping=any(isinstance(schema.columns[n], Crossed) and n not in bags for n in members),
        pretrained=pretrained,
        trainable=schema.columns[pretrained].trainable if pretrained else True)
