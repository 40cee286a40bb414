"""Memory of a streaming training by the number of rows: `widedeep train --stream` on a folder of Parquet files.

The peak is of the whole process, TensorFlow included, less its embedding tables, their slots and counts, as the system keeps it
of the process itself (what it reports of children would include this one's). The net is small, for what is measured is the
rows' way to it. Validation rows take memory of their own, some ten bytes a row of the table: see `with_valid_gb`.
"""

from __future__ import annotations

import json
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
        schema, found = _schema(Path(folder)), {}
        for count in COUNTS:
            for index in range(count // FILE):
                _write(Path(folder) / "rows" / f"{index:03d}.parquet", FILE, index)
            found[str(count)] = _train(schema, Path(folder), "none") | {
                "with_valid_gb": _train(schema, Path(folder), "0.1")["peak_gb"]}
    small, large = (one["peak_gb"] - one["tables_gb"] for one in found.values())
    return {"rows": found, "figures": {"stream_peak_gb": large, "stream_memory_ratio": large / small}}


def _schema(folder: Path) -> Path:
    found = schema_of(SHAPE, "f32")
    path = folder / "schema.toml"
    path.write_text(replace(found, training=wd.Training(batch=SHAPE.batch, epochs=1)).to_toml(), encoding="utf-8")
    return path


def _write(path: Path, rows: int, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        pq.write_table(table_of(shapes.draw(SHAPE, rows, seed)), path)


def _train(schema: Path, folder: Path, valid: str) -> dict[str, float]:
    """The command's peak resident memory and its tables' size, in GB, and its seconds."""
    command = [sys.executable, "-m", "widedeep", "train", str(folder / "rows"), "--schema", str(schema), "--valid", valid,
               "--stream", "--out", str(folder / "model"), "--force", "--json"]
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            time.sleep(0.05)
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}.")
    record = json.loads(said)
    return {"peak_gb": peak / 1e9, "tables_gb": _tables_bytes() / 1e9, "seconds": time.perf_counter() - start,
            "examples_per_s": record["examples_per_s"]}


def _peak(process: int) -> int:
    """The most memory that a running process has had, in bytes: the system's mark of it, which never falls."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _tables_bytes() -> int:
    """Weights and slots of both towers' tables, and a count per row."""
    wide, deep = (sum(rows) for rows in (SHAPE.wide_rows, SHAPE.rows))
    return 4 * (wide * 3 + wide + deep * SHAPE.dim * 2 + deep)
