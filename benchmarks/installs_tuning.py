"""The settings of the install studies: for every arm, kind of world, share of exceptions and size of logs, the best of a few.

    python benchmarks/installs_tuning.py [--trials 3] [--processes 2] [--minutes M] [--out DIR] [--save]

Every arm has as many trials: the first is the schema as it is, which was found by hand in development worlds; the others are
drawn at random, the same for all arms as far as these have such settings. A trial trains in a development world, which no study
reads, and is judged by AUC on validation logs. `--save` keeps benchmarks/results/installs/settings.json.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cells
import installs
import installs_arms
import installs_map
import record
import widedeep as wd
from widedeep.ablation.search import draw
from widedeep.installs.world import World
from widedeep.space import applied

SEARCH = {"training.wide.rate": wd.Between(0.01, 0.1), "training.wide.l1": wd.OneOf((1.0, 3.0, 6.0)),
          "training.deep.rate": wd.Between(0.015, 0.06), "deep.dropout": wd.OneOf((0.0, 0.2, 0.4)),
          "deep.l2": wd.Between(10, 300)}
TRIALS = 3
DEVELOPMENT = 1000
"""The seed of the development worlds; the studies' are far below."""


@dataclass(frozen=True)
class Trial:
    """One setting of one arm."""

    kind: str
    share: float
    impressions: int
    arm: str
    number: int

    @property
    def name(self) -> str:
        """The trial's file."""
        return f"{self.kind}-share{self.share:g}-{self.impressions}-{self.arm}-trial{self.number}.json"


def trials(count: int) -> list[Trial]:
    """Every trial that the studies need, the first ones first: a search that is cut short is short for all alike."""
    needed = [(kind, share, size, arm) for kind in installs_arms.KINDS for share in installs_map.SHARES
              for size in installs_map.SIZES for arm in _arms_of(share, size)]
    return [Trial(*one, number) for number in range(count) for one in needed]


def _arms_of(share: float, size: int) -> tuple[str, ...]:
    at_table = share == installs.SHARE and size in (installs.IMPRESSIONS, installs.QUICK)
    return installs_arms.ARMS if at_table else installs_map.ARMS


def perform(trial: Trial) -> dict[str, Any]:
    """Train with the trial's settings, and say how good the arm is on validation logs."""
    world = World(installs_arms.spec(trial.kind, trial.share, DEVELOPMENT))
    train, valid = installs_arms.logs(world, trial.impressions)
    schema = installs_arms.arm_schema(trial.arm, installs_arms.schema(world), train, {})
    chosen = draw(replace(schema, search=SEARCH), trial.number, f"{trial.kind} {trial.share:g} {trial.impressions}".encode())
    with installs_arms.quiet():
        model = wd.fit(applied(schema, chosen), train, valid=valid, progress=False)
    return {"settings": chosen, "valid_auc": model.record["metrics"]["auc"]}


def best(found: list[dict[str, Any]]) -> dict[str, Any]:
    """By kind, share, size and arm: the settings of the best trial."""
    settings: dict[str, Any] = {}
    top: dict[tuple[str, ...], float] = {}
    for one in found:
        where = (one["kind"], f"{one['share']:g}", str(one["impressions"]), one["arm"])
        if one["valid_auc"] > top.get(where, 0.0):
            top[where] = one["valid_auc"]
            place = settings
            for name in where[:-1]:
                place = place.setdefault(name, {})
            place[where[-1]] = one["settings"]
    return settings


def main() -> None:
    parser = cells.options(__doc__, "installs/settings")
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"settings tried per arm (default {TRIALS})")
    chosen = cells.asked(parser)
    wanted = trials(chosen.trials)
    found = cells.carry_out(chosen, wanted, perform)
    result = {"settings": best(found), "trials": chosen.trials, "budget": cells.budget(found, wanted)}
    record.publish("installs/settings", result, chosen, lambda result: print(cells.said(result["budget"])))


if __name__ == "__main__":
    main()
