"""What a model may know of an impression: the columns of logs, and a schema that is ready to train on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from widedeep.columns import Bucketized, Categorical, Column, Crossed, Numeric
from widedeep.installs import population
from widedeep.installs.population import Apps, Users, named
from widedeep.installs.spec import WorldSpec
from widedeep.installs.truth import CONNECTIONS, PAGES, Visits
from widedeep.schema import Deep, Label, Optimizer, Schema, Training, Wide

LABEL = "installed"
VISIT_IDS = ("hour", "weekday", "connection", "page")
CROSSES = (("category", "hour"), ("country", "category"), ("device", "price"), ("connection", "size_bucket"),
           ("page", "rating_bucket"), ("age", "rating_bucket"))
SMALL, LEAST_BINS, MOST_BINS = 4096, 1 << 14, 1 << 23
"""Bins of the crosses above, and the least and the most of installed × candidate apps."""

TRAINING = Training(batch=512, epochs=20, patience=2, wide=Optimizer("ftrl", rate=0.03, l1=3.0),
                    deep=Optimizer("adagrad", rate=0.03))
"""Found by hand on small worlds of both kinds; `benchmarks/installs_tuning.py` seeks better ones for each."""


def schema(spec: WorldSpec) -> Schema:
    """The wide part crosses installed with candidate apps, and context with apps; the deep part embeds every id.

    >>> schema(WorldSpec()).columns["installed_apps_x_app"].sources
    ('installed_apps', 'app')
    """
    ids = [*_fields_of_tables(), *VISIT_IDS]
    columns: dict[str, Column] = {name: Categorical() for name in ids}
    columns |= {"size": Numeric(scale="log"), "rating": Numeric()}
    columns |= {f"{name}_bucket": Bucketized(name, quantiles=8) for name in ("size", "rating")}
    crosses = {"_x_".join(pair): Crossed(pair, SMALL) for pair in CROSSES}
    if spec.installed:
        ids.append("installed_apps")
        columns["installed_apps"] = Categorical(combiner="sqrtn")
        crosses["installed_apps_x_app"] = Crossed(("installed_apps", "app"), _bins(spec.apps))
    if spec.days <= 8:   # a last day for validation leaves training rows without some day of the week
        ids.remove("weekday")
    training = replace(TRAINING, split="time" if spec.days > 1 else "random")
    return Schema(Label(LABEL), columns | crosses, wide=Wide((*ids, "size_bucket", "rating_bucket", *crosses)),
                  deep=Deep((*ids, "size", "rating"), hidden=(128, 64), dropout=0.2, width=16, l2=30.0), training=training,
                  group="user", time="day")


def _fields_of_tables() -> tuple[str, ...]:
    return ("user", "country", "language", "device", "age", "app", "category", "developer", "price")


def _bins(apps: int) -> int:
    """Twice the pairs there are, within what a wide tower should hold."""
    return int(np.clip(1 << (2 * apps**2 - 1).bit_length(), LEAST_BINS, MOST_BINS))


class Features:
    """Looks up what logs show of users, apps and visits."""

    def __init__(self, users: Users, apps: Apps, installed: np.ndarray) -> None:
        self.users = pa.table(population.user_columns(users) | {"installed_apps": _lists(installed)})
        self.apps = pa.table(population.app_columns(apps))

    def rows(self, visits: Visits, places: np.ndarray | None = None) -> pa.Table:
        """A row for every candidate, or for those at `places` (visits, k), visit by visit."""
        apps = visits.candidates if places is None else np.take_along_axis(visits.candidates, places, axis=1)
        each = np.repeat(np.arange(len(visits)), apps.shape[1])
        of_visits = {"hour": pa.array(visits.hour, pa.int8()), "weekday": pa.array(visits.weekday, pa.int8()),
                     "connection": named(visits.connection, CONNECTIONS), "page": named(visits.page, PAGES),
                     "day": pa.array(visits.day, pa.int32())}
        tables = (self.users.take(pa.array(visits.user[each])), self.apps.take(pa.array(apps.ravel())),
                  pa.table(of_visits).take(pa.array(each)))
        return pa.table({name: column for table in tables for name, column in zip(table.column_names, table.columns)})


def _lists(padded: np.ndarray) -> pa.ListArray:
    """Rows of ids, of different lengths, -1 behind them."""
    lengths = (padded >= 0).sum(axis=1)
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()),
                                    pa.array(padded[padded >= 0], pa.int32()))
