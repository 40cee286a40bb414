"""What the install studies share: small worlds, and the arms that are trained in them.

A cell is one world, one size of logs and one training seed. Its arms are trained on the same logs, each on one thread and
stopped early on validation logs of the same policy, with the settings that `installs_tuning.py` chose for the arm in worlds
that no study reads; then they serve the same fresh visits.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import widedeep as wd
from record import committed
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
"""Impressions for early stopping, where a fifth of the training's are fewer: or luck would choose."""


@dataclass(frozen=True)
class Cell:
    """One world, one size of logs, one training seed; `settings` are those of the arms trained in it."""

    kind: str
    world: int
    share: float
    impressions: int
    seed: int
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The cell's file."""
        return f"{self.kind}-share{self.share:g}-{self.impressions}-world{self.world}-seed{self.seed}.json"

    @property
    def spec(self) -> WorldSpec:
        """Its world."""
        return spec(self.kind, self.share, self.world)


def spec(kind: str, share: float, world: int) -> WorldSpec:
    """The usual world, but smaller, and of one day."""
    return WorldSpec(kind, USERS, APPS, world, days=1, exception_share=share)


def tuned(kind: str, share: float, impressions: int, arms: Sequence[str] = ARMS) -> dict[str, dict[str, Any]]:
    """By arm, what was chosen in a development world of this kind, share and size."""
    chosen = committed("installs/settings")["settings"][kind][f"{share:g}"][str(impressions)]
    return {arm: chosen[arm] for arm in arms}


def logs(world: World, impressions: int) -> tuple[Any, Any]:
    """Training and validation logs of the world's own policy."""
    return logged(world, impressions, 0, TRAIN), logged(world, max(LEAST_VALID, impressions // 5), 0, VALID)


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


def trained(cell: Cell, world: World) -> tuple[dict[str, Ranker], dict[str, int]]:
    """The cell's arms as rankers, with the ensemble of wide and deep if both are there; and each one's touched weights."""
    from widedeep.installs.rankers import ModelRanker

    train, valid = logs(world, cell.impressions)
    rankers: dict[str, Ranker] = {}
    weights = {}
    for arm, chosen in cell.settings.items():
        with quiet():
            model = wd.fit(arm_schema(arm, schema(world), train, chosen), train, valid=valid, seed=cell.seed, progress=False)
        rankers[arm] = ModelRanker(arm, model)
        weights[arm] = sum(tower["touched"] for tower in model.record["parameters"].values())
    if {"wide", "deep"} <= set(rankers):
        wide, deep = rankers["wide"], rankers["deep"]
        rankers["ensemble"] = lambda rows: (wide(rows) + deep(rows)) / 2
    return rankers, weights
