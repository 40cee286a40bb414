"""Users, items and what users took, under one numbering, with the rules for what tables are like.

- An id that only the interactions have gets a number and no features; how many items are so is counted.
- A row of users or items for an id that was there before replaces what its table has columns for. An id that one table has
  twice is refused.
- Interactions follow the rules of `widedeep.recommend.interactions`: sorted by time, of a repeated pair the earliest stays.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from widedeep.columns import Bucketized, Numeric
from widedeep.errors import DataError, SchemaError, WidedeepWarning, did_you_mean, unknown_names
from widedeep.recommend.histories import Histories
from widedeep.recommend.interactions import Interactions, union
from widedeep.recommend.lists import Popular
from widedeep.recommend.sides import HISTORY, Sides, column_of, reads_of
from widedeep.rows import Bag
from widedeep.schema import Schema
from widedeep.tables import Table
from widedeep.values import Place, is_text, numbers


@dataclass(frozen=True)
class Names:
    """What the columns of ids and of times are called."""

    user: str
    item: str
    time: str | None = None
    unit: str = "s"

    def __post_init__(self) -> None:
        if len(names := [name for name in (self.user, self.item, self.time) if name is not None]) > len(set(names)):
            raise SchemaError(f"Users, items and times are three columns. Got {names}. Name each its own.")

    def read(self, source: Any, **more: Any) -> Interactions:
        """The interactions of a table with these columns; `Interactions` are checked and stay as they are.

        Raises: DataError for interactions that a recommender cannot have: with weights, or timed otherwise than said.
        """
        found = source
        if not isinstance(found, Interactions):
            text = {name for name, ids in ((self.user, more.get("users")), (self.item, more.get("items")))
                    if ids is not None and is_text(ids.type)}
            found = Interactions.of(Table.of(source, text=text), user=self.user, item=self.item, time=self.time,
                                    unit=self.unit, **more)
        if found.weight is not None:
            raise DataError("Interactions all count alike for a recommender. Got some with weights. Make them without weight=.")
        if (found.time is None) != (self.time is None):
            got = "none with times" if found.time is None else "some with times"
            raise DataError(f"Interactions have times if the recommender is told so. Got time={self.time!r} and {got}. Make "
                            f"both alike.")
        return found


@dataclass(frozen=True)
class Known:
    """All that is known: features by number (`sides`) and the interactions under the same numbers."""

    names: Names
    sides: Sides
    interactions: Interactions

    @classmethod
    def of(cls, schema: Schema, names: Names, interactions: Any, users: Any = None, items: Any = None) -> Known:
        """From tables; interactions that are `Interactions` already keep their numbers, and others' features are left out.

        Raises: DataError for ids that are missing or twice there; SchemaError for columns that nobody has.
        """
        tables = _opened((names.user, names.item), interactions, users, items)
        _refuse_strange_reads(schema, names, *tables)
        users, items = _features(schema, names.user, tables[1]), _features(schema, names.item, tables[2])
        interactions = names.read(tables[0], users=users[names.user] if len(users) else None,
                                  items=items[names.item] if len(items) else None)
        users = _aligned(users, names.user, interactions.user_ids)
        items = _aligned(items, names.item, interactions.item_ids)
        return cls(names, Sides(schema, names.user, names.item, users, items), interactions)

    def check_histories(self) -> None:
        """Raises: DataError if the schema reads what users took before, and nobody took two things."""
        reads = [name for name in reads_of(self.sides.schema) if name.split(".")[0] == HISTORY]
        log = self.histories
        if reads and not (log.since > log.taken.splits[log.user]).any():
            raise DataError(f"{reads[0]!r} is what a user took before. Got interactions of which nobody has two, one after the "
                            f"other. Give more of them, or take {reads} out of the schema.")

    def extended(self, interactions: Any = None, users: Any = None, items: Any = None) -> Known:
        """The same with more interactions, users or items; numbers may change. Raises: DataError as `of` does."""
        found, names, sides = self.interactions, self.names, self.sides
        users = _replaced(sides.schema, names.user, sides.users, users, found.user_numbers)
        items = _replaced(sides.schema, names.item, sides.items, items, found.item_numbers)
        if interactions is not None:
            found = found.joined(names.read(interactions, users=found.user_ids, items=found.item_ids))
        ids = (union(known, column_of(table, name).cast(known.type), name) for known, table, name in (
            (found.user_ids, users, names.user), (found.item_ids, items, names.item)))
        return Known.of(sides.schema, names, found.numbered(*ids), users, items)

    @property
    def log(self) -> pa.Table:
        """The interactions as a table again, each pair once."""
        found, names = self.interactions, self.names
        columns = {names.user: found.user_ids.take(pa.array(found.user)), names.item: found.item_ids.take(pa.array(found.item))}
        return pa.table(columns | ({names.time: pa.array(found.time)} if names.time else {}))

    @cached_property
    def histories(self) -> Histories:
        """Each user's items, earliest first."""
        found = self.interactions
        time = None if found.time is None else found.time[np.argsort(found.user, kind="stable")]
        return Histories(found.of_users(), time)

    @cached_property
    def popularity(self) -> np.ndarray:
        """How many users took each item."""
        return self.interactions.counts

    @cached_property
    def popular(self) -> Popular:
        """All items, the most popular first."""
        return Popular.of(self.popularity)

    @cached_property
    def described(self) -> np.ndarray:
        """Of which users a feature is known: bool (users,)."""
        return ~_bare(self.sides.users, self.names.user)

    @property
    def told(self) -> dict[str, int]:
        """What was counted on the way; without features is who has none of those that the schema reads, if it reads any."""
        found, bare = self.interactions, {}
        for side, table, name in (("users", self.sides.users, self.names.user), ("items", self.sides.items, self.names.item)):
            bare[f"{side}_without_features"] = int(_bare(table, name).sum()) if table.num_columns > 1 else 0
        return {"interactions": len(found), "users": found.users, "items": found.items, "duplicates": found.duplicates,
                "out_of_order": found.unordered, **bare, "items_never_taken": int((found.counts == 0).sum())}

    def taken(self, users: np.ndarray) -> Bag:
        """What users took; of a user without a number, −1, nothing."""
        return self.interactions.of_users(users)


def _opened(ids: tuple[str, ...], *sources: Any) -> list[Any]:
    """Tables of whatever `Table.of` takes; where a column of ids is text in one, it is text in all that are CSV files."""
    tables = [source if source is None or isinstance(source, Interactions) else Table.of(source) for source in sources]
    text = {name for table in tables if isinstance(table, Table) for name in ids
            if name in table.columns and is_text(table.type_of(name))}
    return [Table.of(source, text=text) if text and isinstance(source, (str, os.PathLike)) else table
            for source, table in zip(sources, tables)]


def _features(schema: Schema, name: str, source: Any) -> pa.Table:
    """The columns that the schema reads, and ids, of a table with a row per id; no rows where there is no table."""
    if source is None:
        return pa.table({name: pa.array([], pa.null())})
    table = Table.of(source)
    table.require([name])
    found = table.read([name, *(column for column in table.columns if column in reads_of(schema) and column != name)])
    ids = found[name].combine_chunks()
    if ids.null_count:
        raise DataError(f"{table.name}: each row has its {name!r}. Got none in row {pc.index(ids.is_null(), True)}. Fill it in "
                        f"or drop the row.")
    if len(ids.unique()) < len(ids):
        counts = ids.value_counts()
        again = counts.field("values")[int(np.argmax(np.asarray(counts.field("counts")) > 1))]
        raise DataError(f"{table.name}: each id of {name!r} has one row. Got {again.as_py()!r} twice, the second time in row "
                        f"{np.flatnonzero(np.asarray(pc.equal(ids, again)))[1]}. Keep one row of each.")
    _refuse_bad_numbers(schema, table)
    return found


def _refuse_bad_numbers(schema: Schema, table: Table) -> None:
    """Raises: DataError, naming the table, its column and row, for what is no number in a column that is declared as one."""
    reads = {column.source or name for name, column in schema.columns.items() if isinstance(column, (Numeric, Bucketized))}
    reads = [name for name in table.columns if name in reads]
    for source_row, batch in table.numbered(reads) if reads else ():
        with table.named():
            for name in reads:
                numbers(batch.column(name), Place(name, source_row), missing=schema.missing)


def _refuse_strange_reads(schema: Schema, names: Names, interactions: Any, users: Table | None, items: Table | None) -> None:
    """Raises: SchemaError for columns of the interactions, and for those that no table has, with the nearest that one has."""
    ours, theirs = ([*table.columns] if table is not None else [] for table in (users, items))
    known = {names.user, names.item, HISTORY, *ours, *theirs, *(f"{HISTORY}.{name}" for name in theirs if name != names.item)}
    lost = [name for name in reads_of(schema) if name not in known]
    if own := [name for name in lost if isinstance(interactions, Table) and name in interactions.columns]:
        raise SchemaError(f"A recommender's schema reads what is known of users, items and histories: lists are made before "
                          f"anybody asks. Got {own[0]!r}, a column of the interactions. Take it out of the schema.")
    if lost:
        raise SchemaError(unknown_names("The schema reads columns that neither users, items nor interactions give", lost,
                                        sorted(known)))


def _replaced(schema: Schema, name: str, old: pa.Table, source: Any, check: Callable[[Any], Any]) -> pa.Table:
    """A table with the columns of another one in place of its own for the same ids; columns that the other lacks stay.

    Raises: DataError for values of other types, and for a table of which no column but the id is read.
    """
    if source is None:
        return old
    source = Table.of(source, text={name} if is_text(old.schema.field(name).type) else ())
    source.require([name])
    _refuse_strangers(name, old.column_names, source)
    new = _features(schema, name, source)
    check(new[name])
    cast = {}
    for column in (column for column in new.column_names if column in old.column_names):
        kind, before = new.schema.field(column).type, old.schema.field(column).type
        if pa.types.is_floating(kind) and pa.types.is_integer(before):
            old = old.set_column(old.schema.get_field_index(column), column, old[column].cast(kind))
        try:
            cast[column] = new[column].cast(old.schema.field(column).type)
        except pa.ArrowException as error:
            raise DataError(f"{source.name}: {column!r} has values of the type that it had before, {before}. Got {kind}. "
                            f"Convert them.") from error
    new = pa.table(cast)
    place = pc.index_in(new[name].combine_chunks(), value_set=old[name].combine_chunks())
    new = pa.table({column: new[column] if column in new.column_names else old[column].take(place)
                    for column in old.column_names})
    kept = old.filter(pc.invert(pc.is_in(old[name], value_set=new[name].combine_chunks())))
    return pa.concat_tables([kept, new], promote_options="default")


def _refuse_strangers(name: str, known: list[str], source: Table) -> None:
    """Of columns that nobody reads a table may have some beside those that are read; a likely slip is warned of."""
    lost = [column for column in known if column not in source.columns]
    strange = [column for column in source.columns if column not in known]
    if not lost or not strange:
        return
    if set(source.columns) & set(known) <= {name} and len(known) > 1:
        raise DataError(unknown_names(f"{source.name}: beside {name!r} the table has only columns that nobody reads", strange,
                                      lost))
    for column in lost:
        if close := did_you_mean(column, strange):
            warnings.warn(f"{source.name}: the table lacks {column!r}, which stays as it was where it was known.{close} Rename "
                          f"it then.", WidedeepWarning, stacklevel=4)


def _bare(table: pa.Table, ids: str) -> np.ndarray:
    """Which rows have nothing but an id: bool (rows,)."""
    missing = [np.asarray(column.is_null(nan_is_null=True)) for name, column in zip(table.column_names, table.columns)
               if name != ids]
    return np.logical_and.reduce([np.ones(len(table), bool), *missing])


def _aligned(table: pa.Table, name: str, ids: pa.Array) -> pa.Table:
    """A table's rows in the order of ids; those that it lacks are missing."""
    own = table[name].combine_chunks().cast(ids.type)
    places = pc.index_in(ids, value_set=own)
    columns: Mapping[str, Any] = {column: table[column].combine_chunks().take(places) for column in table.column_names}
    return pa.table(dict(columns) | {name: ids})
