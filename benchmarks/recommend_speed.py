"""How fast: an epoch of retrieval on a million interactions, and lists for 10,000 users out of 50,000 items; in what memory.

    python benchmarks/recommend_speed.py [--quick] [--json] [--save]

Users and items are made up, with popularity falling as a power; no pair comes twice. 500 items are retrieved for each user and
ranked, 10 shown. The ranker has the user, the item, a feature of each, the last 20 items (as a list, and crossed with the
candidate), embeddings of 16 numbers and hidden layers of 128 and 64 units. An epoch is the median of three. Memory is the peak
of a process of its own: to load the recommender and write lists for a tenth of the users, and for all of them ten times over.
"""

from __future__ import annotations

import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

import record
import widedeep as wd
from widedeep.recommend.recommender import Recommender
from widedeep.recommend.retrieval import Retrieval
from widedeep.run import start

NAME = "recommend_speed"
FULL = {"users": 10_000, "items": 50_000, "interactions": 1_000_000, "ranked": 300_000}
QUICK = {"users": 500, "items": 1_000, "interactions": 10_000, "ranked": 5_000}


def world(users: int, items: int, interactions: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Interactions, users and items that are made up; as many different pairs as are asked for."""
    rng, drawn = np.random.default_rng(0), interactions * 5 // 4
    pairs = rng.integers(0, users, drawn) * items + (items * rng.random(drawn) ** 3).astype(int)
    pairs = pairs[np.sort(np.unique(pairs, return_index=True)[1])][:interactions]
    log = {"user": pairs // items, "item": pairs % items, "time": np.arange(len(pairs))}
    return (pa.table(log), pa.table({"user": np.arange(users), "country": rng.choice(list("abcdefgh"), users)}),
            pa.table({"item": np.arange(items), "genre": rng.choice(list("abcdefghijklmnop"), items)}))


def schema() -> wd.Schema:
    """The ranker whose size is told."""
    ids = ("user", "item", "country", "genre", "history")
    columns = {name: wd.Categorical() for name in ids} | {"history x item": wd.Crossed(("history", "item"), 1 << 23)}
    return wd.Schema(wd.Label("taken"), columns, wide=wd.Wide(("item", "genre", "history x item")),
                     deep=wd.Deep(ids, hidden=(128, 64), width=16), training=wd.Training(batch=4096, epochs=1))


def measured(quick: bool = False) -> dict[str, Any]:
    """`retrieval_epoch_s`, `users_per_s` and the peaks of memory in GB, and what they were measured on."""
    size = QUICK if quick else FULL
    log, users, items = world(size["users"], size["items"], size["ranked"])
    found = Recommender(schema(), time="time", retrieval=Retrieval(epochs=1), valid=None).fit(log, users, items)
    found.recommend(np.arange(min(512, size["users"])))
    started = time.perf_counter()
    found.recommend(np.arange(size["users"]))
    seconds = time.perf_counter() - started
    peaks = {"fit": peak(), "write_tenth": written(found, size["users"] // 10, 1),
             "write_tenfold": written(found, size["users"], 10)}
    parameters = {tower: part["allocated"] for tower, part in found.ranker.model.record["parameters"].items()}
    log, users, items = world(size["users"], size["items"], size["interactions"])
    towers = Recommender(schema(), time="time", retrieval=Retrieval(epochs=3), rank=False).fit(log, users, items)
    epochs = [epoch["seconds"] for epoch in towers.record["retrieval"]["history"]]
    return {"figures": {"retrieval_epoch_s": median(epochs), "users_per_s": size["users"] / seconds},
            "about": size | {"interactions": towers.record["data"]["interactions"], "epochs_s": epochs, "retrieved": 500,
                             "shown": 10, "hidden": [128, 64], "width": 16, "history": 20, "parameters": parameters,
                             "peak_gb": peaks | {"fit_retrieval": peak()}}}


def written(found: Recommender, users: int, times: int) -> float:
    """The peak of a process that loads the recommender and writes lists for so many users, so many times over: in GB."""
    with (tempfile.TemporaryDirectory() as folder,
          ProcessPoolExecutor(1, get_context("spawn"), start, (None,)) as other):
        found.save(Path(folder) / "found")
        return other.submit(_write, folder, np.tile(np.arange(users), times)).result()


def _write(folder: str, users: np.ndarray) -> float:
    Recommender.load(Path(folder) / "found").write(Path(folder) / "lists.parquet", users)
    return peak()


def peak() -> float:
    """The most memory that the process has held so far, in GB."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20


def main() -> None:
    parser = record.options(__doc__, NAME)
    parser.add_argument("--quick", action="store_true", help="a few users and items, to see that it runs")
    chosen = parser.parse_args()
    record.publish(NAME, measured(chosen.quick), chosen, lambda result: print(result["figures"], result["about"]))


if __name__ == "__main__":
    main()
