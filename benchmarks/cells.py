"""Studies in cells: each is computed once, on one thread, and kept as a file; a study that was stopped goes on where it was.

A cell is a frozen dataclass with a `name`, that of its file in the study's folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from record import RESULTS
from widedeep.atomic import whole_file


def options(description: str, name: str) -> argparse.ArgumentParser:
    """The options of a study in cells."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", default=f"studies/{name}", help=f"the folder of its cells (default studies/{name})")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="cells at a time (default: one per core)")
    parser.add_argument("--minutes", type=float, help="begin no cell after so many minutes; the same command goes on")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results/installs/")
    return parser


def carry_out(folder: Path, cells: Sequence[Any], perform: Callable[[Any], dict[str, Any]], processes: int,
              minutes: float | None = None) -> None:
    """Compute the cells that are not there, each on one thread; after `minutes` no more are begun."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell in cells if not (folder / cell.name).exists()]
    end = time.monotonic() + 60 * minutes if minutes else float("inf")
    with (ProcessPoolExecutor(processes, get_context("spawn"), _begin) as pool,
          Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar):
        task, waiting, running = bar.add_task("cells", total=len(missing)), list(missing), {}
        try:
            while running or waiting and time.monotonic() < end:
                while waiting and len(running) < processes and time.monotonic() < end:
                    cell = waiting.pop(0)
                    running[pool.submit(_timed, perform, cell)] = cell
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    cell = running.pop(done)
                    with whole_file(folder / cell.name) as unfinished:
                        unfinished.write_text(json.dumps(asdict(cell) | done.result()), encoding="utf-8")
                    bar.advance(task)
        except KeyboardInterrupt:
            sys.exit("Stopped. What is finished stays, and the same command goes on from there.")


def _begin() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)   # what TensorFlow prints about the machine; errors reach the parent
    from widedeep.run import start
    start(threads=1)


def _timed(perform: Callable[[Any], dict[str, Any]], cell: Any) -> dict[str, Any]:
    begun = time.perf_counter()
    return perform(cell) | {"seconds": time.perf_counter() - begun}


def finished(folder: Path, cells: Sequence[Any]) -> list[dict[str, Any]]:
    """What the cells that are there hold, in their order."""
    return [json.loads(path.read_text(encoding="utf-8")) for cell in cells if (path := folder / cell.name).exists()]


def budget(found: Sequence[Mapping[str, Any]], cells: Sequence[Any]) -> dict[str, Any]:
    """How many cells a study has, how many are not there, and the hours of one thread that the others took."""
    return {"cells": len(cells), "unfinished": len(cells) - len(found), "hours": sum(one["seconds"] for one in found) / 3600}


def publish(name: str, result: dict[str, Any], chosen: argparse.Namespace, show: Callable[[dict[str, Any]], None]) -> None:
    """Keep and print a study's result."""
    if chosen.save:
        path = RESULTS / f"installs/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if chosen.json:
        print(json.dumps(result))
    else:
        show(result)


def said(spent: Mapping[str, Any]) -> str:
    """The budget in words."""
    missing = f"; {spent['unfinished']} are not finished" if spent["unfinished"] else ""
    return f"{spent['cells']} cells{missing}; {spent['hours']:.2f} hours of one thread"


def gain_text(row: Mapping[str, Any]) -> str:
    """A gain in per cent, with its interval."""
    spread = "" if row["low"] is None else f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
    return f"{100 * row['gain']:+.1f} %{spread}".replace("-", "−")
