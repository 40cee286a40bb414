"""Systems that take turns: each in a process of its own, round by round, so that what slows the machine slows all of them."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peers import shapes
from peers.environments import Peer, PeerError

ROOT = Path(__file__).resolve().parents[1]

PAUSE = 0.3
"""Seconds between rounds, in which another library's threads stop spinning."""


@dataclass(frozen=True)
class System:
    """One library on one shape, in one precision; `rows` is another size for its tables."""

    library: str
    shape: str
    rows: int | None = None
    precision: str = "f32"

    @property
    def name(self) -> str:
        """How results call it."""
        return f"{self.library} {self.precision}" + (f", {self.rows:,} rows" if self.rows else "")


class Turns:
    """Examples a second of each system in each round, all in turn; what cannot be run is told in `failed`."""

    def __init__(self, systems: list[System], kinds: tuple[str, ...], rounds: int, steps: int):
        self.shape = shapes.shape_of(systems[0].shape)
        self.rates: dict[str, list[float]] = {}
        self.failed: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {}
        with ExitStack() as closing:
            running = [peer for system in systems if (peer := self._start(system, steps, closing))]
            for index in range(rounds):
                for system, peer in running:
                    for kind in kinds:
                        self._round(system, peer, kind)
                print(f"{systems[0].shape}: round {index + 1} of {rounds}", file=sys.stderr)

    def _start(self, system: System, steps: int, closing: ExitStack) -> tuple[System, Peer] | None:
        try:
            peer = closing.enter_context(Peer(system.library, system.shape, rows=system.rows, steps=steps,
                                              precision=system.precision))
        except PeerError as error:
            self.failed[system.name] = str(error)
            return None
        self.versions[system.name] = peer.versions | {"variant": peer.variant}
        return system, peer

    def _round(self, system: System, peer: Peer, kind: str) -> None:
        name = system.name if kind == "joint" else f"{system.name}, {kind}"
        if name in self.failed:
            return
        time.sleep(PAUSE)
        try:
            self.rates.setdefault(name, []).append(peer.round(kind))
        except PeerError as error:
            self.rates.pop(name, None)
            self.failed[name] = str(error)

    def has(self, name: str) -> bool:
        """Whether a system was measured."""
        return name in self.rates

    def median(self, name: str) -> float:
        """Examples a second."""
        return float(np.median(self.rates[name]))

    def ratio(self, one: str, other: str) -> float:
        """How many times as fast one system is as another: the median over rounds of the ratio within a round."""
        return float(np.median(np.divide(self.rates[one], self.rates[other])))

    def record(self) -> dict[str, Any]:
        """Plain values."""
        failed = {name: error.replace(f"{ROOT}/", "") for name, error in self.failed.items()}
        return {"examples_per_s": self.rates, "failed": failed, "versions": self.versions}
