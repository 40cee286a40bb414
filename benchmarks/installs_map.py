"""When does joint beat a bigger deep? A map of worlds: share of exceptions × training impressions, in both kinds of world.

    python benchmarks/installs_map.py [--quick] [--worlds 5] [--processes 2] [--minutes M] [--out DIR] [--json] [--save]

In every cell joint meets the deep tower that has as many touched weights as joint has in both. The unit is the world: a cell's
gain is the mean over worlds of what joint acquires online beyond the deeper one, and its interval is Student's t over worlds.
`--save` keeps benchmarks/results/installs/map.json.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import cells
import installs_arms
import record
from installs_arms import KINDS, Cell
from widedeep.installs.acquisition import Online, across, online
from widedeep.installs.world import World

SHARES, SIZES = (0.0, 0.0125, 0.05, 0.2), (5_000, 20_000, 80_000, 320_000)
ARMS = ("joint", "deeper")
NEW, OLD = ARMS
WORLDS, VISITS = 5, 10_000


def perform(cell: Cell) -> dict[str, Any]:
    """Both arms online in one world."""
    world = World(cell.spec)
    rankers, about = installs_arms.trained(cell, world)
    table = online(world, rankers, OLD, visits=VISITS)
    return {"table": {name: asdict(row) for name, row in table.items()}, "about": about}


def square(found: list[dict[str, Any]]) -> dict[str, Any]:
    """One cell of the map, from its worlds."""
    row = across({one["world"]: [{name: Online(**values) for name, values in one["table"].items()}] for one in found}, OLD)[NEW]
    return asdict(row) | {"verdict": verdict(row.low, row.high), "oracle": sum(one["table"]["oracle"]["gain"] for one in found)
                          / len(found)}


def verdict(low: float | None, high: float | None) -> str:
    """What an interval allows one to say."""
    return "undecided" if low is None or low <= 0 <= high else NEW if low > 0 else OLD


def figures(found: list[dict[str, Any]], wanted: list[Cell]) -> dict[str, Any]:
    """By kind, share and size, with None for a cell of which nothing is finished."""
    squares: dict[str, Any] = {}
    for kind, share, size in dict.fromkeys((cell.kind, cell.share, cell.impressions) for cell in wanted):
        here = [one for one in found if (one["kind"], one["share"], one["impressions"]) == (kind, share, size)]
        squares.setdefault(kind, {}).setdefault(f"{share:g}", {})[str(size)] = square(here) if here else None
    return {"map": squares, "budget": cells.budget(found, wanted)}


def main() -> None:
    parser = cells.options(__doc__, "installs/map")
    parser.add_argument("--worlds", type=int, default=WORLDS, help=f"worlds in every cell (default {WORLDS})")
    parser.add_argument("--quick", action="store_true", help="two worlds at the corners of small logs, in under 90 seconds")
    chosen = parser.parse_args()
    shares, sizes, worlds = (SHARES[::3], SIZES[:2], 2) if chosen.quick else (SHARES, SIZES, chosen.worlds)
    wanted = [Cell(kind, world, share, size, arms=ARMS)
              for world in range(worlds) for size in sizes for share in shares for kind in KINDS]
    folder = Path(chosen.out)
    cells.carry_out(folder, wanted, perform, chosen.processes, chosen.minutes)
    result = {"figures": figures(cells.finished(folder, wanted), wanted)} | record.where_and_when()
    cells.publish("map", result, chosen, _show)


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
