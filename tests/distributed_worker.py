"""One process of `test_distribute`: trains as one of several workers, or alone, and writes its whole state."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pandas as pd


def table(rows: int = 600) -> pd.DataFrame:
    """Ids that repeat, lists, a cross, weights: all whose gradients could be summed wrongly."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"shop": rng.zipf(1.5, rows) % 50, "day": rng.zipf(1.5, rows) % 7, "price": rng.normal(size=rows),
                          "weight": rng.random(rows),
                          "tags": [rng.integers(0, 9, n).tolist() for n in rng.integers(0, 4, rows)]})
    return frame.assign(bought=((frame["shop"] % 3 == 0) ^ (rng.random(rows) < 0.2)).astype(int))


def main(role: int, addresses: list[str], out: str) -> None:
    if addresses:
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": role}})
    import widedeep as wd
    from widedeep._keras import tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy() if addresses else tf.distribute.get_strategy()
    columns = {"shop": wd.Categorical(), "day": wd.Hashed(bins=100), "tags": wd.Categorical(), "price": wd.Numeric(),
               "shop x day": wd.Crossed(("shop", "day"), bins=1000)}
    schema = wd.Schema(wd.Label("bought"), columns, wd.Wide(("shop", "shop x day", "tags")),
                       wd.Deep(("shop", "day", "tags", "price"), hidden=(16, 8)), wd.Training(batch=64, epochs=2),
                       weight="weight")
    with strategy.scope():
        model = wd.fit(schema, table(), valid=0.2, seed=3, progress=False)
    np.savez(out, **model.state(), **{f"optimizer:{name}": value for name, value in model.optimizer_state().items()})


if __name__ == "__main__":
    main(int(sys.argv[1]), [address for address in sys.argv[2].split(",") if address], sys.argv[3])
