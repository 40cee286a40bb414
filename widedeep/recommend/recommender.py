"""Two stages: retrieval brings a user's candidates out of all items, the wide & deep model ranks them."""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from widedeep import run
from widedeep.atomic import check_target, whole_file
from widedeep.errors import DataError, SchemaError
from widedeep.recommend import index, ranked_rows, retrieval
from widedeep.recommend.catalogue import Known, Names
from widedeep.recommend.interactions import Interactions, ids_like
from widedeep.recommend.lists import SOURCES, Lists
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.ranker import AT_ONCE, Ranker
from widedeep.recommend.retrieval import Retrieval
from widedeep.recommend.retriever import Retriever, Trained
from widedeep.rows import Bag
from widedeep.schema import Schema
from widedeep.tables import Table

GROUP = 65_536
"""Rows of a Parquet file that are written together."""


@dataclass(frozen=True)
class ByNumber:
    """A recommender that answers users by number, as the baselines do: for `judge`. `depth` as in `Recommender.recommend`."""

    recommender: Recommender
    depth: int | None = None

    def recommend(self, users: np.ndarray, k: int, exclude_seen: bool = True,
                  history: Interactions | None = None) -> np.ndarray:
        """The numbers of the k best items for each user, the best first, −1 where nothing is left: (users, k).

        With a `history`, users are known by what they took there, whatever they took in training.
        """
        return self.recommender.lists(users, k, exclude_seen, self.depth, history).items


class Recommender:
    """Interactions, users and items in; recommendations out.

    `schema` says what the ranker reads: columns of users, of items, and `history` (see `widedeep.recommend.sides`); its label
    is made here. `user`, `item` and `time` are columns of the interactions; the first two are in the tables of users and items
    too; times that are numbers count `unit`s since 1970: s, ms, us, ns or D. `valid` is the share of interactions that are held
    out of both stages. With `rank=False` there is no second stage. `record["data"]` tells what was counted in the tables.

    >>> import pandas as pd, widedeep as wd
    >>> log = pd.DataFrame({"user": [1, 1, 2, 2, 3, 3], "item": ["a", "b", "a", "c", "b", "c"], "time": range(6)})
    >>> columns = {"user": wd.Categorical(), "item": wd.Categorical()}
    >>> schema = wd.Schema(wd.Label("taken"), columns, deep=wd.Deep(("user", "item"), hidden=(4,)))
    >>> found = Recommender(schema, time="time", rank=False).fit(log).recommend([1, 9], k=1)
    >>> found["source"].to_pylist(), found["item"][0].as_py()
    (['model', 'popularity'], 'c')
    """

    def __init__(self, schema: Schema, *, user: str = "user", item: str = "item", time: str | None = None, unit: str = "s",
                 retrieval: Retrieval | None = None, negatives: Negatives | None = None, rank: bool = True,
                 valid: float | None = 0.1):
        for name, asked, kind in (("schema", schema, Schema), ("retrieval", retrieval, Retrieval),
                                  ("negatives", negatives, Negatives)):
            if not isinstance(asked, kind) and (asked is not None or kind is Schema):
                raise SchemaError(f"Recommender: {name} is a {kind.__name__}. Got {type(asked).__name__}. Make one.")
        if valid is not None and not 0 <= valid < 1:
            raise SchemaError(f"Recommender: valid is a share of the interactions below 1, 0 or None for none. Got {valid}.")
        self.schema, self.names, self.settings = schema, Names(user, item, time, unit), retrieval or Retrieval()
        self.negatives, self.rank, self.valid = negatives or Negatives(), rank, valid
        self.ranker: Ranker | None = None
        self.record: dict[str, Any] = {}

    def fit(self, interactions: Any, users: Any = None, items: Any = None, *, seed: int = 0, progress: bool | None = None,
            stream: bool = False) -> Recommender:
        """Train both stages. `users` and `items` are tables with a row per id; without them there are ids and histories alone.

        The share `valid` of the interactions is held out of both stages: it ends the ranker's training, and then says how far
        its scores can be trusted (`widedeep.recommend.next_item`). `stream` makes the ranker's rows anew in every epoch, for
        more than fit into memory. Ctrl-C ends the stage that is in training with what it has, if an epoch is over; else
        nothing has changed.
        Raises: SchemaError and DataError before training for what does not fit; TrainingError if a loss is not finite.
        """
        index.check(self.settings.index)
        known = Known.of(self.schema, self.names, interactions, users, items)
        known.check_histories()
        held, log = self._held_out(len(known.interactions), seed), known.histories
        seen = np.flatnonzero(~held)
        trained = Trained(np.bincount(log.taken.flat[seen], minlength=known.interactions.items),
                          np.bincount(log.user[seen], minlength=known.interactions.users) > 0)
        towers, history = retrieval.fit(self.settings, known.sides, log, trained.items, seed, progress, seen)
        record = {"seed": seed, "data": known.told, "retrieval": {
            "history": history.epochs, "steps": history.steps, "stopped": history.stopped}}
        retriever, ranker = Retriever(self.settings, known, trained, towers), None
        if self.rank:
            train, valid = ranked_rows.rows(retriever, self.negatives, held, seed)
            model = run.fit(self.schema, train, valid=valid, seed=seed, progress=progress, stream=stream)
            ranker = Ranker(model, retriever, self.negatives)
            ranker.held_to(np.flatnonzero(held))
            record |= {"ranker": model.record, "next_item": ranker.next_item._asdict()}
        self.retriever, self.ranker, self.record = retriever, ranker, record
        return self

    def _held_out(self, rows: int, seed: int) -> np.ndarray:
        """Which interactions, a user's after the other's, no stage is trained on: bool (rows,)."""
        held = np.random.default_rng([seed, 3]).random(rows) < (self.valid or 0) * self.rank
        if held.all():
            raise DataError(f"Interactions must be left to train on. Got {rows}, all held out by valid={self.valid}. Lower it.")
        return held

    @property
    def known(self) -> Known:
        """Users, items and interactions. Raises: DataError if nothing was fitted yet."""
        if not hasattr(self, "retriever"):
            raise DataError("A recommender answers once it is fitted. Got one that is not. Call fit, or load one.")
        return self.retriever.known

    def update(self, interactions: Any = None, users: Any = None, items: Any = None) -> Recommender:
        """A recommender that knows more interactions, users or items, without training: what is new is known by its features
        and histories. An id's new row replaces the old one, in the columns that the new table has.
        Raises: DataError as `fit` does.
        """
        old, names = self.ranker, self.known.names
        other = Recommender(self.schema, **asdict(names), retrieval=self.settings, negatives=self.negatives, rank=self.rank,
                            valid=self.valid)
        other.retriever = self.retriever.extended(interactions, users, items)
        other.record = self.record | {"data": other.known.told}
        if old is not None:
            same = other.retriever.index is self.retriever.index
            other.ranker = Ranker(old.model, other.retriever, old.negatives, old.next_item, before=old if same else None)
        return other

    def recommend(self, users: Any = None, k: int = 10, exclude_seen: bool = True, depth: int | None = None) -> pa.Table:
        """The k best items of each user, the best first: user, rank (from 1), item, score, probability, source.

        `users` are ids, or a table of them with features, which count instead of those known before; None is everybody.
        `depth` items are retrieved and ranked, k at least (default: as in training). `score` is the log of the chance that the
        item is what the user takes next, as the ranker estimates it for each alone, whatever k and depth, up to a constant of
        the user where there is no ranker. `probability` is that chance among the items that are ranked: theirs add up to 1;
        null where there is no ranker. Items that the user has are scored as if each were new to him. `source`: see `SOURCES`.
        Where fewer than k items are left, the list is shorter; who is unknown is answered by popularity.
        Raises: DataError for k below 1, and for ids of another type.

        Shape: (users · k) rows at most.
        """
        tables = list(self.batches(users, k, exclude_seen, depth))
        return pa.concat_tables(tables) if tables else self._table(self.known.interactions.user_ids[:0], Lists.blank(0, k))

    def batches(self, users: Any = None, k: int = 10, exclude_seen: bool = True,
                depth: int | None = None) -> Iterator[pa.Table]:
        """The same, some users at a time, for any number of them."""
        known = self.known.interactions
        _check(k, depth)
        if hasattr(users, "columns"):
            users = Table.of(users)
            ids = users.read([self.names.user])[self.names.user].combine_chunks()
            yield from self.update(users=users).batches(ids, k, exclude_seen, depth)
            return
        if isinstance(users, (str, bytes, os.PathLike)):
            raise DataError(f"recommend: users are several ids, or a table of them. Got {users!r}. Give a list of "
                            f"ids, or read the table.")
        asked = known.user_ids if users is None else ids_like("user", users, known.user_ids)
        for start, lists in self._answered(known.user_numbers(asked), min(k, known.items), exclude_seen, depth):
            stop = start + len(lists.items)
            yield self._table(asked.slice(start, stop - start), lists)

    def _table(self, ids: pa.Array, lists: Lists) -> pa.Table:
        there = lists.items >= 0
        row, place = np.nonzero(there)
        score, chance = lists.scores[there].astype(np.float64), lists.chances[there].astype(np.float64)
        return pa.table({
            self.names.user: ids.take(pa.array(row)), "rank": pa.array(place + 1, pa.int32()),
            self.names.item: self.known.interactions.item_ids.take(pa.array(lists.items[there])),
            "score": score, "probability": pa.array(chance, mask=np.isnan(chance)),
            "source": pa.array(SOURCES).take(pa.array(lists.sources[there]))})

    def write(self, path: str | os.PathLike, users: Any = None, k: int = 10, exclude_seen: bool = True,
              depth: int | None = None, *, force: bool = False,
              progress: Callable[[int], None] | None = None) -> dict[str, int]:
        """The recommendations of users, by default everybody, into one Parquet file, which appears only when it is complete.

        Memory does not grow with their number. Returns how many rows rest on each of `SOURCES`; `progress` hears how many rows
        each stretch has. Raises: ArtifactError if the file exists and `force` is not set; OutputError.
        """
        check_target(path, force)
        counts, waiting = dict.fromkeys(SOURCES, 0), [self.recommend([], k)]
        with whole_file(path) as unfinished, pq.ParquetWriter(unfinished, waiting[0].schema) as writer:
            for part in self.batches(users, k, exclude_seen, depth):
                waiting.append(part)
                if sum(map(len, waiting)) >= GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = waiting[:1]
                for source in SOURCES:
                    counts[source] += pc.sum(pc.equal(part["source"], source)).as_py() or 0
                if progress:
                    progress(len(part))
            writer.write_table(pa.concat_tables(waiting))
        return counts

    def evaluate(self, interactions: Any, k: int | Iterable[int] = (10, 100), exclude_seen: bool = True,
                 depth: int | None = None, beside: Sequence[str] = ("popularity",)) -> dict[str, Any]:
        """Figures of the lists for users of later interactions, as `evaluation.ranking` has them, and what was counted.

        The whole catalogue competes. `beside` names baselines that are fitted on all that is known, with their defaults:
        `popularity`, `recent-popularity` (30 days), `item-knn`, `ease`, `als` (an extra); each has its figures and, user by
        user, this recommender's `lead`. Pairs that are known already are left out, unless `exclude_seen` is False: then lists
        may have them. Unknown users are answered by popularity, unknown items are missed. Interactions that are not later than
        all that is known are counted, and warned of: what was known then is not what is known now.
        Raises: DataError where nothing is left to judge by, for unknown baselines, and what they raise.
        """
        return importlib.import_module("widedeep.recommend.evaluated").evaluate(self, interactions, k, exclude_seen, depth,
                                                                                beside)

    def save(self, path: str | os.PathLike, *, force: bool = False) -> None:
        """Write a folder that holds everything: see `widedeep.recommend.saved`."""
        importlib.import_module("widedeep.recommend.saved").save(self, path, force=force)

    @staticmethod
    def load(path: str | os.PathLike) -> Recommender:
        """The recommender that `save` wrote. Raises: ArtifactError."""
        return importlib.import_module("widedeep.recommend.saved").load(path)

    def lists(self, users: np.ndarray, k: int = 10, exclude_seen: bool = True, depth: int | None = None,
              history: Interactions | None = None) -> Lists:
        """The lists of users by number, −1 for one who is unknown. Raises: DataError for k below 1."""
        _check(k, depth)
        parts = [lists for _, lists in self._answered(np.asarray(users), k, exclude_seen, depth, history)]
        return Lists(*(np.concatenate(part) for part in zip(*parts))) if parts else Lists.blank(0, k)

    def _answered(self, users: np.ndarray, k: int, exclude_seen: bool, depth: int | None,
                  history: Interactions | None = None) -> Iterator[tuple[int, Lists]]:
        """Lists of stretches of users, in order, with where each begins; made in threads, a few ahead of the consumer."""
        threads, waiting = os.cpu_count() or 1, deque()
        with ThreadPoolExecutor(threads, "recommend") as pool:
            for start in range(0, len(users), AT_ONCE):
                waiting.append((start, pool.submit(self._lists, users[start:start + AT_ONCE], k, exclude_seen, depth, history)))
                if len(waiting) > threads:
                    at, made = waiting.popleft()
                    yield at, made.result()
            for at, made in waiting:
                yield at, made.result()

    def _lists(self, users: np.ndarray, k: int, exclude_seen: bool, depth: int | None, history: Interactions | None) -> Lists:
        taken = self.known.taken(users) if history is None else history.of_users(users)
        ranked, described = max(k, depth or self.negatives.depth), self.retriever.described(users, taken)
        found = Lists.blank(len(users), k)
        if described.any():
            theirs = taken.take(np.flatnonzero(described))
            found.put(described, self._of_described(users[described], theirs, ranked, exclude_seen))
        if not described.all():
            had = taken.take(np.flatnonzero(~described))
            had = had if exclude_seen else Bag(had.flat[:0], np.zeros_like(had.splits))
            found.put(~described, self.known.popular.lists(had, k, ranked))
        if self.ranker is None:
            found.chances[:] = np.nan
        return found

    def _of_described(self, users: np.ndarray, taken: Bag, ranked: int, exclude_seen: bool) -> Lists:
        """The lists of users of whom something is known: what retrieval brings, ranked where there is a ranker."""
        most = 0 if exclude_seen else int(np.diff(taken.splits).max(initial=0))
        found = self.retriever.brought(users, max(ranked, self.negatives.depth) + most, exclude_seen, taken)
        if self.ranker is None:
            return found
        return self.ranker.ranked(users, taken, found, ranked, None if exclude_seen else index.within(found.items, taken))


def _check(k: int, depth: int | None) -> None:
    for name, value, what in (("k", k, "recommended"), ("depth", 1 if depth is None else depth, "retrieved and ranked")):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise DataError(f"{name} is how many items are {what}, a whole number of at least 1. Got {value!r}. Pass "
                            f"{10 if name == 'k' else 500}.")
