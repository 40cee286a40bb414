"""Studies in cells: each is computed once, on one thread, and kept as a file; a study that was stopped goes on where it was.

A cell is a dataclass that holds all that its result follows from, and a `name`, that of its file in the study's folder. What
was computed from anything else is computed anew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

import record
from widedeep.atomic import whole_file

STOPPED = "What is finished stays, and the same command goes on from there."


def options(description: str, name: str, quick: str | None = None) -> argparse.ArgumentParser:
    """The options of a study in cells; `quick` says what its small version is."""
    parser = record.options(description, name)
    parser.add_argument("--out", type=Path, default=Path("studies") / name, help=f"the folder of its cells (studies/{name})")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="cells at a time (default: one per core)")
    parser.add_argument("--minutes", type=float, help="begin no cell after so many minutes")
    if quick:
        parser.add_argument("--quick", action="store_true", help=f"{quick}, in under 90 seconds; cannot be saved")
    return parser


def asked(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was asked, with `end`, the moment after which no cell is begun."""
    chosen = parser.parse_args()
    if chosen.save and getattr(chosen, "quick", False):
        parser.error("--save keeps the full result. Leave out --quick, or --save.")
    chosen.end = time.monotonic() + 60 * chosen.minutes if chosen.minutes else float("inf")
    return chosen


def carry_out(chosen: argparse.Namespace, cells: Sequence[Any],
              perform: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """Compute the cells that are not there, and return what all that are there hold, in their order.

    One that fails is told of, and the others go on.
    """
    chosen.out.mkdir(parents=True, exist_ok=True)
    waiting, running = [cell for cell in cells if kept(chosen.out, cell) is None], {}
    with (ProcessPoolExecutor(chosen.processes, get_context("spawn"), _begin) as pool,
          Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar):
        task = bar.add_task("cells", total=len(waiting))
        try:
            while running or waiting and time.monotonic() < chosen.end:
                while waiting and len(running) < chosen.processes and time.monotonic() < chosen.end:
                    cell = waiting.pop(0)
                    running[pool.submit(_timed, perform, cell)] = cell
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    _keep(chosen.out, running.pop(done), done)
                    bar.advance(task)
        except KeyboardInterrupt:
            sys.exit(f"Stopped. {STOPPED}")
    if not (found := [one for cell in cells if (one := kept(chosen.out, cell)) is not None]):
        sys.exit(f"No cell is finished. {STOPPED}")
    return found


def _begin() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)   # what TensorFlow prints about the machine; errors reach the parent
    from widedeep.run import start
    start(threads=1)


def _timed(perform: Callable[[Any], dict[str, Any]], cell: Any) -> dict[str, Any]:
    begun = time.perf_counter()
    return perform(cell) | {"seconds": time.perf_counter() - begun}


def _keep(folder: Path, cell: Any, done: Future) -> None:
    try:
        result = done.result()
    except Exception as error:   # whatever a cell raises, told here, is no reason to lose the others
        print(f"failed: {cell.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return
    with whole_file(folder / cell.name) as unfinished:
        unfinished.write_text(json.dumps(asdict(cell) | result), encoding="utf-8")


def kept(folder: Path, cell: Any) -> dict[str, Any] | None:
    """What a cell's file holds; None if there is none, or one that was computed from something else."""
    path = folder / cell.name
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    wanted = json.loads(json.dumps(asdict(cell)))
    return found if found and all(found.get(name) == value for name, value in wanted.items()) else None


def budget(found: Sequence[Mapping[str, Any]], cells: Sequence[Any]) -> dict[str, Any]:
    """How many cells a study has, how many are not there, and the hours of one thread that the others took."""
    return {"cells": len(cells), "unfinished": len(cells) - len(found), "hours": sum(one["seconds"] for one in found) / 3600}


def said(spent: Mapping[str, Any]) -> str:
    """The budget in words."""
    missing = f"; {spent['unfinished']} are not finished" if spent["unfinished"] else ""
    return f"{spent['cells']} cells{missing}; {spent['hours']:.2f} hours of one thread"


def gain_text(row: Mapping[str, Any]) -> str:
    """A gain in per cent, with its interval."""
    spread = "" if row["low"] is None else f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
    return f"{100 * row['gain']:+.1f} %{spread}".replace("-", "−")
