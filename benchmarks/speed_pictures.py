"""Pictures of the committed speed results: examples/s by system, step time by vocabulary, memory by rows.

    python benchmarks/speed_pictures.py [--out docs/pictures]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from mnist_pictures import FAINT, INK, PICTURES, draw
from prose_speed import LIBRARIES
from record import committed

OURS, THEIRS, BARE = "#c0392b", "#7f8c8d", "#d5d8dc"


def systems(figure: Any, train: dict[str, Any]) -> None:
    """Examples a second of each system on the Criteo-shaped step; the pale bar is its own bare MLP."""
    rates = {name: float(np.median(found)) for name, found in train["criteo"]["examples_per_s"].items()}
    names = sorted((name for name in rates if not name.endswith(", bare")), key=rates.__getitem__)
    figure.set_size_inches(7, 0.45 * len(names) + 1.2)
    axes = figure.subplots()
    for place, name in enumerate(names):
        if f"{name}, bare" in rates:
            axes.barh(place, rates[f"{name}, bare"], color=BARE, height=0.8)
        axes.barh(place, rates[name], color=OURS if name.startswith("widedeep") else THEIRS, height=0.45)
        axes.text(rates[name], place, f" {rates[name]:,.0f}", va="center", fontsize=8)
    axes.set(yticks=range(len(names)), yticklabels=[_label(name) for name in names], xlabel="examples/s (pale: its bare MLP)")
    figure.suptitle("26 ids of 100,000 rows, 13 numbers, 10 crosses, 1024-512-256, batch 4096", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _label(system: str) -> str:
    library, _, precision = system.partition(" ")
    return f"{LIBRARIES[library]}, {precision}"


def vocabulary(figure: Any, scale: dict[str, Any]) -> None:
    """Milliseconds a step by rows a table."""
    points: dict[str, list[tuple[int, float]]] = {}
    steps = dict(scale["step_s"])
    for found in scale["beside"]:
        steps |= {name: 4096 / float(np.median(rates)) for name, rates in found["examples_per_s"].items()}
    for name, seconds in steps.items():
        system, _, rows = name.rpartition(", ")
        points.setdefault(system, []).append((int(rows.removesuffix(" rows").replace(",", "")), 1000 * seconds))
    figure.set_size_inches(6.4, 4)
    axes = figure.subplots()
    axes.set_prop_cycle(color=("#2980b9", "#e67e22", "#27ae60", "#8e44ad"))
    for system, found in points.items():
        style = {"color": OURS, "linewidth": 2} if system.startswith("widedeep") else {}
        axes.plot(*zip(*sorted(found)), marker="o", markersize=4, label=_label(system), **style)
    axes.set(xscale="log", xlabel="rows a table", ylabel="milliseconds a step", title="A step by size of the tables",
             ylim=(0, 1.15 * max(milliseconds for found in points.values() for _, milliseconds in found)))
    _plain(axes)


def memory(figure: Any, found: dict[str, Any]) -> None:
    """Peak memory above the tables by rows streamed."""
    counts = [int(count) / 1e6 for count in found]
    figure.set_size_inches(5, 3.4)
    axes = figure.subplots()
    axes.plot(counts, [one["peak_gb"] - one["tables_gb"] for one in found.values()], marker="o", color=OURS, label="widedeep")
    axes.set(xlabel="million rows streamed", ylabel="GB above the tables", title="Peak memory of `widedeep train --stream`",
             ylim=(0, 1.3 * max(one["peak_gb"] - one["tables_gb"] for one in found.values())))
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.grid(color=FAINT, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.legend(frameon=False, fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURES, help="the folder to write to (default docs/pictures)")
    out, result = parser.parse_args().out, committed("speed")
    draw(out / "speed-systems.svg", systems, result["train"]["shapes"])
    draw(out / "speed-vocabulary.svg", vocabulary, result["scale"])
    draw(out / "speed-memory.svg", memory, result["memory"]["rows"])


if __name__ == "__main__":
    main()
