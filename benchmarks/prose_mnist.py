"""The generated blocks of docs/baselines.md on MNIST."""

from __future__ import annotations

from typing import Any

from record import committed, table, where

TUTORIAL = "tutorial-"
MNIST_MODELS = (("softmax regression", "softmax", "sgd", 7_850), ("MLP 512-512", "mlp", "adam", 669_706),
                ("the tutorial's net, good recipe", "net", "good", 44_426))


def mnist_models() -> str:
    """The three models with their good recipes."""
    result = committed("mnist")
    found, seconds = result["figures"]["accuracy"], result["figures"]["timed"]["seconds_per_epoch"]
    rows = [(title, f"{numbers:,}", _percent(found[of][recipe]), f"{10_000 * (1 - found[of][recipe]['mean']):,.0f}",
             f"{seconds[of]:.2g}")
            for title, of, recipe, numbers in MNIST_MODELS]
    grid = table("model | numbers learned | right on the test digits | mistakes in 10,000 | seconds an epoch, batch 128", *rows)
    runs = len(found["net"]["good"]["runs"])
    return f"{grid}\n\nMean ± standard deviation of {runs} seeds; epochs on {where(result)}."


def mnist_tutorial() -> str:
    """The tutorial's recipe at four batch sizes, and which explain its 96 %."""
    found = {name.removeprefix(TUTORIAL): at for name, at in committed("mnist")["figures"]["accuracy"]["net"].items()
             if name.startswith(TUTORIAL)}
    rows = [(batch, f"{20 * -(-60_000 // int(batch)):,}", _percent(at), ", ".join(f"{100 * run:.2f}" for run in at["runs"]))
            for batch, at in found.items()]
    grid = table("batch | steps in 20 epochs | right on the test digits | the seeds", *rows)
    return f"{grid}\n\n{_explains(found)}"


def _explains(found: dict[str, Any]) -> str:
    """Which batch sizes give 96 %, rounded; else the two on either side of it."""
    near = [batch for batch, at in found.items() if 0.955 <= at["mean"] < 0.965]
    if near:
        others = " and ".join(f"{batch} ({100 * at['mean']:.1f} %)" for batch, at in found.items() if batch not in near)
        return f"So a batch of {' or '.join(near)} explains the reported 96 %; {others} do not."
    above = min((b for b in found if found[b]["mean"] >= 0.965), key=lambda b: found[b]["mean"])
    below = max((b for b in found if found[b]["mean"] < 0.955), key=lambda b: found[b]["mean"])
    return (f"None of the four gives 96 % exactly: it lies between a batch of {above} ({100 * found[above]['mean']:.1f} %) and "
            f"one of {below} ({100 * found[below]['mean']:.1f} %).")


def mnist_good() -> str:
    """What the good recipe costs and brings."""
    figures = committed("mnist")["figures"]
    good = figures["accuracy"]["net"]["good"]
    return (f"{_percent(good)} on the test digits, the worst seed {100 * min(good['runs']):.2f} %, after "
            f"{len(figures['curves']['net/good'])} epochs that take {figures['timed']['good_s']:.0f} seconds in all.")


def mnist_mistakes() -> str:
    """The confusions that happen most."""
    counts = committed("mnist")["figures"]["confusion"]
    wrong = sorted(((count, row, column) for row, line in enumerate(counts) for column, count in enumerate(line)
                    if row != column), key=lambda found: -found[0])
    total = sum(count for count, _, _ in wrong)
    said = "; ".join(f"{row} taken for {column}: {count}" for count, row, column in wrong[:3])
    return f"One run of the good recipe, {total} mistakes in {sum(map(sum, counts)):,}. The most frequent: {said}."


def mnist_torch() -> str:
    """Accuracy and time beside PyTorch."""
    figures = committed("mnist")["figures"]
    torch, timed = figures["torch"], figures["timed"]["torch"]
    rows = [(f"right on the test digits, tutorial's recipe, batch {name.split('-')[1]}", f"{100 * at['here']:.2f} %",
             f"{100 * at['torch']:.2f} %", f"{at['gap_points']:+.2f} points") for name, at in torch["accuracy"].items()]
    rows += [(f"seconds per epoch, batch {batch}", f"{at['here_s']:.1f}", f"{at['torch_s']:.1f}",
              f"PyTorch takes {at['torch_over_here']:.2f} × as long") for batch, at in timed.items()]
    return table(f"the tutorial's net | here | PyTorch {torch['version'].split('+')[0]} | ", *rows)


def _percent(at: dict[str, Any]) -> str:
    return f"{100 * at['mean']:.2f} ± {100 * at['sd']:.2f} %"


MNIST_BLOCKS = {function.__name__: function for function in (
    mnist_models, mnist_tutorial, mnist_good, mnist_mistakes, mnist_torch)}
