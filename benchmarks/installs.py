"""The paper's table in worlds whose truth is known, and which offline figure names the online winner.

    python benchmarks/installs.py [--quick] [--worlds 5] [--seeds 3] [--processes 2] [--minutes M] [--out DIR] [--json] [--save]

In every world wide is the control, and deep, joint, the deep tower with as many touched weights as joint, and the ensemble of
wide and deep are the arms. All serve the same fresh visits: their online gain, exact in expectation. Each is also judged from
one more log, as one would without an A/B test: AUC, group AUC, log loss and normalized entropy of what was shown, and what IPS,
SNIPS and doubly robust say it would earn; the reward model is the joint arm's, fitted on other logs. The unit is the world, and
the two kinds share none. Coverage: of logs whose users are drawn from that log's and served anew, the share whose 95 % interval
holds the true gain. `--save` keeps benchmarks/results/installs/table.json.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

import cells
import installs_arms
import installs_trust
import record
from installs_arms import CONTROL, KINDS, Cell, tuned
from widedeep.installs.acquisition import Online, across, online
from widedeep.installs.world import World

SHARE, IMPRESSIONS, VISITS = 0.05, 80_000, 20_000
WORLDS, SEEDS = 5, 3
FIRST = {"towers": 0, "trees": 500}
"""The seed of the first world of each kind."""
QUICK = 20_000
"""Impressions of the logs with `--quick`."""


def perform(cell: Cell) -> dict[str, Any]:
    """Every arm in one world: online, and judged from a log."""
    world = World(cell.spec)
    rankers, weights = installs_arms.trained(cell, world)
    quick = cell.impressions == QUICK
    table = online(world, rankers, CONTROL, visits=VISITS // 4 if quick else VISITS)
    pool = installs_trust.Pool.of(world, rankers, cell.seed, VISITS // 4 if quick else VISITS // 2)
    return {"table": {name: asdict(row) for name, row in table.items()}, "weights": weights, "bayes": world.bayes(),
            "offline": installs_trust.offline(pool, cell.seed),
            "coverage": installs_trust.coverage(pool, CONTROL, cell.seed)}


def figures(found: list[dict[str, Any]], wanted: list[Cell]) -> dict[str, Any]:
    """Over the worlds of both kinds, and by kind."""
    kinds = [kind for kind in KINDS if any(one["kind"] == kind for one in found)]
    by_kind = {kind: _figures([one for one in found if one["kind"] == kind]) for kind in kinds}
    return _figures(found) | {"by_kind": by_kind, "budget": cells.budget(found, wanted)}


def _figures(found: list[dict[str, Any]]) -> dict[str, Any]:
    worlds: dict[Any, list[dict[str, Online]]] = {}
    for one in found:
        worlds.setdefault(one["world"], []).append({name: Online(**row) for name, row in one["table"].items()})
    table = {name: asdict(row) for name, row in across(worlds, CONTROL).items()}
    said = {arm: float(np.mean([one["offline"][arm]["auc"] for one in found])) for arm in found[0]["offline"]}
    weights = {arm: float(np.mean([one["weights"][arm] for one in found])) for arm in found[0]["weights"]}
    return {"offline_auc": said, "online_gain": {name: row["gain"] for name, row in table.items()},
            "bayes_auc": float(np.mean([one["bayes"]["auc"] for one in found])), "weights": weights,
            **{f"coverage_{name}": value for name, value in installs_trust.coverages(found).items()},
            "table": table, "joint_over_deeper": asdict(across(_over(worlds, "deeper"), "deeper")["joint"]),
            "trust": installs_trust.trust(found)}


def _over(worlds: dict[Any, list[dict[str, Online]]], control: str) -> dict[Any, list[dict[str, Online]]]:
    """The same tables with gains over another control."""
    return {world: [{name: replace(row, gain=row.installs / table[control].installs - 1) for name, row in table.items()}
                    for table in tables] for world, tables in worlds.items()}


def main() -> None:
    parser = cells.options(__doc__, "installs/table", quick="one world of each kind, small logs")
    parser.add_argument("--worlds", type=int, default=WORLDS, help=f"worlds of each kind (default {WORLDS})")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"training seeds in every world (default {SEEDS})")
    chosen = cells.asked(parser)
    worlds, seeds, size = (1, 1, QUICK) if chosen.quick else (chosen.worlds, chosen.seeds, IMPRESSIONS)
    wanted = [Cell(kind, world + FIRST[kind], SHARE, size, seed, tuned(kind, SHARE, size))
              for seed in range(seeds) for world in range(worlds) for kind in KINDS]
    result = {"figures": figures(cells.carry_out(chosen, wanted, perform), wanted)}
    record.publish("installs/table", result, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    for kind, found in result["figures"]["by_kind"].items():
        rows = [(name, f"{auc:.4f}", cells.gain_text(found["table"][name])) for name, auc in found["offline_auc"].items()]
        print(f"\n{kind} (Bayes AUC {found['bayes_auc']:.4f})\n")
        print(record.table("ranker | offline AUC | online gain over wide", *rows))
        rows = [(name, "–" if one["pairs"] is None else f"{one['pairs']:.0%}", f"{100 * one['regret']:.2f} %")
                for name, one in found["trust"].items()]
        print("\n" + record.table("offline figure | pairs of arms in the right order | installs lost by its choice", *rows))
    covered = ", ".join(f"{name} {result['figures']['coverage_' + name]:.1%}" for name in installs_trust.ESTIMATORS)
    print(f"\ncoverage of the true gain: {covered}\n{cells.said(result['figures']['budget'])}")


if __name__ == "__main__":
    main()
