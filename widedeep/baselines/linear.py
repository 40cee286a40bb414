"""Linear regression y = b + Wx, learned by gradient descent through `training.fit`: its right answer is known exactly.

No solver of linear equations is used to fit. Eigenvalues of XᵀX/n are, to choose a rate and to say which rates are stable.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import stdtrit
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.datasets import load_diabetes
from sklearn.utils.validation import check_is_fitted, validate_data

from widedeep import optimizers, training
from widedeep._keras import tf, tf_keras
from widedeep.errors import DataError, SchemaError, TrainingError, WidedeepError, WidedeepWarning, unknown_names
from widedeep.rows import Rows
from widedeep.tracing import named_weights

legacy = tf_keras.optimizers.legacy

LOSSES: dict[str, Callable] = {"squared": tf.square, "half-squared": lambda residual: tf.square(residual) / 2,
                               "absolute": tf.abs}
"""What a residual costs; the loss is its mean over rows."""

CURVATURE = {"squared": 2.0, "half-squared": 1.0}
"""The second derivative of a residual's cost; the absolute loss has none."""

OPTIMIZERS: dict[str, Callable] = {"sgd": legacy.SGD, "momentum": legacy.SGD, "adagrad": optimizers.AdaGrad,
                                   "adam": legacy.Adam, "ftrl": optimizers.FTRL}

RATES = {"sgd": (0.1, 0.1), "momentum": (0.01, 0.01), "adagrad": (0.1, 0.05), "adam": (0.1, 0.05), "ftrl": (0.1, 0.05)}
"""For standardised columns and labels: the rate of a squared loss and of the absolute one, where curvature gives no better."""

MOMENTUM, GROWN = 0.9, 1e6
"""Where no better momentum is known; and a loss that has grown this much has diverged."""

SETTINGS: dict[str, tuple[Callable, str]] = {
    "rate": (lambda value: value is None or isinstance(value, Real) and 0 < value < 1e30, "None, or above 0 and below 1e30"),
    "batch": (lambda value: value is None or isinstance(value, Integral) and value > 0, "None or a whole number above 0"),
    "epochs": (lambda value: isinstance(value, Integral) and value > 0, "a whole number above 0"),
    "tolerance": (lambda value: isinstance(value, Real) and value >= 0, "a number from 0"),
}
"""What a setting of `LinearRegression` may be."""

VENDING_BIAS, VENDING_WEIGHTS = -100.0, (0.25, 0.15, 0.20)


class Line(tf_keras.Model):
    """b + Wx, starting at zero, with one column of W and one b per label column; each label column is a fit of its own.

    Shape: (rows, variables) → (rows, labels). A step's gradient is summed over its rows and divided by `batch`, whatever
    their number, so that a row of a last, smaller batch counts as much as any other.
    """

    def __init__(self, variables: int, labels: int, loss: str = "squared", batch: int = 1, dtype: str = "float64"):
        super().__init__(name="line", dtype=dtype)
        self.cost, self.batch = LOSSES[loss], batch
        self.dense = tf_keras.layers.Dense(labels, kernel_initializer="zeros", name="dense", dtype=dtype)
        self(tf.zeros((0, variables), dtype))

    def prepare(self, optimizer: tf_keras.optimizers.legacy.Optimizer) -> Line:
        """Compile, and make the optimizer's variables at once: otherwise the first step is traced twice."""
        self.compile(optimizer)
        optimizers.state_of(optimizer, named_weights(self))
        return self

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Predictions (rows, labels)."""
        return self.dense(features)

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        """One update; returns the mean loss of the rows."""
        features, labels, _ = data
        with tf.GradientTape() as tape:
            costs = self.cost(self(features, training=True) - labels)
            loss = tf.reduce_sum(costs)
        gradients = zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        rows = tf.constant(self.batch, loss.dtype)
        self.optimizer.apply_gradients(optimizers.as_expected(self.optimizer, gradients, rows))
        return {"loss": tf.reduce_mean(costs)}


class LinearRegression(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """y = b + W₁x₁ + … + Wₙxₙ by gradient descent, with scikit-learn's face.

    `loss` is squared, half-squared or absolute; `optimizer` is sgd, momentum (Nesterov's), adagrad, adam or ftrl; `batch` is
    the rows of a step (None: all, 1: single rows). `rate` None asks the eigenvalues of XᵀX/n (cubic in the columns: give a
    rate where there are many). Training ends after `epochs`, or when no coefficient changes by more than `tolerance` of the
    largest one. `standardize` trains on columns and labels of mean 0 and deviation 1, and converts back. Plain and momentum
    descent keep their rate on full batches of a squared loss, AdaGrad and FTRL always; any other falls linearly to 0.

    After `fit`: `coef_` (variables,) or (labels, variables), `intercept_`, and `history_`, whose loss is that of the labels as
    trained on: standardised, 1 is the squared loss of predicting their mean.
    Warns: fewer rows than unknowns, constant columns, coefficients that still move at the end, a loss above that of the start.
    Raises: DataError for data that is not finite or of wrong shape; TrainingError, naming the rate and the largest stable one,
    if training diverges; SchemaError for settings that cannot be meant.

    >>> model = LinearRegression().fit([[1.0], [2.0], [4.0]], [3.0, 5.0, 9.0])
    >>> np.round(model.coef_, 6), round(model.intercept_, 6)
    (array([2.]), 1.0)
    """

    def __init__(self, loss: str = "squared", optimizer: str = "momentum", rate: float | None = None, batch: int | None = None,
                 epochs: int = 1000, tolerance: float = 1e-9, standardize: bool = True, seed: int = 0):
        self.loss, self.optimizer, self.rate, self.batch = loss, optimizer, rate, batch
        self.epochs, self.tolerance, self.standardize, self.seed = epochs, tolerance, standardize, seed

    def fit(self, X: Any, y: Any) -> LinearRegression:
        """Learn from X (rows, variables) and y (rows,) or (rows, labels)."""
        self._check_settings()
        X, y = _checked(self, X, y)
        self._warn_of(X)
        labels = y.reshape(len(y), -1)
        (x, shift, scale), (t, middle, spread) = ((_standard if self.standardize else _as_it_is)(part) for part in (X, labels))
        kernel, bias = self._descend(x, t)
        coefficients = (kernel * spread / scale[:, np.newaxis]).T
        intercept = middle + spread * bias - coefficients @ shift
        self.coef_, self.intercept_ = (coefficients, intercept) if y.ndim == 2 else (coefficients[0], float(intercept[0]))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """b + Wx for X (rows, variables): float64 (rows,) or (rows, labels), as y was."""
        check_is_fitted(self)
        return _checked(self, X) @ self.coef_.T + self.intercept_

    def _check_settings(self) -> None:
        for name, known in (("loss", LOSSES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise SchemaError(unknown_names(f"LinearRegression does not know this {name}", [getattr(self, name)], known))
        for name, (allowed, rule) in SETTINGS.items():
            if not allowed(getattr(self, name)):
                raise SchemaError(f"LinearRegression's {name} must be {rule}. Got {getattr(self, name)!r}.")

    def _warn_of(self, X: np.ndarray) -> None:
        """Data that can be fitted, but not as one may think."""
        rows, variables = X.shape
        if rows < variables + 1:
            _warn(f"{rows} rows cannot determine {variables + 1} unknowns ({variables} weights and the bias): infinitely many "
                  f"solutions fit equally well, and this is one of them. Give more rows or fewer columns.")
        constant = np.flatnonzero(X.max(0) == X.min(0))
        if constant.size and rows > 1:
            _warn(f"Constant columns say nothing that the bias does not: {_names(self, constant)}. Remove them.")

    def _descend(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Train a `Line`; sets `history_` and returns its kernel (variables, labels) and bias (labels,)."""
        batch = min(self.batch or len(x), len(x))
        keeps = self.optimizer in ("adagrad", "ftrl") or (
            batch == len(x) and self.loss in CURVATURE and self.optimizer in ("sgd", "momentum"))
        rate, momentum = (self.rate, MOMENTUM) if self.rate else self._pace(x, batch)
        line = Line(x.shape[1], y.shape[1], self.loss, batch)
        line.prepare(_optimizer(self.optimizer, rate, momentum, 0 if keeps else self.epochs * -(-len(x) // batch)))
        watch = _Watch(self.tolerance, float(tf.reduce_mean(line.cost(y))))
        try:
            self.history_ = training.fit(line, Rows({"": x}, y), batch=batch, epochs=self.epochs, seed=self.seed,
                                         callbacks=[watch], progress=False)
        except TrainingError as error:
            raise TrainingError(self._diverged(x, batch, rate, str(error).split(". ")[0])) from error
        if self.history_.stopped == "interrupt":
            raise KeyboardInterrupt
        if (last := self.history_.epochs[-1]["loss"]) > watch.start * (1 + 1e-6):
            _warn(f"The loss ended at {last:.4g}, above the {watch.start:.4g} of b = 0 and W = 0, with rate {rate:g}. "
                  f"Give a lower rate, or more epochs.")
        elif self.optimizer in ("sgd", "momentum") and keeps and self.history_.stopped == "epochs":
            _warn(f"After {self.epochs} epochs coefficients still move by {watch.change:.1g} of the largest one per epoch. "
                  f"Give more epochs, or a larger tolerance than {self.tolerance:g}.")
        return line.get_weights()

    def _pace(self, x: np.ndarray, batch: int) -> tuple[float, float]:
        """The rate and the momentum where none is asked for. Source: Nesterov 2004, "Introductory lectures", §2.2."""
        if self.loss not in CURVATURE or self.optimizer not in ("sgd", "momentum"):
            return RATES[self.optimizer][self.loss not in CURVATURE], MOMENTUM
        low, high = (CURVATURE[self.loss] * value for value in _eigenvalues(x))
        if batch < len(x):
            rate = small_batch_rate(x, batch, self.loss) / 2
            return (rate * (1 - MOMENTUM) if self.optimizer == "momentum" else rate), MOMENTUM
        ratio = float(np.sqrt(min(high / low, 1e6)))
        return 1 / high, (ratio - 1) / (ratio + 1)

    def _diverged(self, x: np.ndarray, batch: int, rate: float, what: str) -> str:
        """The message of a training that diverged."""
        ours = f"{self.optimizer} on {'all rows' if batch == len(x) else f'batches of {batch}'}"
        bound = f"for {ours} of the {self.loss} loss no largest stable rate is known"
        if self.loss in CURVATURE:
            units = ", columns standardised" if self.standardize else ""
            most = (f"the largest stable rate of plain descent on all rows is {stable_rate(x, self.loss):.6g}, "
                    f"{2 / CURVATURE[self.loss]:g}/λmax of XᵀX/n with the bias column{units}")
            bound = most if ours == "sgd on all rows" else f"{most}; {bound}"
        return f"Training diverged. {what}, with rate {rate:g}; {bound}. Give a lower rate."


def stable_rate(x: np.ndarray, loss: str = "squared") -> float:
    """The rate above which plain gradient descent on all rows x (rows, variables) diverges, in the units of x as it is.

    1/λmax of XᵀX/n for the mean squared error, 2/λmax for half of it; X includes the bias's column of ones. A step multiplies
    the error along an eigenvector by 1 − rate · curvature · λ, which must stay within ±1.
    Raises: SchemaError for the absolute loss, which has no such rate.

    >>> stable_rate(np.array([[-1.0], [1.0]])), stable_rate(np.array([[-2.0], [2.0]]), "half-squared")
    (1.0, 0.5)
    """
    if loss not in CURVATURE:
        raise SchemaError(unknown_names("Only a squared loss has a largest stable rate", [loss], CURVATURE))
    return 2 / (CURVATURE[loss] * _eigenvalues(x)[1])


def small_batch_rate(x: np.ndarray, batch: int, loss: str = "squared") -> float:
    """About the largest useful rate of plain descent on batches of b: 2b / (R² + (b − 1)·λmax) ÷ curvature.

    R² is the square of the longest row, the bias's one included.
    Source: Jain et al. 2018, "Parallelizing stochastic gradient descent for least squares regression", JMLR 18.

    >>> small_batch_rate(np.array([[-1.0], [1.0]]), 1)
    0.5
    """
    longest = 1 + float(np.square(x).sum(1).max())
    return 2 * batch / (longest + (batch - 1) * _eigenvalues(x)[1]) / CURVATURE[loss]


def _eigenvalues(x: np.ndarray) -> tuple[float, float]:
    """The smallest that is not zero and the largest eigenvalue of XᵀX/n, the bias's column of ones included."""
    ones = np.column_stack([np.ones(len(x)), x])
    gram = (ones.T @ ones if ones.shape[1] <= len(ones) else ones @ ones.T) / len(ones)
    values = np.linalg.eigvalsh(gram)
    return float(values[values > values[-1] * max(ones.shape) * np.finfo(float).eps][0]), float(values[-1])


def _optimizer(name: str, rate: float, momentum: float, falls_over: int) -> tf_keras.optimizers.legacy.Optimizer:
    """The optimizer; its rate falls linearly to 0 over that many steps, if any."""
    pace = tf_keras.optimizers.schedules.PolynomialDecay(float(rate), falls_over, 0.0) if falls_over else float(rate)
    return legacy.SGD(pace, momentum, nesterov=True) if name == "momentum" else OPTIMIZERS[name](pace)


class _Watch(tf_keras.callbacks.Callback):
    """Ends a training whose weights have settled, and one whose loss has grown beyond reason."""

    def __init__(self, tolerance: float, start: float):
        super().__init__()
        self.tolerance, self.start, self.before, self.change = tolerance, start, 0.0, np.inf

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if logs["loss"] > GROWN * self.start:
            raise TrainingError(f"The loss grew from {self.start:.4g} to {logs['loss']:.4g} in {epoch + 1} epochs. ")
        now = np.concatenate([variable.numpy().ravel() for variable in self.model.dense.weights])
        size = max(np.abs(now).max(), np.finfo(float).tiny)
        self.change, self.before = float(np.abs(now - self.before).max() / size), now
        self.model.stop_training = self.change <= self.tolerance


def _checked(model: LinearRegression, X: Any, *y: Any) -> Any:
    """X, or X and y, as float64 arrays that are finite and fit each other and the model."""
    asked = {"y_numeric": True, "multi_output": True} if y else {"reset": False}
    try:
        for labels in y:
            _finite(model, "y", np.asarray(labels))
        found = validate_data(model, X, *y, dtype=np.float64, ensure_all_finite=False, **asked)
        found = (found[0], np.asarray(found[1], np.float64)) if y else (found,)
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"LinearRegression cannot use this data: {error}") from error
    _finite(model, "X", found[0])
    return found if y else found[0]


def _finite(model: LinearRegression, name: str, values: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(values)) if values.dtype.kind == "f" else []
    if len(bad):
        row, *column = bad[0]
        what = "NaN" if np.isnan(values[tuple(bad[0])]) else "infinity"
        where = f", column {_names(model, column)[0]}" if column and name == "X" else ""
        raise DataError(f"Input {name} contains {what} in row {row}{where}. Every value must be a finite number; {len(bad)} "
                        f"are not. Fill them, or drop their rows.")


def _names(model: LinearRegression, columns: Sequence[int]) -> list:
    """Columns by name where the table had names, by number otherwise."""
    names = getattr(model, "feature_names_in_", None)
    return [int(column) if names is None else str(names[column]) for column in columns]


def _standard(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns at mean 0 and deviation 1, their means and their deviations; constant ones become 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = values.mean(0), values.std(0)
    if not np.isfinite(deviation).all():
        raise DataError(f"The spread of a column must be a finite number; values up to {np.abs(values).max():g} are too large. "
                        f"Divide them by a constant.")
    constant = (values.max(0) == values.min(0)) | (deviation == 0)
    mean, deviation = np.where(constant, values[0], mean), np.where(constant, 1.0, deviation)
    return (values - mean) / deviation, mean, deviation


def _as_it_is(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return values, np.zeros(values.shape[1]), np.ones(values.shape[1])


def _warn(message: str) -> None:
    warnings.warn(message, WidedeepWarning, stacklevel=4)


def intervals(X: Any, y: Any, model: LinearRegression, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends that cover each true coefficient with probability `level`, where the noise is normal and even.

    Shape: each (1 + variables,) or (1 + variables, labels), the bias first. They are coefficient ± t · standard error, after a
    fit of a squared loss to the same X and y. Raises: DataError where columns are collinear, rows too few, y of another shape.

    >>> x, y = vending_machine(200, noise=5.0)
    >>> low, high = intervals(x, y, LinearRegression().fit(x, y))
    >>> bool((low[1:] < VENDING_WEIGHTS).all() and (VENDING_WEIGHTS < high[1:]).all())
    True
    """
    X, y = np.asarray(X, np.float64), np.asarray(y, np.float64)
    residuals = _same_shape(y, model.predict(X))
    free = len(X) - X.shape[1] - 1
    unit = _standard_errors(X, free)
    half = stdtrit(free, (1 + level) / 2) * np.multiply.outer(unit, np.sqrt(np.square(residuals).sum(0) / free))
    centre = np.concatenate([np.asarray(model.intercept_)[np.newaxis], model.coef_.T])
    return centre - half, centre + half


def _same_shape(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The residuals."""
    if y.shape != predicted.shape:
        raise DataError(f"Intervals need the y that the model was fitted to, of shape {predicted.shape}. Got {y.shape}.")
    return y - predicted


def _standard_errors(X: np.ndarray, free: int) -> np.ndarray:
    """Of the bias and the coefficients (1 + variables,), for noise of deviation 1: roots of the diagonal of (XᵀX)⁻¹."""
    x, shift, scale = _standard(X)
    ones = np.column_stack([np.ones(len(x)), x])
    values, vectors = np.linalg.eigh(ones.T @ ones)
    if free < 1 or values[0] <= values[-1] * max(ones.shape) * np.finfo(float).eps:
        raise DataError(f"Intervals need more rows than unknowns, and columns that are no combinations of others. Got {len(x)} "
                        f"rows and {x.shape[1]} columns. Remove columns.")
    back = np.diag(np.r_[1.0, 1 / scale])
    back[0, 1:] = -shift / scale
    return np.sqrt(np.square(back @ vectors / np.sqrt(values)).sum(1))


def vending_machine(rows: int = 1000, noise: float = 0.0, draws: int | None = None,
                    seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sales of three drinks per day (rows, 3) and the profit −100 + .25·x₁ + .15·x₂ + .20·x₃ + noise, (rows,) or (rows, draws).

    `noise` is the deviation of a normal error, in money.

    >>> sales, profit = vending_machine(2)
    >>> bool(np.allclose(profit, -100 + sales @ [0.25, 0.15, 0.20]))
    True
    """
    rng = np.random.default_rng(seed)
    sales = rng.poisson((400, 300, 200), (rows, 3)).astype(np.float64)
    profit = (VENDING_BIAS + sales @ VENDING_WEIGHTS)[:, np.newaxis] + noise * rng.normal(size=(rows, draws or 1))
    return sales, profit[:, 0] if draws is None else profit


def report() -> dict[str, Any]:
    """What `widedeep baseline linear` prints, as `figures`: the vending machine's `bias` and `weights` found, `r2_diabetes`."""
    vending = LinearRegression().fit(*vending_machine())
    x, y = load_diabetes(return_X_y=True, scaled=False)
    diabetes = LinearRegression().fit(x, y)
    return {"figures": {"bias": vending.intercept_, "weights": vending.coef_.tolist(), "r2_diabetes": diabetes.score(x, y)}}


def losses_picture(losses: Mapping[str, Sequence[float]], title: str = "") -> Any:
    """A matplotlib figure of losses by epoch, a line per name; `.savefig("loss.svg")` writes it.

    Raises: WidedeepError if matplotlib is not installed.

    >>> model = LinearRegression().fit(*vending_machine())
    >>> figure = losses_picture({"momentum": [epoch["loss"] for epoch in model.history_.epochs]})
    >>> figure.axes[0].get_ylabel()
    'loss'
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise WidedeepError("Pictures are drawn by the package matplotlib, which is not installed. "
                            "Run: pip install 'widedeep[plots]'")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in losses.items():
        axes.plot(range(1, len(values) + 1), values, label=name)
    axes.set(xlabel="epoch", ylabel="loss", yscale="log", title=title)
    axes.legend()
    return figure
