"""Which of a schema's columns say something of a user, and which of an item; and the rows that are made of both.

A column reads the id of the user or of the item, a column of the users' or of the items' table, or the user's history:
`history` is the list of items that he took before, `history.genre` what the items' column `genre` says of these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from widedeep.columns import Column, Crossed, table_columns
from widedeep.errors import SchemaError, unknown_names
from widedeep.rows import Bag
from widedeep.schema import Deep, Label, Optimizer, Schema, Training, Wide
from widedeep.values import is_list

HISTORY = "history"
COUNT = "row number"
"""The label of a schema that only encodes: any number that differs from row to row."""


@dataclass(frozen=True)
class Sides:
    """Tables of users and of items, one row each, and which of a schema's columns read them.

    `user` and `item` name the columns of ids, of both tables.
    Raises: SchemaError for columns that neither table has, or both; for a label that is more than a name, and for a weight; for
    crosses of both sides in the deep tower.
    """

    schema: Schema
    user: str
    item: str
    users: pa.Table
    items: pa.Table

    def __post_init__(self) -> None:
        self._check_names()
        self._check_label()
        for side in ("user", "item"):
            if not self.columns(side == "item"):
                raise SchemaError(f"Retrieval needs columns of users and of items. Got a schema without any of the {side}s. "
                                  f"Declare one, such as the id {getattr(self, side)!r}.")
        if crosses := self.two_sided("deep"):
            raise SchemaError(f"Crosses of a user's and an item's columns belong to the wide tower. Got {crosses[0]!r} in the "
                              f"deep one. Take it out there.")

    def _check_names(self) -> None:
        ours, theirs = set(self.users.column_names) | {self.user}, set(self.items.column_names) | {self.item}
        reads = reads_of(self.schema)
        if own := sorted(name for name in ours | theirs if name == HISTORY or name.startswith(f"{HISTORY}.")):
            raise SchemaError(f"{HISTORY!r} is what users took before, and made here. Got {own[0]!r}, a column of the tables. "
                              f"Rename that.")
        if both := sorted(ours & theirs & set(reads)):
            raise SchemaError(f"A column is the users' or the items'. Got {both[0]!r} in both tables. Rename one of them.")
        known = ours | theirs | {HISTORY, *(f"{HISTORY}.{name}" for name in theirs - {self.item})}
        if lost := [name for name in reads if name not in known]:
            raise SchemaError(unknown_names("The schema reads columns that neither users, items nor interactions give",
                                            lost, known))
        if self.schema.label.column in known:
            raise SchemaError(f"The label is made here: 1 for what was taken, 0 for what was not. Got "
                              f"{self.schema.label.column!r}, a column of the tables. Give it another name.")

    def _check_label(self) -> None:
        asked = self.schema.label
        if asked != Label(asked.column):
            raise SchemaError(f"The label is made here: 1 for what was taken, 0 for negatives by a law of their own. Got "
                              f"{asked.column!r} with settings. Leave all but its name out.")
        if self.schema.weight is not None:
            raise SchemaError(f"Interactions all count alike for a recommender. Got the weight {self.schema.weight!r}. Take it "
                              f"out of the schema.")
        if role := next((role for role in ("group", "time") if getattr(self.schema, role) is not None), None):
            raise SchemaError(f"What a recommender holds out is drawn from its interactions. Got the schema's {role} = "
                              f"{getattr(self.schema, role)!r}, which says otherwise. Take it out of the schema.")

    def is_item(self, name: str) -> bool:
        """Whether a column of the schema, not a cross, reads the items' table."""
        return table_columns(self.schema.columns[name], name)[0] in {*self.items.column_names, self.item}

    def columns(self, item: bool) -> dict[str, Column]:
        """The declared columns of one side, crosses left out, whether or not a tower of the ranker reads them."""
        return {name: column for name, column in self.schema.columns.items()
                if not isinstance(column, Crossed) and self.is_item(name) is item}

    def two_sided(self, tower: str) -> list[str]:
        """The crosses of a tower that join a user's with an item's columns."""
        found = []
        for name in getattr(self.schema, tower).columns:
            if isinstance(column := self.schema.columns[name], Crossed):
                if len({self.is_item(source) for source in column.sources}) == 2:
                    found.append(name)
        return found

    def encoding(self, item: bool, deep: Deep, optimizer: Optimizer) -> Schema:
        """A schema of one side's columns alone, in the deep tower; what it predicts is of no meaning."""
        columns = self.columns(item)
        return replace(self.schema, label=Label(COUNT, kind="regression"), columns=columns, wide=Wide(),
                       deep=replace(deep, columns=tuple(columns)), training=Training(deep=optimizer), weight=None, group=None,
                       time=None, search={})

    def user_rows(self, places: np.ndarray, histories: Bag, blank: np.ndarray | None = None) -> dict[str, pa.Array]:
        """What is known of users at these places, and of their histories (a row each): columns by name.

        Place −1 is a user of whom nothing is known; where `blank` is true the id is left out.
        """
        features = {name for column in self.columns(item=False) for name in table_columns(self.schema.columns[column], column)}
        found = taken(self.users, places, features, self.user, blank)
        if HISTORY in features:
            found[HISTORY] = lists(column_of(self.items, self.item), histories)
        for name in features:
            if name.startswith(f"{HISTORY}."):
                found[name] = lists(column_of(self.items, name.removeprefix(f"{HISTORY}.")), histories)
        return found

    def item_rows(self, places: np.ndarray, blank: np.ndarray | None = None) -> dict[str, pa.Array]:
        """What is known of items at these places: columns by name; where `blank` is true without the id."""
        features = {name for column in self.columns(item=True) for name in table_columns(self.schema.columns[column], column)}
        return taken(self.items, places, features, self.item, blank)


def reads_of(schema: Schema) -> list[str]:
    """The table columns that all declared columns read, each once.

    >>> from widedeep.columns import Numeric
    >>> reads_of(Schema(Label("y"), {"a": Numeric("age"), "b": Numeric()}, wide=Wide(("a",))))
    ['age', 'b']
    """
    return list(dict.fromkeys(read for name, column in schema.columns.items() for read in table_columns(column, name)))


def column_of(table: pa.Table, name: str) -> pa.Array:
    """A column in one piece."""
    return table[name].combine_chunks()


def taken(table: pa.Table, places: np.ndarray, features: set[str], ids: str, blank: np.ndarray | None) -> dict[str, pa.Array]:
    """Columns of a table at these places, missing at −1; the column of ids missing where `blank` is true too."""
    index = pa.array(places, mask=places < 0)
    found = {name: column_of(table, name).take(index) for name in table.column_names if name in features}
    if blank is not None and ids in found:
        found[ids] = pc.if_else(pa.array(blank), pa.scalar(None, found[ids].type), found[ids])
    return found


def lists(values: pa.Array, bag: Bag) -> pa.ListArray:
    """For each row of a bag of places, what a column says there: lists, one list per row also where the column has lists.

    >>> lists(pa.array(["a", "b"]), Bag(np.array([1, 0]), np.array([0, 2, 2]))).to_pylist()
    [['b', 'a'], []]
    """
    flat = values.take(pa.array(bag.flat))
    splits = bag.splits
    if is_list(values.type):
        lengths = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(flat), 0).to_numpy(zero_copy_only=False))])
        flat, splits = pc.list_flatten(flat), lengths[bag.splits]
    return pa.LargeListArray.from_arrays(pa.array(splits, pa.int64()), flat)
