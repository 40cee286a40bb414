"""What batch norm and dropout cost beside the matrix products of a small net: the Frappe-like step through `fit`, in turn.

    python benchmarks/frappe_step.py [--json] [--save]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import record

sys.path.append(str(Path(__file__).parent / "peers"))

import shapes
from run_widedeep import System

SHAPE = shapes.SHAPES["frappe"]
ROUNDS, STEPS, THREADS = 7, 16, 2
WAYS = {"as it is": {}, "without dropout": {"dropout": 0.0}, "without batch norm": {"batch_norm": False},
        "without both": {"dropout": 0.0, "batch_norm": False}}


def main() -> None:
    chosen = record.options(__doc__, "frappe_step").parse_args()
    data = shapes.draw(SHAPE, STEPS * SHAPE.batch)
    systems = {(precision, way): System(replace(SHAPE, **changes), data, precision, THREADS)
               for precision in ("f32", "bf16") for way, changes in WAYS.items()}
    seconds: dict[tuple[str, str], list[float]] = {}
    for round_ in range(-1, ROUNDS):
        for (precision, way), system in systems.items():
            found = {way: system.joint()[0]} | ({"the bare MLP": system.bare()[0]} if way == "as it is" else {})
            if round_ >= 0:
                for name, one in found.items():
                    seconds.setdefault((precision, name), []).append(one)
    figures: dict[str, dict[str, float]] = {"f32": {}, "bf16": {}}
    for (precision, name), all_rounds in seconds.items():
        figures[precision][name] = 1000 * float(np.median(all_rounds)) / STEPS
    record.publish("frappe_step", {"figures": figures}, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    for precision, found in result["figures"].items():
        for name, milliseconds in found.items():
            print(f"{precision:<5} {milliseconds:7.1f} ms a step  {name}")


if __name__ == "__main__":
    main()
