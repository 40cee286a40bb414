"""Parquet to ids: cold, and shuffled from the cache. 26 columns of text (100,000 distinct values), 13 numbers, 10 crosses."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

PEERS = Path(__file__).parent / "peers"
sys.path.append(str(PEERS))  # its scripts import each other so, in environments that lack this project

import shapes  # noqa: E402
from run_widedeep import schema_of, table_of  # noqa: E402

from widedeep.cache import Cache  # noqa: E402
from widedeep.encoder import Encoder, Tally  # noqa: E402
from widedeep.inputs import Cached  # noqa: E402
from widedeep.tables import Table  # noqa: E402
from widedeep.training import CHUNK  # noqa: E402

ROWS, QUICK_ROWS = 1_000_000, 200_000


def measure(quick: bool) -> dict[str, Any]:
    """Rows a second, in rounds that take turns."""
    shape, rows, rounds = shapes.SHAPES["criteo"], QUICK_ROWS if quick else ROWS, 3 if quick else 7
    schema = schema_of(shape, "f32")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        pq.write_table(table_of(shapes.draw(shape, rows)), path)
        table, cached = Table.of(path, schema), Cached(Cache(Path(folder) / "cache"), False)
        encoder = cached.encoder(schema, table)
        kept, _ = cached.train(encoder, table, len)
        rates = [(rows / _cold(encoder, path), rows / _shuffled(kept, seed)) for seed in range(rounds + 1)][1:]
        size = path.stat().st_size
    cold, shuffled = (list(one) for one in zip(*rates))
    return {"rows": rows, "parquet_mb": size / 1e6, "cold_rows_per_s": cold, "cached_rows_per_s": shuffled,
            "figures": {"ingest_rows_per_s": float(np.median(cold)), "cached_rows_per_s": float(np.median(shuffled))}}


def _cold(encoder: Encoder, path: Path) -> float:
    """Seconds to read and encode the file, with the tally of unseen and colliding values that a training takes of it."""
    start, count = time.perf_counter(), 0
    for rows, _ in encoder.stream(Table.of(path, encoder.schema), Tally(collisions={})):
        count += len(rows)
    return time.perf_counter() - start


def _shuffled(kept: Any, seed: int) -> float:
    """Seconds to read every row once, in random order, in the chunks in which training takes them."""
    start = time.perf_counter()
    for _ in kept.chunks(CHUNK, np.random.default_rng(seed)):
        pass
    return time.perf_counter() - start
