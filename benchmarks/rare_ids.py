"""Do wide and joint learn ids seen at most five times alike at batch 64 and at batch 4096?

    python benchmarks/rare_ids.py [--json] [--save]

The ids feed both towers. Equal epochs, no early stopping, means of three seeds, L1 on. As shipped (the optimizers see the
gradient of the summed loss) the AUC on fresh rows and the number of non-zero wide weights must be the same at both sizes;
with the gradient of the mean loss, which is what Keras gives, they must not be, or the check could not fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

import record
import widedeep as wd
from widedeep import training
from widedeep.encoder import Encoder
from widedeep.evaluation import metrics
from widedeep.model import WideDeep
from widedeep.optimizers import FTRL, AdaGrad
from widedeep.rows import Rows

IDS, MOST, EPOCHS, SEEDS = 10_000, 5, 20, 3
BATCHES = (64, 4096)
WIDE = wd.Optimizer("ftrl", rate=0.05, accumulator=0.1, l1=0.3)
DEEP = wd.Optimizer("adagrad", rate=0.02, accumulator=0.1, warmup=50)
SCHEMA = wd.Schema(wd.Label("y"), {"id": wd.Categorical(), "x": wd.Numeric()}, wide=wd.Wide(("id",)),
                   deep=wd.Deep(("id", "x"), hidden=(16,), width=8), training=wd.Training(wide=WIDE, deep=DEEP))


def rows_of(favour: np.ndarray, copies: np.ndarray | int, seed: int) -> pd.DataFrame:
    """Each id `copies` times; it decides its rows' label with probability .9, and x says a little."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(IDS), copies))
    likes = np.where(rng.random(len(ids)) < 0.9, favour[ids], 1 - favour[ids])
    return pd.DataFrame({"id": ids, "x": rng.normal(size=len(ids)) + 0.3 * likes, "y": likes})


def world(schema: wd.Schema) -> tuple[Encoder, Rows, Rows]:
    """The encoder, the training rows and the test rows."""
    rng = np.random.default_rng(0)
    favour, copies = rng.integers(0, 2, IDS), rng.integers(1, MOST + 1, IDS)
    train = rows_of(favour, copies, 1)
    encoder = Encoder.fit(schema, train)
    return encoder, encoder.rows(train), encoder.rows(rows_of(favour, 2, 2))


def compare(arm: str, seeds: int = SEEDS) -> dict[str, dict[str, float]]:
    """AUC and non-zero weights by batch size, each the mean over seeds, for `wide` or `joint`."""
    schema = SCHEMA if arm == "joint" else SCHEMA.only(arm)
    encoder, train, test = world(schema)
    found = {}
    for batch in BATCHES:
        runs = [_run(WideDeep(schema, encoder, seed=seed), train, test, batch, seed) for seed in range(seeds)]
        auc, nonzero = np.mean(runs, axis=0).tolist()
        found[str(batch)] = {"auc": auc, "nonzero": nonzero}
    return found


def _run(model: WideDeep, train: Rows, test: Rows, batch: int, seed: int) -> tuple[float, int]:
    training.fit(model, train, epochs=EPOCHS, batch=batch, seed=seed)
    return metrics.auc(test.labels, training.predict(model, test)[:, 0]), np.count_nonzero(model.state()["wide/wide/table"])


def alike(found: dict[str, dict[str, float]]) -> bool:
    """AUC within .005 and non-zero counts within 10 %."""
    small, large = (found[str(batch)] for batch in BATCHES)
    return abs(small["auc"] - large["auc"]) <= 0.005 and abs(small["nonzero"] - large["nonzero"]) <= 0.1 * large["nonzero"]


@contextmanager
def mean_loss() -> Iterator[None]:
    """Let the shipped optimizers see the gradient of the mean loss, as Keras would."""
    kinds = (FTRL, AdaGrad)
    for kind in kinds:
        del kind.of_summed_loss
    try:
        yield
    finally:
        for kind in kinds:
            kind.of_summed_loss = True


def main() -> None:
    chosen = record.options(__doc__, "rare_ids").parse_args()
    figures: dict[str, Any] = {arm: compare(arm) for arm in ("wide", "joint")}
    with mean_loss():
        figures["wide, gradient of the mean loss"] = compare("wide")
    for found in figures.values():
        found["alike"] = alike(found)
    record.publish("rare_ids", {"figures": figures}, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    for arm, found in result["figures"].items():
        parts = [f"batch {b}: AUC {found[str(b)]['auc']:.4f}, {found[str(b)]['nonzero']:,.0f} non-zero weights"
                 for b in BATCHES]
        print(f"{arm}: {'; '.join(parts)}; alike: {found['alike']}")


if __name__ == "__main__":
    main()
