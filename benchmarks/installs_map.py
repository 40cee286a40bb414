"""When does joint beat a bigger deep? A map of worlds: share of exceptions × training impressions, in both kinds of world.

    python benchmarks/installs_map.py [--quick] [--worlds 5] [--processes 2] [--minutes M] [--out DIR] [--json] [--save]

In every cell joint meets the deep tower that has as many touched weights as joint has in both. The unit is the world: a cell's
gain is the mean over worlds of what joint acquires online beyond the deeper one, and its interval is Student's t over worlds,
95 % for each cell by itself. No two cells share a world.
`--save` keeps benchmarks/results/installs/map.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import cells
import installs_arms
import record
from installs_arms import KINDS, Cell, tuned
from widedeep.installs.acquisition import Online, across, online
from widedeep.installs.world import World

SHARES, SIZES = (0.0, 0.0125, 0.05, 0.2), (5_000, 20_000, 80_000, 320_000)
ARMS = ("joint", "deeper")
NEW, OLD = ARMS
WORLDS, VISITS = 5, 10_000
FEWEST, FIRST = 3, 10_000
"""Worlds that a cell needs, and the seed of the first one."""


def perform(cell: Cell) -> dict[str, Any]:
    """Both arms online in one world."""
    world = World(cell.spec)
    rankers, weights = installs_arms.trained(cell, world)
    table = online(world, rankers, OLD, visits=VISITS)
    return {"table": {name: asdict(row) for name, row in table.items()}, "weights": weights}


def square(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """One cell of the map, from its worlds; None while these are too few."""
    if len(found) < FEWEST:
        return None
    row = across({one["world"]: [{name: Online(**values) for name, values in one["table"].items()}] for one in found}, OLD)[NEW]
    return asdict(row) | {"verdict": verdict(row.low, row.high)}


def verdict(low: float, high: float) -> str:
    """What an interval allows one to say."""
    return "undecided" if low <= 0 <= high else NEW if low > 0 else OLD


def figures(found: list[dict[str, Any]], wanted: list[Cell]) -> dict[str, Any]:
    """By kind, share and size, with None for a cell that is not finished."""
    squares: dict[str, Any] = {}
    for kind, share, size in dict.fromkeys((cell.kind, cell.share, cell.impressions) for cell in wanted):
        here = [one for one in found if (one["kind"], one["share"], one["impressions"]) == (kind, share, size)]
        squares.setdefault(kind, {}).setdefault(f"{share:g}", {})[str(size)] = square(here)
    return {"map": squares, "budget": cells.budget(found, wanted)}


def wanted(worlds: int, shares: Sequence[float] = SHARES, sizes: Sequence[int] = SIZES) -> list[Cell]:
    """The cells of so many worlds each, the first worlds of all first; no two cells share a world."""
    places = [(kind, share, size) for size in SIZES for share in SHARES for kind in KINDS]
    return [Cell(kind, FIRST + 100 * place + world, share, size, 0, tuned(kind, share, size, ARMS))
            for world in range(worlds) for place, (kind, share, size) in enumerate(places) if share in shares and size in sizes]


def main() -> None:
    parser = cells.options(__doc__, "installs/map", quick="the corners of small logs")
    parser.add_argument("--worlds", type=int, default=WORLDS, help=f"worlds in every cell (default {WORLDS})")
    chosen = cells.asked(parser)
    asked = wanted(FEWEST, SHARES[::3], SIZES[:1]) if chosen.quick else wanted(chosen.worlds)
    result = {"figures": figures(cells.carry_out(chosen, asked, perform), asked)}
    record.publish("installs/map", result, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    for kind, shares in result["figures"]["map"].items():
        rows = [(share, *("unfinished" if one is None else cells.gain_text(one) for one in sizes.values()))
                for share, sizes in shares.items()]
        print(f"\n{kind}: gain of joint over deeper, online\n")
        sizes = [f"{int(size):,}" for size in next(iter(shares.values()))]
        print(record.table(" | ".join(["share of exceptions", *sizes]), *rows))
    print(f"\n{cells.said(result['figures']['budget'])}")


if __name__ == "__main__":
    main()
