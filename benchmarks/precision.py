"""What bfloat16 costs in quality: the joint model on UCI Adult in both precisions, from the same seeds.

    python benchmarks/precision.py [--seeds 10] [--json] [--save]

The two runs of a seed have the same validation rows, initial weights and order of rows. `auc_loss` is f32's test AUC minus
bf16's; its 95 % bound is one-sided, from the t distribution over the seeds.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

import record
import widedeep as wd
from widedeep.datasets import Dataset, load_adult


def main() -> None:
    parser = record.options(__doc__, "precision")
    parser.add_argument("--seeds", type=int, default=10, help="pairs of runs (default 10)")
    chosen = parser.parse_args()
    data = load_adult()
    pairs = [_pair(data, seed) for seed in range(chosen.seeds)]
    figures = bound([pair["f32"] - pair["bf16"] for pair in pairs])
    record.publish("precision", {"figures": figures, "pairs": pairs}, chosen, _show)


def _pair(data: Dataset, seed: int) -> dict[str, float]:
    """The test AUC of either precision."""
    found: dict[str, float] = {"seed": seed}
    for precision in ("f32", "bf16"):
        schema = replace(data.schema, deep=replace(data.schema.deep, precision=precision))
        model = wd.fit(schema, data.train, valid=0.1, seed=seed, progress=False)
        found[precision] = wd.evaluate(model, data.test)["auc"]
    print(f"seed {seed}: f32 {found['f32']:.5f}, bf16 {found['bf16']:.5f}", file=sys.stderr)
    return found


def bound(losses: list[float]) -> dict[str, float]:
    """Mean loss, and the value that the true mean is below with 95 % confidence."""
    mean, error = float(np.mean(losses)), float(stats.sem(losses))
    return {"auc_loss": mean, "auc_loss_95": mean + error * float(stats.t.ppf(0.95, len(losses) - 1)), "seeds": len(losses)}


def _show(result: dict[str, Any]) -> None:
    for name, value in result["figures"].items():
        print(f"{name:<12} {value:.5f}" if isinstance(value, float) else f"{name:<12} {value}")


if __name__ == "__main__":
    main()
