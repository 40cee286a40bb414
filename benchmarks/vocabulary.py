"""One training step at 10 k and at 10 M table rows: the same ids, spread over the larger table.

    python benchmarks/vocabulary.py [--json] [--save]

Both models start from the same rows and see the same batches, duplicates included. What is timed is a step of the whole
joint model, 1024-512-256, and beside it is checked that the large table's touched rows become what the small table's do, that
a dense update gives the same, and that all other rows and their slots keep every bit.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd

import record
import widedeep as wd
from widedeep._keras import tf
from widedeep.encoder import Encoder
from widedeep.model import WideDeep
from widedeep.optimizers import FTRL, AdaGrad
from widedeep.rows import Rows
from widedeep.training import tensors

SMALL, LARGE = 10_000, 10_000_000
COLUMNS, BATCH, ROUNDS = 10, 4096, 15
HIDDEN = (1024, 512, 256)
WIDE, DEEP = "wide/wide/table", "deep/deep.16/table"


def model_of(rows: int, hidden: tuple[int, ...] = HIDDEN) -> WideDeep:
    """A joint model of hashed columns whose tables have this many rows."""
    names = [f"c{i}" for i in range(COLUMNS)]
    columns = {name: wd.Hashed(bins=rows // COLUMNS - 3) for name in names}
    schema = wd.Schema(wd.Label("y"), columns, wd.Wide(tuple(names)), wd.Deep(tuple(names), hidden=hidden))
    return WideDeep(schema, Encoder.fit(schema, pd.DataFrame(dict.fromkeys(names, ["a", "b"]) | {"y": [0, 1]})))


def batch_of(ids: np.ndarray, labels: np.ndarray) -> Rows:
    """Rows with these table rows in both towers."""
    return Rows({"wide/ids": ids.astype(np.int32), "deep.16/ids": ids.astype(np.int32)}, labels)


def pair(small_rows: int = SMALL, large_rows: int = LARGE,
         hidden: tuple[int, ...] = HIDDEN) -> tuple[dict[str, WideDeep], np.ndarray]:
    """Two models that start alike, and the large table's row for each row of the small one."""
    small, large = model_of(small_rows, hidden), model_of(large_rows, hidden)
    place = np.arange(small_rows) * (large_rows // small_rows)
    theirs = dict(zip(large.state(), large.weights))
    for name, values in zip(small.state(), small.get_weights()):
        if name.endswith("/table"):
            theirs[name].scatter_update(tf.IndexedSlices(values, place))
        else:
            theirs[name].assign(values)
    return {"small": small, "large": large}, place


def draw(seed: int, rows: int, batch: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """Zipf ids (batch, columns) within a table of `rows`, many of them several times, and labels."""
    rng = np.random.default_rng(seed)
    ids = (rng.zipf(1.2, (batch, COLUMNS)) * 7919 + np.arange(COLUMNS)) % rows
    return ids, rng.integers(0, 2, batch).astype(np.float32)


def same_step(models: dict[str, WideDeep], place: np.ndarray, steps: int = 3, batch: int = BATCH) -> dict[str, Any]:
    """After a few steps: how far touched rows differ between the sizes, and whether all others kept every bit."""
    touched, before = set(), snapshot(models["large"])
    for seed in range(steps):
        ids, labels = draw(seed, len(place), batch)
        touched |= set(place[ids].ravel().tolist())
        models["small"].train_step(tensors(batch_of(ids, labels)))
        models["large"].train_step(tensors(batch_of(place[ids], labels)))
    small, after = snapshot(models["small"]), snapshot(models["large"])
    idle = np.ones(len(before[DEEP]), bool)
    idle[sorted(touched)] = False
    return {"largest_difference": max(float(np.abs(small[name] - after[name][place]).max()) for name in small),
            "touched_rows": len(touched), "duplicates_per_batch": int(ids.size - len(np.unique(ids))),
            "idle_rows_identical": all(np.array_equal(before[name][idle], after[name][idle]) for name in before)}


def snapshot(model: WideDeep) -> dict[str, np.ndarray]:
    """The rows of both tables and of their slots."""
    found = model.state() | model.optimizer_state()
    return {name: value for name, value in found.items() if "/table" in name}


def dense_difference(rows: int = SMALL, batch: int = BATCH) -> float:
    """The largest difference between a sparse step, of AdaGrad or FTRL, and the dense step with the same gradient."""
    return max(_dense_difference(kind, rows, batch) for kind in (AdaGrad, FTRL))


def _dense_difference(kind: type, rows: int, batch: int) -> float:
    """FTRL's rows start at zero, or a dense step would move the untouched ones."""
    start, ids = np.zeros((rows, 16), np.float32), draw(0, rows, batch)[0].ravel()
    values = np.random.default_rng(0).normal(size=(len(ids), 16)).astype(np.float32)
    tables = [tf.Variable(start) for _ in range(2)]
    sparse = tf.IndexedSlices(tf.constant(values), tf.constant(ids), tf.constant(start.shape))
    for table, gradient in zip(tables, (sparse, tf.convert_to_tensor(sparse))):
        kind(0.05).apply_gradients([(gradient, table)])
    return float(np.abs(tables[0].numpy() - tables[1].numpy()).max())


def seconds_per_step(models: dict[str, WideDeep], place: np.ndarray) -> dict[str, float]:
    """Median seconds of a compiled step of each model, in turn."""
    ids, labels = draw(99, len(place))
    data = {"small": tensors(batch_of(ids, labels)), "large": tensors(batch_of(place[ids], labels))}
    steps = {name: tf.function(model.train_step) for name, model in models.items()}
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step(data[name])["loss"].numpy()
            taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds[2:])) for name, seconds in taken.items()}


def main() -> None:
    chosen = record.options(__doc__, "vocabulary").parse_args()
    models, place = pair()
    figures = same_step(models, place) | {"dense_difference": dense_difference()}
    seconds = seconds_per_step(models, place)
    figures |= {"step_10k_s": seconds["small"], "step_10m_s": seconds["large"],
                "step_10m_over_10k": seconds["large"] / seconds["small"]}
    record.publish("vocabulary", {"figures": figures}, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    for name, value in result["figures"].items():
        print(f"{name:<24} {value:.4g}" if isinstance(value, float) else f"{name:<24} {value}")


if __name__ == "__main__":
    main()
