"""Pictures of the committed studies of recommenders: systems beside each other, and what probabilities said and what came.

    python benchmarks/recommend_pictures.py [--out docs/pictures]

They depend on nothing but the results in benchmarks/results/.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mnist_pictures import FAINT, INK, PICTURES, draw
from record import committed

BASELINE, OURS = "#2c6496", "#c0392b"
RANKERS = {"two-tower + wide": "#b7791f", "two-tower + deep": "#2c6496", "two-tower + joint": "#c0392b"}


def systems(figure: Any, found: dict[str, tuple[str, dict[str, Any]]]) -> None:
    """By study every system's first figure with its interval: baselines blue, two-tower systems red."""
    figure.set_size_inches(9.2, 3.4)
    names = list(next(iter(found.values()))[1])
    for place, (axes, (title, (name, rows))) in enumerate(zip(figure.subplots(1, len(found)), found.items())):
        for row, system in enumerate(reversed(names)):
            if (one := rows.get(system, {}).get(name)) is None:
                continue
            colour = OURS if system.startswith("two-tower") else BASELINE
            axes.plot([one["low"], one["high"]], [row, row], color=colour, linewidth=1.6)
            axes.plot(one["mean"], row, "o", color=colour, markersize=5)
        axes.set(title=title, xlabel=name.replace("ndcg", "nDCG"), ylim=(-0.6, len(names) - 0.4), yticks=range(len(names)),
                 yticklabels=reversed(names) if place == 0 else [])
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)


def probabilities(figure: Any, found: dict[str, Any]) -> None:
    """By ranker how likely it thought that the next film is among the first of its list, and how often it was."""
    figure.set_size_inches(5.6, 3.6)
    axes = figure.subplots()
    axes.plot([0.01, 1], [0.01, 1], color=INK, linewidth=0.8)
    for system, one in found["systems"].items():
        rows = one["first"].values()
        axes.plot([row["said"] for row in rows], [row["came"] for row in rows], "o-", color=RANKERS[system], label=system,
                  linewidth=1.2, markersize=5)
    for k, row in found["systems"]["two-tower + deep"]["first"].items():
        axes.annotate(f"first {k}", (row["said"], row["came"]), (6, -12), textcoords="offset points", fontsize=7, color=INK)
    axes.set(xscale="log", yscale="log", xlim=(0.01, 1), ylim=(0.01, 1), xlabel="said: the next film is among these",
             ylabel="came: it was")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")


def studies() -> dict[str, tuple[str, dict[str, Any]]]:
    """By title the figure shown, and the systems of a committed study."""
    films, *worlds = (committed(name)["systems"] for name in ("movielens", "recommend_world_towers", "recommend_world_trees"))
    return {"MovieLens, served": ("ndcg@10", films["served"]), "a world, towers": ("value@10", worlds[0]["truth"]),
            "a world, trees": ("value@10", worlds[1]["truth"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURES, help="the folder of the pictures (docs/pictures)")
    out = parser.parse_args().out
    draw(out / "recommend-systems.svg", systems, studies())
    draw(out / "recommend-probabilities.svg", probabilities, committed("recommend_calibration"))


if __name__ == "__main__":
    main()
