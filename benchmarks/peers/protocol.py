"""What a peer's script says and hears, so that the caller can interleave systems in one run. Runs in the peer's environment.

    python run_NAME.py SPEC.json

SPEC holds shape, rows, wide, steps, seed, precision, variant and threads (see `environments.Peer`), and `answers`, the file
descriptor to answer on: not 1, since libraries print. The first answer is `{"ready": true, "versions": …, "variant": …}`. Then
each line in, `joint` or `bare`, runs a round of that net and is answered with `{"seconds": …, "examples": …, "loss": …}`; the
first round of each kind is preceded by one that is not measured. The end of the input ends the process.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import shapes

RATE, ACCUMULATOR = 0.05, 0.1


class System(Protocol):
    """One library's net, built and with its data ready."""

    def joint(self) -> tuple[float, float]:
        """Train the whole net for one epoch: seconds, mean loss."""

    def bare(self) -> tuple[float, float]:
        """Train its MLP alone for as many steps, on a random input whose gradient is computed too: seconds, mean loss."""


def serve(build: Callable[..., System], variants: dict[str, dict[str, Any]], libraries: tuple[str, ...]) -> None:
    """Answer rounds until the input ends. `build(shape, data, precision, threads, **variant)` makes the system."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answers = os.fdopen(spec["answers"], "w")
    shape = shapes.shape_of(spec["shape"], spec["rows"], spec["wide"])
    examples = spec["steps"] * shape.batch
    data = shapes.draw(shape, examples, spec["seed"])
    name = spec["variant"] or next(iter(variants))
    system = build(shape, data, spec["precision"], spec["threads"], **variants[name])

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    versions = {library: metadata.version(library) for library in libraries} | {"python": platform.python_version()}
    answer({"ready": True, "versions": versions, "variant": name})
    warm = set()
    for line in sys.stdin:
        kind = line.strip()
        rounds = {"joint": system.joint, "bare": system.bare}
        if kind not in warm:
            rounds[kind]()
            warm.add(kind)
        seconds, loss = rounds[kind]()
        answer({"seconds": seconds, "examples": examples, "loss": loss})
