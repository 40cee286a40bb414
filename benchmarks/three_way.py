"""Data decided by a cross of three, one of them a list: what the joint model learns and a wide one without the cross cannot.

    python benchmarks/three_way.py [--seeds 5] [--json] [--save]

The label is the parity of a, b and one tag of a list; each alone, and any two, say nothing. Everything goes through the
command line, as a user would do it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import record
import widedeep as wd

COLUMNS = {"a": wd.Categorical(), "b": wd.Categorical(), "tags": wd.Categorical(),
           "a_x_b_x_tags": wd.Crossed(("a", "b", "tags"), bins=4096)}
JOINT = wd.Schema(wd.Label("y"), COLUMNS, wd.Wide(("a", "b", "tags", "a_x_b_x_tags")),
                  wd.Deep(("a", "b", "tags"), hidden=(32,), width=4),
                  wd.Training(epochs=8, wide=wd.Optimizer("ftrl", rate=0.5)))
SCHEMAS = {"joint": JOINT, "wide without the cross": replace(JOINT, wide=wd.Wide(("a", "b", "tags"))).only("wide")}
TRAIN_ROWS, TEST_ROWS = 12_000, 3_000


def table(rows: int, seed: int) -> pd.DataFrame:
    """a, b and one tag of six values each; further tags are noise."""
    rng = np.random.default_rng(seed)
    a, b, tag = (rng.integers(0, 6, rows) for _ in range(3))
    tags = [[f"t{t}", *(f"noise{n}" for n in rng.integers(0, 5, k))] for t, k in zip(tag, rng.integers(0, 3, rows))]
    return pd.DataFrame({"a": [f"a{i}" for i in a], "b": b, "tags": tags, "y": (a + b + tag) % 2})


def auc_of(arm: str, seed: int, command: list[str], folder: Path) -> float:
    """Test AUC of an arm after `init`-less training through the command line."""
    table(TRAIN_ROWS, 2 * seed).to_parquet(folder / "train.parquet")
    table(TEST_ROWS, 2 * seed + 1).to_parquet(folder / "test.parquet")
    (folder / "s.toml").write_text(SCHEMAS[arm].to_toml())
    train = ["train", "train.parquet", "--schema", "s.toml", "--out", "model", "--seed", str(seed), "--force"]
    for arguments in (train, ["evaluate", "model", "test.parquet", "--json"]):
        done = subprocess.run([*command, *arguments], cwd=folder, check=True, text=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["auc"]


def main() -> None:
    parser = record.options(__doc__, "three_way")
    parser.add_argument("--seeds", type=int, default=5, help="worlds (default 5)")
    chosen = parser.parse_args()
    command = [os.path.join(os.path.dirname(sys.executable), "widedeep")]
    with tempfile.TemporaryDirectory() as folder:
        runs = {arm: [auc_of(arm, seed, command, Path(folder)) for seed in range(chosen.seeds)] for arm in SCHEMAS}
    figures = {arm: {"auc": float(np.mean(aucs)), "auc_lowest": min(aucs), "auc_highest": max(aucs)}
               for arm, aucs in runs.items()}
    record.publish("three_way", {"figures": figures, "runs": runs}, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    for arm, figures in result["figures"].items():
        print(f"{arm:<24} AUC {figures['auc']:.4f} (from {figures['auc_lowest']:.4f} to {figures['auc_highest']:.4f})")


if __name__ == "__main__":
    main()
