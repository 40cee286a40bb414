"""How much is the simulated preset "frappe" like the Frappe log? Popularity skew, repeats, and what popularity alone predicts.

    python benchmarks/world_frappe.py --data PATH [--json] [--save]

PATH holds log.parquet (user, item, …). A log is here its events: the rows of Frappe, and what is installed in the simulated
logs, cut to as many events. For the third figure 70 % of the events are training rows and 20 % test rows, each of those beside
two apps drawn evenly, as in the published split Frappe_x1; an app's score is how often it stands in training rows.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import record
from widedeep.evaluation.metrics import auc
from widedeep.installs.world import PRESETS, World

EVENTS, APPS = 96_203, 4_082
IMPRESSIONS = 340_000
"""Of the preset's logs: enough for as many events."""


def likeness(user: np.ndarray, app: np.ndarray, apps: int = APPS) -> dict[str, float]:
    """Of a log's events (n,): the Gini coefficient of events per app that occurs, and the share of the most popular 1 %;
    the share of events whose (user, app) pair came before; the AUC of popularity alone.
    """
    counts = np.sort(np.unique(app, return_counts=True)[1])
    ranks = np.arange(1, len(counts) + 1)
    pairs = np.unique(user.astype(np.int64) * apps + app)
    return {"gini": float(2 * (ranks @ counts) / (len(counts) * counts.sum()) - 1 - 1 / len(counts)),
            "top_1_percent": float(counts[-max(1, len(counts) // 100):].sum() / counts.sum()),
            "repeats": 1 - len(pairs) / len(user), "popularity_auc": _popularity_auc(app, apps)}


def _popularity_auc(app: np.ndarray, apps: int) -> float:
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(app))
    seen = np.bincount(app[rows[:int(0.7 * len(app))]], minlength=apps)
    tested = app[rows[int(0.8 * len(app)):]]
    others = rng.integers(0, apps, 2 * len(tested))
    return auc(np.repeat([1, 0], [len(tested), len(others)]), seen[np.concatenate([tested, others])])


def simulated(impressions: int = IMPRESSIONS, preset: str = "frappe") -> dict[str, float]:
    """The preset's figures, of its first events."""
    with tempfile.TemporaryDirectory() as folder:
        World(PRESETS[preset]).write(Path(folder) / "world", impressions)
        logs = pq.read_table(Path(folder) / "world/logs", columns=["user", "app", "installed"])
    user, app = (logs[name].to_numpy()[logs["installed"].to_numpy() == 1][:EVENTS] for name in ("user", "app"))
    return likeness(user, app) | {"events": len(user)}


def figures(data: Path) -> dict[str, Any]:
    """The log's figures beside the preset's."""
    log = pq.read_table(data / "log.parquet", columns=["user", "item"])
    return {"figures": {"frappe": likeness(log["user"].to_numpy(), log["item"].to_numpy()) | {"events": len(log)},
                        "preset": simulated()}, "spec": asdict(PRESETS["frappe"])}


def show(result: dict[str, Any]) -> None:
    """Print one line per figure."""
    for name, value in result["figures"]["frappe"].items():
        print(f"{name:<16} Frappe {value:10.4f}   preset {result['figures']['preset'][name]:10.4f}")


def main() -> None:
    """Measure and print."""
    parser = record.options(__doc__, "world_frappe")
    parser.add_argument("--data", type=Path, required=True, help="the folder with log.parquet")
    chosen: argparse.Namespace = parser.parse_args()
    record.publish("world_frappe", figures(chosen.data), chosen, show)


if __name__ == "__main__":
    main()
