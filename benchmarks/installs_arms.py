"""What the install studies share: small worlds, and the arms that are trained in them.

A cell is one world, one size of logs and one training seed. Its arms are trained on the same logs, each on one thread and
stopped early on validation logs of the same policy, with the settings that `installs_tuning.py` chose for the arm in worlds
that no study reads; then they serve the same fresh visits.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import widedeep as wd
from record import RESULTS
from widedeep.ablation.arms import ARMS as KNOWN
from widedeep.ablation.capacity import resized
from widedeep.errors import WidedeepWarning
from widedeep.installs.acquisition import Ranker, logged
from widedeep.installs.world import World, WorldSpec
from widedeep.schema import Schema
from widedeep.space import applied
from widedeep.tables import Table

KINDS = ("towers", "trees")
USERS, APPS = 1000, 400
"""Small, so that logs a laptop can train on hundreds of times show a user often enough to learn what he likes."""

ARMS = ("wide", "deep", "joint", "deeper")
CONTROL = "wide"
TRAIN, VALID = 11, 12
"""Streams of visits, apart from those that rankers serve."""

LEAST_VALID = 20_000


@dataclass(frozen=True)
class Cell:
    """One world, one size of logs, one training seed; `arms` are those trained in it."""

    kind: str
    world: int
    share: float
    impressions: int
    seed: int = 0
    arms: tuple[str, ...] = ARMS

    @property
    def name(self) -> str:
        """The cell's file."""
        return f"{self.kind}-share{self.share:g}-{self.impressions}-world{self.world}-seed{self.seed}.json"

    @property
    def spec(self) -> WorldSpec:
        """Its world: the usual one, smaller, and of one day."""
        return WorldSpec(self.kind, USERS, APPS, self.world, days=1, exception_share=self.share)


@cache
def _tuned() -> dict[str, Any]:
    path = RESULTS / "installs/settings.json"
    return json.loads(path.read_text(encoding="utf-8"))["settings"] if path.exists() else {}


def settings(cell: Cell, arm: str) -> dict[str, Any]:
    """What was chosen for an arm in development worlds of this kind, share and size; the schema's own where nothing was."""
    return _tuned().get(cell.kind, {}).get(f"{cell.share:g}", {}).get(str(cell.impressions), {}).get(arm, {})


def logs(cell: Cell, world: World) -> tuple[Any, Any]:
    """Training and validation logs of the world's own policy."""
    return logged(world, cell.impressions, 0, TRAIN), logged(world, max(LEAST_VALID, cell.impressions // 5), 0, VALID)


def schema(world: World) -> Schema:
    """The world's schema, for logs whose validation rows are given."""
    return replace(world.schema(), group=None)


def arm_schema(arm: str, base: Schema, train: Any, chosen: Mapping[str, Any]) -> Schema:
    """An arm's schema: a tower, both, or the deep one with as many touched weights as joint, along width."""
    from widedeep.ablation.runs import counted

    if arm == "deeper":
        occupancy = counted(base, Table.of(train, base))[0]
        size = sum(tower["touched"] for tower in occupancy.count(base).values())
        grown = resized(base, "width", size, occupancy)
        base, arm = replace(base, deep=replace(base.deep, hidden=grown.hidden)), "deep"
    return KNOWN[arm].schema(applied(base, chosen))


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of columns that vary little in few rows: worlds have them by design."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WidedeepWarning)
        yield


def trained(cell: Cell, world: World) -> tuple[dict[str, Ranker], dict[str, dict[str, Any]]]:
    """The cell's arms as rankers, with the ensemble of wide and deep if both are there; and what is to be told of each."""
    from widedeep.installs.rankers import ModelRanker

    train, valid = logs(cell, world)
    rankers: dict[str, Ranker] = {}
    about = {}
    for arm in cell.arms:
        begun = time.perf_counter()
        with quiet():
            model = wd.fit(arm_schema(arm, schema(world), train, settings(cell, arm)), train, valid=valid, seed=cell.seed,
                           progress=False)
        rankers[arm] = ModelRanker(arm, model)
        weights = sum(tower["touched"] for tower in model.record["parameters"].values())
        about[arm] = {"weights": weights, "epochs": len(model.record["history"]), "best_epoch": model.record["best_epoch"],
                      "valid_auc": model.record["metrics"]["auc"], "seconds": time.perf_counter() - begun}
    if {"wide", "deep"} <= set(rankers):
        wide, deep = rankers["wide"], rankers["deep"]
        rankers["ensemble"] = lambda rows: (wide(rows) + deep(rows)) / 2
    return rankers, about
