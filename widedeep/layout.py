"""Where ids live: each tower's tables, one row per id, the columns of one width one below the other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from widedeep.columns import Crossed, Numeric
from widedeep.errors import SchemaError
from widedeep.schema import Schema


@dataclass(frozen=True)
class TableLayout:
    """One table of `rows` × `width`: which columns it holds, where each begins, and how a model reads it.

    `singles` come as one int matrix under the feature `name/ids`, `bags` as ragged ids under `name/<column>` (weights, where
    declared, under `name/<column>/weights`); ids already include the column's offset. Id −1 is a dropped cross.

    >>> table = TableLayout("wide", 1, {"job": 5, "tags": 9}, bags=("tags",))
    >>> table.rows, table.offsets, table.singles, table.features
    (14, {'job': 0, 'tags': 5}, ('job',), ('wide/ids', 'wide/tags'))
    """

    name: str
    width: int
    ids: Mapping[str, int]
    bags: tuple[str, ...] = ()
    combiners: Mapping[str, str] = field(default_factory=dict)
    weighted: frozenset[str] = frozenset()
    dropping: bool = False
    pretrained: str | None = None
    trainable: bool = True

    @property
    def singles(self) -> tuple[str, ...]:
        """The single-valued columns, in the order of the int matrix."""
        return tuple(name for name in self.ids if name not in self.bags)

    @property
    def rows(self) -> int:
        """The ids of all columns."""
        return sum(self.ids.values())

    @property
    def features(self) -> tuple[str, ...]:
        """The names under which a model finds the table's ids and weights."""
        weights = (f"{self.name}/{name}/weights" for name in self.bags if name in self.weighted)
        return (*([f"{self.name}/ids"] if self.singles else []), *(f"{self.name}/{name}" for name in self.bags), *weights)

    @property
    def offsets(self) -> dict[str, int]:
        """The row of each column's id 0."""
        starts, at = {}, 0
        for name, ids in self.ids.items():
            starts[name], at = at, at + ids
        return starts


@dataclass(frozen=True)
class TowerLayout:
    """What a tower reads: its tables, and the numeric columns (with the width of each) under the feature `<tower>/values`.

    >>> TowerLayout("deep", (), {"age": 2, "hours": 1}).value_names
    ['age', 'age is missing', 'hours']
    """

    tower: str
    tables: tuple[TableLayout, ...]
    values: Mapping[str, int]

    @property
    def value_names(self) -> list[str]:
        """One name per value column: the column's, and `<column> is missing` for its flag."""
        return [label for name, width in self.values.items() for label in (name, f"{name} is missing")[:width]]


def layout(schema: Schema, tower: str, sizes: Mapping[str, int], multivalued: frozenset[str]) -> TowerLayout:
    """Which tables a tower has, and where in them each column's ids begin.

    `sizes`: ids of each id column, or number of values (1 or 2) of each numeric one; `multivalued`: the columns of lists.
    Raises: SchemaError if two columns would be one feature or one table, as a list column called "ids" would.

    >>> from widedeep.schema import Deep, Label, Wide
    >>> from widedeep.columns import Categorical
    >>> schema = Schema(Label("y"), {"age": Numeric(), "job": Categorical()}, Wide(("age", "job")), Deep(("job",), width=8))
    >>> found = layout(schema, "deep", {"age": 1, "job": 18}, frozenset())
    >>> [(table.name, table.rows, table.width) for table in found.tables]
    [('deep.8', 18, 8)]
    """
    names = getattr(schema, tower).columns
    values = {n: sizes[n] for n in names if isinstance(schema.columns[n], Numeric)}
    groups: dict[tuple[str, int, str | None], list[str]] = {}
    for name in names:
        if name not in values:
            groups.setdefault(_home(schema, tower, name, sizes[name]), []).append(name)
    tables = tuple(_table(schema, *home, members, sizes, multivalued) for home, members in groups.items())
    found = TowerLayout(tower, tables, values)
    _check_names(schema, found)
    return found


def _check_names(schema: Schema, found: TowerLayout) -> None:
    """Lists and pretrained columns make names of their own; those must be free."""
    names = Counter([f"{found.tower}/values"] * bool(found.values))
    for table in found.tables:
        names.update([table.name, *table.features])
    for table in found.tables:
        made = {f"{table.name}/{column}{end}": column for column in table.bags for end in ("", "/weights")}
        made |= {table.name: table.pretrained} if table.pretrained else {}
        if taken := [name for name in made if names[name] > 1]:
            column = made[taken[0]]
            raise SchemaError(f"Column {column!r} must have a name that leaves the {found.tower} tower's own names free. "
                              f"Got {taken[0]!r} for two things. Declare it under another name, with "
                              f"source = {schema.columns[column].source or column!r}.")


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
