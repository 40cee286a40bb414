"""Linear regression by gradient descent: beside the closed form, around the stable rate, and where it becomes the quicker one.

    python benchmarks/linear.py [--json] [--save]           # all but the large curve
    python benchmarks/linear.py --large [--json] [--save]   # the curve to 50,000 variables, minutes, results/linear_large.json

`--save` also draws docs/pictures/linear-*.svg from the saved results.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from sklearn import linear_model
from sklearn.datasets import load_diabetes

import record
from widedeep import training
from widedeep._keras import tf
from widedeep.baselines.linear import (
    OPTIMIZERS,
    VENDING_BIAS,
    VENDING_WEIGHTS,
    Line,
    LinearRegression,
    intervals,
    legacy,
    stable_rate,
    vending_machine,
)
from widedeep.errors import TrainingError, WidedeepWarning
from widedeep.rows import Rows

PICTURES = Path(__file__).resolve().parents[1] / "docs/pictures"
DRAWS, NOISE = 500, 5.0
BATCHES = {"all rows": (None, 300), "batches of 32": (32, 100), "single rows": (1, 30)}
"""Rows per step, and epochs."""

SWEPT, SWEEP_EPOCHS = [round(float(rate), 5) for rate in np.logspace(-2.5, 0.5, 7)], 60
SHARES = (0.1, 0.5, 0.9, 0.99, 1.01, 1.05)
"""Of the largest stable rate."""

ROWS_PER_VARIABLE, PASSES, STEP, LINE_NOISE = 2, 12, 64, 0.005
"""The closed form's rows and gradient descent's, both per variable; rows per step; noise as a share of the signal."""

SMALL = {"SGD": (500, 1000, 2000), "normal equations": (500, 1000, 2000), "lstsq": (500, 1000)}
LARGE = {"SGD": (1000, 2000, 5000, 10_000, 20_000, 50_000), "normal equations": (1000, 2000, 5000, 10_000, 20_000),
         "lstsq": (1000, 2000, 5000)}
BEYOND = (50_000, 100_000)


def vending() -> list[dict[str, Any]]:
    """The vending machine without noise, by loss, optimizer and batch: the largest error of b and W, and the epochs it took."""
    found = []
    for loss in ("squared", "absolute"):
        for optimizer in OPTIMIZERS:
            for name, (batch, epochs) in BATCHES.items():
                model = LinearRegression(loss, optimizer, batch=batch, epochs=epochs).fit(*vending_machine(200))
                found.append({"loss": loss, "optimizer": optimizer, "batch": name, "epochs": len(model.history_.epochs)}
                             | dict(zip(("bias_error", "weights_error"), _errors(model))))
    return found


def _errors(model: LinearRegression) -> tuple[float, float]:
    return abs(model.intercept_ - VENDING_BIAS), float(np.abs(model.coef_ - VENDING_WEIGHTS).max())


def coverage() -> dict[str, float]:
    """How often 95 % intervals hold the true coefficient, over 500 draws of noise: one fit with 500 label columns."""
    sales, profits = vending_machine(200, NOISE, DRAWS)
    low, high = intervals(sales, profits, LinearRegression().fit(sales, profits))
    truth = np.array([[VENDING_BIAS, *VENDING_WEIGHTS]]).T
    return dict(zip(("b", "W₁", "W₂", "W₃"), ((low <= truth) & (truth <= high)).mean(1).tolist()))


def tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Tables to fit both ways; in the last two some columns are combinations of others."""
    rng = np.random.default_rng(0)
    sales, profit = vending_machine(1000, NOISE)
    normal, (x, y) = rng.normal(size=(1000, 50)), load_diabetes(return_X_y=True, scaled=False)
    return {"vending machine with noise": (sales, profit), "diabetes": (x, y),
            "50 normal columns": (normal, normal @ rng.normal(size=50) + rng.normal(size=1000)),
            "vending machine and all sales": (np.column_stack([sales, sales.sum(1)]), profit),
            "diabetes, each column twice": (np.column_stack([x, x]), y)}


def beside_closed_form() -> dict[str, dict[str, float]]:
    """Coefficients and losses beside `numpy.linalg.lstsq` and scikit-learn's LinearRegression."""
    return {name: beside(x, y) for name, (x, y) in tables().items()}


def beside(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    ours, theirs = LinearRegression().fit(x, y), linear_model.LinearRegression().fit(x, y)
    solved = np.linalg.lstsq(np.column_stack([np.ones(len(x)), x]), y)[0]
    unit = x.std(0) / y.std()
    loss, least = (float(np.square(y - model.predict(x)).mean()) for model in (ours, theirs))
    return {"from_lstsq": float(np.abs((ours.coef_ - solved[1:]) * unit).max()),
            "from_sklearn": float(np.abs((ours.coef_ - theirs.coef_) * unit).max()),
            "loss_over_sklearn": loss / least - 1, "r2": ours.score(x, y), "r2_sklearn": theirs.score(x, y),
            "epochs": len(ours.history_.epochs)}


def absolute() -> dict[str, float]:
    """Mean absolute error on diabetes, in deviations of the label: by Adam, and the least possible, by a linear program."""
    x, y = tables()["diabetes"]
    models = {"ours": LinearRegression("absolute", "adam", epochs=400).fit(x, y),
              "least": linear_model.QuantileRegressor(alpha=0).fit(x, y)}
    return {name: float(np.abs(y - model.predict(x)).mean() / y.std()) for name, model in models.items()}


def rates() -> list[dict[str, Any]]:
    """The largest stable rate predicted, and what happens 1 % below it and 1 % above it."""
    cases = (("vending machine with noise", "squared", True), ("vending machine with noise", "squared", False),
             ("diabetes", "squared", True), ("diabetes", "half-squared", True))
    return [_both_sides(*case) for case in cases]


def _both_sides(name: str, loss: str, standardize: bool) -> dict[str, Any]:
    x, y = tables()[name]
    bound = stable_rate((x - x.mean(0)) / x.std(0) if standardize else x, loss)
    below, above = (_tried(x, y, loss, share * bound, standardize, steps) for share, steps in ((0.99, 200), (1.01, 500)))
    return {"table": name, "standardized": standardize, "loss": loss, "bound": bound, "message": above["message"],
            "never_rose_below": below["never_rose"], "diverged_above": above["diverged"]}


def _tried(x: np.ndarray, y: np.ndarray, loss: str, rate: float, standardize: bool, steps: int) -> dict[str, Any]:
    """Whether the loss never rose in all full-batch steps, and the message if training diverged."""
    try:
        model = LinearRegression(loss, "sgd", rate, epochs=steps, standardize=standardize).fit(x, y)
    except TrainingError as error:
        return {"never_rose": False, "diverged": True, "message": str(error)}
    losses = _losses(model)
    return {"never_rose": bool((np.diff(losses) <= 1e-6 * losses[0]).all()), "diverged": False, "message": ""}


def _losses(model: LinearRegression) -> np.ndarray:
    return np.array([epoch["loss"] for epoch in model.history_.epochs])


def around_the_bound() -> dict[str, list[float]]:
    """Losses of 60 full-batch steps on diabetes at shares of the largest stable rate."""
    x, y = tables()["diabetes"]
    bound = stable_rate((x - x.mean(0)) / x.std(0))
    return {str(share): _losses(LinearRegression("squared", "sgd", share * bound, epochs=60).fit(x, y)).tolist()
            for share in SHARES}


def sweep() -> dict[str, dict[str, float | None]]:
    """By optimizer and rate: the loss over the least possible after 60 full-batch epochs on diabetes; None if it diverged."""
    x, y = tables()["diabetes"]
    least = 1 - linear_model.LinearRegression().fit(x, y).score(x, y)
    return {name: {str(rate): _left(x, y, name, rate, least) for rate in SWEPT} for name in OPTIMIZERS}


def _left(x: np.ndarray, y: np.ndarray, optimizer: str, rate: float, least: float) -> float | None:
    try:
        model = LinearRegression("squared", optimizer, rate, epochs=SWEEP_EPOCHS).fit(x, y)
    except TrainingError:
        return None
    return max(0.0, 1 - model.score(x, y) - least)


def histories() -> dict[str, dict[str, list]]:
    """Loss by epoch on diabetes: the optimizers on all rows, and plain descent by batch; at most 60 epochs of each are kept."""
    x, y = tables()["diabetes"]
    asked = {name: {"optimizer": name} for name in OPTIMIZERS}
    asked |= {f"sgd, {name}": {"optimizer": "sgd", "batch": batch} for name, (batch, _) in BATCHES.items() if batch}
    found = {}
    for name, settings in asked.items():
        losses = _losses(LinearRegression(epochs=100, **settings).fit(x, y))
        kept = np.unique(np.geomspace(1, len(losses), 60).round().astype(int))
        found[name] = {"epoch": kept.tolist(), "loss": losses[kept - 1].tolist()}
    return found


def curve(sizes: dict[str, tuple[int, ...]]) -> dict[str, list[dict[str, float]]]:
    """Seconds, megabytes and the relative error of the weights by method and number of variables."""
    found: dict[str, list[dict[str, float]]] = {}
    descent(np.ones(STEP, np.float32))   # TensorFlow's own start is not counted
    for method, solve in (("SGD", descent), ("normal equations", normal_equations), ("lstsq", least_squares)):
        for variables in sizes[method]:
            truth = np.random.default_rng(variables).normal(size=variables).astype(np.float32) / np.float32(variables**0.5)
            weights, seconds, megabytes = _measured(solve, truth)
            error = float(np.linalg.norm(weights - truth) / np.linalg.norm(truth))
            found.setdefault(method, []).append(
                {"variables": variables, "seconds": seconds, "megabytes": megabytes, "error": error})
            print(f"{method}, {variables:,} variables: {seconds:.2f} s, {megabytes:.0f} MB, error {error:.2%}", file=sys.stderr)
    return found


def _measured(solve: Callable, truth: np.ndarray) -> tuple[np.ndarray, float, float]:
    """What it returns, its seconds, and the megabytes by which the process grew at most, at least 1 (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5")   # the peak starts anew
    before, start = _resident("VmRSS"), time.perf_counter()
    weights = solve(truth)
    return weights, time.perf_counter() - start, max(1.0, _resident("VmHWM") - before)


def _resident(name: str) -> float:
    """A line of /proc/self/status in megabytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def made(truth: np.ndarray, rows: int, block: int = 1024) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of fair coins ±1 and their labels, block after block."""
    rng, variables = np.random.default_rng(1), len(truth)
    for start in range(0, rows, block):
        shape = (min(block, rows - start), -(-variables // 8))
        bits = np.unpackbits(np.frombuffer(rng.bytes(shape[0] * shape[1]), np.uint8).reshape(shape), axis=1)[:, :variables]
        x = bits.astype(np.float32) * 2 - 1
        yield x, x @ truth + LINE_NOISE * rng.normal(size=len(x)).astype(np.float32)


def normal_equations(truth: np.ndarray) -> np.ndarray:
    """XᵀX summed block by block in float32, then Cholesky, both in place."""
    gram, right = np.zeros((len(truth), len(truth)), np.float32, order="F"), np.zeros(len(truth), np.float32)
    for x, y in made(truth, ROWS_PER_VARIABLE * len(truth)):
        gram = scipy.linalg.blas.ssyrk(1.0, x.T, 1.0, gram, lower=1, overwrite_c=1)
        right += x.T @ y
    factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, right, check_finite=False)


def least_squares(truth: np.ndarray) -> np.ndarray:
    """`numpy.linalg.lstsq`: singular values of X, in float64 because NumPy has no other."""
    x, y = (np.concatenate(parts) for parts in zip(*made(truth, ROWS_PER_VARIABLE * len(truth))))
    return np.linalg.lstsq(x, y)[0]


class Stream(Line):
    """A line whose rows are made when a step needs them: its input are row numbers, and no row is ever seen twice."""

    def __init__(self, truth: np.ndarray):
        super().__init__(len(truth), 1, "half-squared", STEP, "float32")
        self.truth = tf.constant(truth[:, np.newaxis])

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One update from fair coins ±1 (rows, variables): each bit of a random word becomes the sign of a float32 1."""
        numbers, _, _ = data
        rows, variables = tf.size(numbers), self.truth.shape[0]
        words = tf.random.stateless_uniform((rows, -(-variables // 32), 1), (numbers[0], 1), None, None, tf.int32)
        signs = tf.bitwise.bitwise_and(tf.bitwise.left_shift(words, tf.range(32)), tf.int32.min)
        x = tf.bitcast(tf.bitwise.bitwise_or(signs, 0x3F800000), tf.float32)
        x = tf.reshape(x, (rows, -1))[:, :variables]
        y = x @ self.truth + LINE_NOISE * tf.random.stateless_normal((rows, 1), (numbers[0], 2))
        return super().train_step((x, y, None))


def descent(truth: np.ndarray) -> np.ndarray:
    """Plain SGD in float32 through `training.fit`, one pass; the rate is half the largest for columns without correlation."""
    rows = PASSES * len(truth)
    line = Stream(truth).prepare(legacy.SGD(STEP / (len(truth) + STEP)))
    numbers = Rows({"": np.arange(rows, dtype=np.int32)}, np.zeros((rows, 1), np.float32))
    training.fit(line, numbers, batch=STEP, epochs=1, progress=False)
    return line.get_weights()[0][:, 0]


def extrapolated(points: list[dict[str, float]]) -> list[dict[str, float]]:
    """Beyond the largest size measured: time as its cube, memory as its square. Not measured."""
    last = points[-1]
    return [{"variables": size, "seconds": last["seconds"] * (size / last["variables"])**3,
             "megabytes": last["megabytes"] * (size / last["variables"])**2} for size in BEYOND]


def crossing(found: dict[str, list[dict[str, float]]]) -> float | None:
    """The number of variables from which SGD is quicker than the normal equations, between two sizes measured; None if none."""
    times = {method: {p["variables"]: p["seconds"] for p in points} for method, points in found.items()}
    sizes = sorted(times["SGD"].keys() & times["normal equations"].keys())
    ratio = np.log([times["SGD"][size] / times["normal equations"][size] for size in sizes])
    for i in range(len(sizes) - 1):
        if ratio[i] > 0 >= ratio[i + 1]:
            share = ratio[i] / (ratio[i] - ratio[i + 1])
            return float(np.exp(np.log(sizes[i]) + share * np.log(sizes[i + 1] / sizes[i])))
    return None


def small() -> dict[str, Any]:
    """All figures but the large curve."""
    start = time.perf_counter()
    settings = {"epochs_at_most": {name: epochs for name, (_, epochs) in BATCHES.items()}, "draws": DRAWS,
                "sweep_epochs": SWEEP_EPOCHS}
    figures: dict[str, Any] = {"settings": settings}
    for part in (vending, coverage, beside_closed_form, absolute, rates, around_the_bound, sweep, histories):
        figures[part.__name__] = part()
    figures["curve"] = curve(SMALL)
    return figures | {"seconds": time.perf_counter() - start}


def large() -> dict[str, Any]:
    """The curve, its crossing and what lies beyond it."""
    found = curve(LARGE)
    settings = {"rows_per_variable": ROWS_PER_VARIABLE, "passed_rows_per_variable": PASSES, "rows_a_step": STEP,
                "noise_over_signal": LINE_NOISE}
    return {"settings": settings, "curve": found, "crossing": crossing(found),
            "extrapolated": extrapolated(found["normal equations"])}


def pictures() -> dict[str, bytes]:
    """SVG by file name, drawn from the committed results: the same bytes each time."""
    import matplotlib

    figures, beyond = record.committed("linear")["figures"], record.committed("linear_large")["figures"]
    with matplotlib.rc_context({"svg.hashsalt": "widedeep", "svg.fonttype": "none", "font.size": 9}):
        return {"linear-history.svg": _svg(_draw_histories, figures["histories"], figures["beside_closed_form"]["diabetes"]),
                "linear-rates.svg": _svg(_draw_rates, figures),
                "linear-crossing.svg": _svg(_draw_crossing, beyond)}


def _svg(draw: Callable, *what: Any) -> bytes:
    from matplotlib.figure import Figure

    figure, stream = Figure(figsize=(9, 3.6), layout="constrained"), io.BytesIO()
    draw(figure.subplots(1, 2), *what)
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _draw_histories(axes: Any, found: dict[str, dict[str, list]], closed: dict[str, float]) -> None:
    panels = {"five optimizers, all rows a step": {name: found[name] for name in OPTIMIZERS},
              "plain descent, by rows a step": {name: found["sgd" if batch is None else f"sgd, {name}"]
                                                for name, (batch, _) in BATCHES.items()}}
    for axis, (title, lines) in zip(axes, panels.items()):
        for name, line in lines.items():
            axis.plot(line["epoch"], line["loss"], label=name, linestyle="--" if name == "ftrl" else "-")
        axis.axhline(1 - closed["r2_sklearn"], color="black", linestyle=":", label="least possible (closed form)")
        axis.set(xlabel="epoch", ylabel="mean squared error, 1 = predicting the mean", xscale="log", title=title)
        axis.legend()


def _draw_rates(axes: Any, figures: dict[str, Any]) -> None:
    for share, losses in figures["around_the_bound"].items():
        axes[0].plot(range(1, len(losses) + 1), losses, label=f"{share} × the largest stable rate",
                     linestyle="--" if float(share) > 1 else "-")
    axes[0].set(xlabel="step", ylabel="mean squared error", yscale="log", title="plain descent around the predicted bound")
    for name, by_rate in figures["sweep"].items():
        points = [(float(rate), max(left, 1e-9)) for rate, left in by_rate.items() if left is not None]
        axes[1].plot(*zip(*points), marker="o", markersize=3, label=name, linestyle="--" if name == "ftrl" else "-")
    bound, = (one["bound"] for one in figures["rates"] if (one["table"], one["loss"]) == ("diabetes", "squared"))
    axes[1].axvline(bound, color="C0", linestyle=":", label="largest stable rate of sgd")
    axes[1].set(xlabel="rate", ylabel="loss over the least possible", xscale="log", yscale="log",
                title=f"after {SWEEP_EPOCHS} epochs; a line ends where it diverges")
    for axis in axes:
        axis.legend()


def _draw_crossing(axes: Any, found: dict[str, Any]) -> None:
    for axis, what in zip(axes, ("seconds", "megabytes")):
        for method, points in found["curve"].items():
            line, = axis.plot([p["variables"] for p in points], [p[what] for p in points], marker="o", markersize=4,
                              label=f"{method}, measured")
            if method == "normal equations":
                further = [points[-1], *found["extrapolated"]]
                axis.plot([p["variables"] for p in further], [p[what] for p in further], color=line.get_color(),
                          linestyle="--", label="normal equations, extrapolated")
        axis.set(xlabel="variables", ylabel=what, xscale="log", yscale="log")
        axis.legend()
    if found["crossing"]:
        axes[0].axvline(found["crossing"], color="black", linestyle=":")
        axes[0].set_title(f"from about {found['crossing']:,.0f} variables SGD is quicker")


def main() -> None:
    parser = record.options(__doc__, "linear")
    parser.add_argument("--large", action="store_true", help="the curve to 50,000 variables instead of all else")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", WidedeepWarning)
    name, figures = ("linear_large", large()) if chosen.large else ("linear", small())
    record.publish(name, {"figures": figures}, chosen, _show)
    if chosen.save:
        draw(chosen)


def draw(chosen: argparse.Namespace) -> None:
    """Draw the pictures, once both results exist."""
    if all((record.RESULTS / f"{name}.json").exists() for name in ("linear", "linear_large")):
        PICTURES.mkdir(exist_ok=True)
        for name, content in pictures().items():
            (PICTURES / name).write_bytes(content)


def _show(result: dict[str, Any]) -> None:
    for name, value in result["figures"].items():
        for line in value if isinstance(value, list) else value.items() if isinstance(value, dict) else [value]:
            print(f"{name}: {line}")


if __name__ == "__main__":
    main()
