"""Memory of a streaming training by the number of rows: `widedeep train --stream` on a folder of Parquet files.

The peak is of the whole process, TensorFlow included, less its embedding tables, their slots and counts. The net is small, for
what is measured is the rows' way to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import widedeep as wd
from speed_ingest import schema_of, shapes, table_of

FILE = 1_000_000
"""Rows of a file."""

COUNTS = (2_000_000, 20_000_000)
SHAPE = replace(shapes.SHAPES["criteo"], dim=4, hidden=(16,))


def measure() -> dict[str, Any]:
    """Peak memory in GB at both numbers of rows; the files of the small one are the first of the large one."""
    with tempfile.TemporaryDirectory() as folder:
        schema = _schema(Path(folder))
        peaks = {}
        for count in COUNTS:
            for index in range(count // FILE):
                _write(Path(folder) / "rows" / f"{index:03d}.parquet", FILE, index)
            peaks[count] = _train(schema, Path(folder))
    above = {str(count): found["peak_gb"] - found["tables_gb"] for count, found in peaks.items()}
    small, large = above.values()
    return {"memory": {str(count): found for count, found in peaks.items()},
            "figures": {"stream_peak_gb": large, "stream_memory_ratio": large / small}}


def _schema(folder: Path) -> Path:
    found = schema_of(SHAPE, "f32")
    path = folder / "schema.toml"
    path.write_text(replace(found, training=wd.Training(batch=SHAPE.batch, epochs=1)).to_toml(), encoding="utf-8")
    return path


def _write(path: Path, rows: int, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        pq.write_table(table_of(shapes.draw(SHAPE, rows, seed)), path)


def _train(schema: Path, folder: Path) -> dict[str, float]:
    """The command's peak resident memory and its tables' size, in GB, and its seconds."""
    command = [sys.executable, "-m", "widedeep", "train", str(folder / "rows"), "--schema", str(schema), "--valid", "none",
               "--stream", "--out", str(folder / "model"), "--force", "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    with process:
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}.")
    record = json.loads(said)
    return {"peak_gb": usage.ru_maxrss * 1024 / 1e9, "tables_gb": _tables_bytes() / 1e9,
            "seconds": time.perf_counter() - start, "examples_per_s": record["examples_per_s"]}


def _tables_bytes() -> int:
    """Weights and slots of both towers' tables, and a count per row."""
    wide, deep = (sum(rows) for rows in (SHAPE.wide_rows, SHAPE.rows))
    return 4 * (wide * 3 + wide + deep * SHAPE.dim * 2 + deep)
