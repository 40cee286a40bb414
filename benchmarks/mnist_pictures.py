"""Pictures of the committed MNIST results: confusion matrix, the ten worst mistakes, learning curves.

    python benchmarks/mnist_pictures.py [--out docs/pictures]

They depend on nothing but benchmarks/results/mnist.json and the digits: no date, no random names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from record import committed
from widedeep.baselines import mnist
from widedeep.errors import WidedeepError

PICTURES = Path(__file__).resolve().parents[1] / "docs/pictures"
CURVES = {"net/good": "the net, good recipe", "mlp/adam": "MLP 512-512", "softmax/sgd": "softmax regression"} | {
    f"net/tutorial-{batch}": f"the net, tutorial, batch {batch}" for batch in mnist.TUTORIAL_BATCHES}
INK, FAINT = "#333333", "#dddddd"
STYLE = {"svg.hashsalt": "widedeep", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "text.color": INK,
         "axes.edgecolor": INK, "axes.labelcolor": INK}


def draw(path: Path, draw_on: Callable, *what: Any) -> None:
    """Draw and write one picture, without date and without the name of what drew it.

    Raises: WidedeepError if matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise WidedeepError("Pictures are drawn by the package matplotlib, which is not installed. "
                            "Run: pip install 'widedeep[plots]'") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    unnamed = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        draw_on(figure, *what)
        figure.savefig(path, metadata=unnamed, dpi=110)


def confusion(figure: Any, figures: dict[str, Any]) -> None:
    """How often each digit (down) was taken for each (across); only mistakes are coloured."""
    counts = np.array(figures["confusion"])
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    figure.set_size_inches(4.6, 4.6)
    axes = figure.subplots()
    axes.pcolormesh(wrong, cmap="Reds", vmin=0, vmax=max(1, wrong.max()) * 1.4, edgecolors=FAINT, linewidth=0.5)
    for row, column in np.ndindex(counts.shape):
        style = {"fontweight": "bold"} if row == column else {}
        shown = str(counts[row, column]) if counts[row, column] else "·"
        axes.text(column + 0.5, row + 0.5, shown, ha="center", va="center", fontsize=8, **style)
    ticks = np.arange(len(counts)) + 0.5
    axes.set(xticks=ticks, yticks=ticks, xticklabels=range(10), yticklabels=range(10), xlabel="taken for", ylabel="written",
             aspect="equal", title=f"{wrong.sum()} of {counts.sum():,} test digits are mistaken")
    axes.invert_yaxis()
    axes.tick_params(length=0)


def worst(figure: Any, figures: dict[str, Any], images: np.ndarray) -> None:
    """The ten mistakes that the net was surest of."""
    figure.set_size_inches(7.0, 3.6)
    grid = figure.subplots(2, 5)
    for axes, mistake in zip(grid.flat, figures["worst"]):
        axes.imshow(images[mistake["row"], :, :, 0], cmap="gray_r", vmin=0, vmax=255)
        chance = mistake["probability_taken"]
        sure = "over 99.9 %" if chance > 0.999 else f"{100 * chance:.1f} %"
        axes.set_title(f"written {mistake['label']}, taken for {mistake['taken_for']}\n({sure} sure)", fontsize=8)
    for axes in grid.flat:
        axes.axis("off")


def curves(figure: Any, figures: dict[str, Any]) -> None:
    """Mistakes on held-out training digits, and the training loss, after each epoch; both on a logarithmic scale."""
    figure.set_size_inches(10, 3.6)
    left, right = figure.subplots(1, 2)
    for name, label in CURVES.items():
        epochs = figures["curves"][name]
        across = range(1, len(epochs) + 1)
        style = {"linestyle": "--"} if "tutorial" in name else {}
        left.plot(across, [100 * (1 - epoch["valid_accuracy"]) for epoch in epochs], label=label, **style)
        right.plot(across, [epoch["loss"] for epoch in epochs], **style)
    left.set(yscale="log", xlabel="epoch", title="mistaken, of held-out digits (%)", yticks=(1, 3, 10, 30, 90))
    left.set_yticklabels(["1", "3", "10", "30", "90"])
    left.minorticks_off()
    right.set(yscale="log", xlabel="epoch", title="training loss")
    for axes in (left, right):
        axes.grid(color=FAINT, linewidth=0.5)
        axes.set_xticks((1, 5, 10, 15, 20))
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURES, help="the folder to write to (default docs/pictures)")
    out, figures = parser.parse_args().out, committed("mnist")["figures"]
    draw(out / "mnist-confusion.svg", confusion, figures)
    draw(out / "mnist-worst.png", worst, figures, mnist.load().test.features[""])
    draw(out / "mnist-curves.svg", curves, figures)


if __name__ == "__main__":
    main()
