"""Fit any compiled Keras model on rows in memory: shuffling, early stopping, best weights, progress. Knows no tower.

Rows are shuffled and gathered in NumPy, ahead of the consumer, in chunks of many batches; one compiled call then runs a
chunk's steps. Everything random follows from (seed, epoch).
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from widedeep._keras import tf, tf_keras
from widedeep.errors import OutputError, TrainingError, WidedeepError
from widedeep.evaluation import metrics
from widedeep.rows import Bag, Rows

CHUNK = 32_768
"""Rows handed to one compiled call, unless a batch is larger."""

Score = Callable[[np.ndarray, Rows], dict[str, float]]


class Tensors(NamedTuple):
    """Rows as tensors, in Keras's order: features, labels, weights."""

    features: Any
    labels: tf.Tensor | None = None
    weights: tf.Tensor | None = None


@dataclass
class History:
    """What came out of one training: a line per epoch, the best epoch (from 1), and why it ended.

    `stopped` is `epochs`, `patience`, `callback` or `interrupt`; the model holds the best epoch's weights.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best: int = 0
    steps: int = 0
    stopped: str = "epochs"

    @property
    def examples_per_s(self) -> float:
        """Median over epochs of training rows ÷ seconds spent in training steps."""
        return float(np.median([epoch["examples_per_s"] for epoch in self.epochs])) if self.epochs else 0.0


def tensors(rows: Rows) -> Tensors:
    """Rows as tensors; bags as ragged ones, and a single feature called "" as itself (for models of one input).

    >>> tensors(Rows({"": np.zeros((2, 3))})).features.shape
    TensorShape([2, 3])
    """
    features = {name: _tensor(part) for name, part in rows.features.items()}
    labels, weights = (None if part is None else tf.convert_to_tensor(part) for part in (rows.labels, rows.weights))
    return Tensors(features.get("", features), labels, weights)


def _tensor(part: np.ndarray | Bag) -> tf.Tensor | tf.RaggedTensor:
    if isinstance(part, Bag):
        return tf.RaggedTensor.from_row_splits(part.flat, part.splits.astype(np.int64), validate=False)
    return tf.convert_to_tensor(part)


def _slice(data: Tensors, start: tf.Tensor, stop: tf.Tensor) -> tuple:
    return tuple(None if part is None else tf.nest.map_structure(lambda whole: whole[start:stop], part) for part in data)


def fit(model: tf_keras.Model, rows: Rows, *, valid: Rows | None = None, score: Score | None = None, metric: str = "",
        batch: int = 256, epochs: int = 30, patience: int = 3, seed: int = 0,
        callbacks: Sequence[tf_keras.callbacks.Callback] = (), progress: bool | None = None, tensorboard: str | None = None,
        names: Mapping[str, Sequence[str]] | None = None) -> History:
    """Train until the validation metric has not improved for `patience` epochs; the best epoch's weights are restored.

    `score` maps (outputs, valid rows) to figures, `metric` is the one that decides (its direction is known). Ctrl-C ends
    training and keeps the best so far; before the first epoch is over there is none, and KeyboardInterrupt is raised.
    `progress` shows a bar (default: when stderr is a terminal). `names` are the column names of float features, for messages.
    Callbacks are Keras's, as far as they ask for no single optimizer; a batch to them is one compiled call.

    Raises: TrainingError if the loss or a weight is not finite, naming the step and the largest input of its batch.
    """
    loop = _Loop(model, rows, batch, seed, names or {})
    best = _Best(model, metric)
    history = History()
    hooks = tf_keras.callbacks.CallbackList(list(callbacks), model=model, add_history=False)
    hooks.on_train_begin()
    model.stop_training = False
    with _Display(progress, len(rows), epochs, metric) as display, _Board(tensorboard) as board:
        try:
            for epoch in range(epochs):
                figures = loop.epoch(epoch, hooks, display)
                if valid is not None:
                    hooks.on_test_begin()
                    figures |= {f"valid_{name}": value for name, value in score(predict(model, valid), valid).items()}
                    hooks.on_test_end()
                history.epochs.append(figures)
                hooks.on_epoch_end(epoch, figures)
                display.epoch(figures)
                board.write(epoch, figures)
                if valid is not None and best.offer(epoch + 1, figures[f"valid_{metric}"]) >= patience:
                    history.stopped = "patience"
                    break
                if model.stop_training:
                    history.stopped = "callback"
                    break
        except KeyboardInterrupt:
            if not history.epochs:
                raise
            history.stopped = "interrupt"
    best.restore()
    history.best, history.steps = best.epoch or len(history.epochs), loop.steps
    hooks.on_train_end()
    return history


def predict(model: tf_keras.Model, rows: Rows, batch: int = 8192) -> np.ndarray:
    """The model's outputs, not training: float32 (rows, outputs)."""
    if not len(rows):
        return np.zeros((0, 1), np.float32)
    forward = _forward(model)
    parts = (rows.slice(start, start + batch) for start in range(0, len(rows), batch))
    return np.concatenate([forward(tensors(part).features).numpy() for part in parts])


def _forward(model: tf_keras.Model) -> Callable:
    """The model's compiled call, made once per model."""
    if "_forward_call" not in vars(model):
        model._forward_call = tf.function(lambda features: model(features, training=False), reduce_retracing=True)
    return model._forward_call


def _steps_per_call(model: tf_keras.Model, batch: int) -> int:
    """One with several replicas: TensorFlow exchanges sparse gradients, whose lengths vary, only once in a call."""
    return max(1, CHUNK // batch) if model.distribute_strategy.num_replicas_in_sync == 1 else 1


def _step(model: tf_keras.Model, batch: tuple) -> tf.Tensor:
    """One step in which every replica of the model's strategy, usually the only one, trains on its share; returns the loss."""
    strategy = model.distribute_strategy

    def replica(batch: tuple) -> tf.Tensor:
        rows, count = tf.shape(tf.nest.flatten(batch[1])[0])[0], strategy.num_replicas_in_sync
        mine = tf.distribute.get_replica_context().replica_id_in_sync_group
        share = batch if count == 1 else _slice(batch, rows * mine // count, rows * (mine + 1) // count)
        return model.train_step(share)["loss"]

    return strategy.experimental_local_results(strategy.run(replica, args=(batch,)))[0]


class _Loop:
    """The compiled steps over shuffled chunks, and the count of steps done."""

    def __init__(self, model: tf_keras.Model, rows: Rows, batch: int, seed: int, names: Mapping[str, Sequence[str]]):
        self.model, self.rows, self.seed, self.names = model, rows, seed, names
        self.batch, self.steps = min(batch, max(1, len(rows))), 0
        self.run = tf.function(self._run, reduce_retracing=True)

    def _run(self, data: Tensors, batch: tf.Tensor) -> tf.Tensor:
        """All steps of a chunk → their losses (steps,)."""
        rows = tf.shape(tf.nest.flatten(data.labels)[0])[0]
        steps = (rows + batch - 1) // batch
        losses = tf.TensorArray(tf.float32, steps)
        for step in tf.range(steps):
            part = _slice(data, step * batch, tf.minimum((step + 1) * batch, rows))
            losses = losses.write(step, tf.cast(_step(self.model, part), tf.float32))
        return losses.stack()

    def epoch(self, epoch: int, hooks: tf_keras.callbacks.CallbackList, display: _Display) -> dict[str, float]:
        """One pass over the rows in the order of (seed, epoch); returns its figures."""
        hooks.on_epoch_begin(epoch)
        self.model.reset_metrics()
        start, losses = time.perf_counter(), []
        for index, (chunk, data) in enumerate(_ahead(self._chunks(epoch))):
            hooks.on_train_batch_begin(index)
            losses.append(self.run(data, tf.constant(self.batch)).numpy())
            self._check(losses[-1], chunk)
            self.steps += len(losses[-1])
            hooks.on_train_batch_end(index, {"loss": float(losses[-1][-1])})
            display.advance(len(chunk))
        self._check_weights(chunk)
        seconds = time.perf_counter() - start
        loss = float(np.mean(np.concatenate(losses), dtype=np.float64))
        return {"loss": loss, "seconds": seconds, "examples_per_s": len(self.rows) / seconds}

    def _chunks(self, epoch: int) -> Iterator[tuple[Rows, Tensors]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        size = self.batch * _steps_per_call(self.model, self.batch)
        for start in range(0, len(order), size):
            chunk = self.rows.take(order[start:start + size])
            yield chunk, tensors(chunk)

    def _check(self, losses: np.ndarray, chunk: Rows) -> None:
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            first = int(bad[0])
            part = chunk.slice(first * self.batch, (first + 1) * self.batch)
            raise self._broken(f"The loss is {losses[first]}", self.steps + first + 1, part)

    def _check_weights(self, chunk: Rows) -> None:
        """The last step's loss was taken before its update."""
        if not all(bool(tf.reduce_all(tf.math.is_finite(weight))) for weight in self.model.trainable_variables):
            raise self._broken("A weight is not finite", self.steps, chunk)

    def _broken(self, what: str, step: int, part: Rows) -> TrainingError:
        return TrainingError(f"{what} at step {step}. {_largest(part, self.names)}. "
                             f"Lower the rates, or scale or correct that input.")


def _largest(rows: Rows, names: Mapping[str, Sequence[str]]) -> str:
    """The largest number among the float inputs and weights of a batch, by name."""
    found = []
    for name, part in [*rows.features.items(), ("label", rows.labels), ("weight", rows.weights)]:
        flat = part.flat if isinstance(part, Bag) else part
        if flat is not None and flat.dtype.kind == "f" and flat.size:
            at = np.unravel_index(np.argmax(np.where(np.isnan(flat), np.inf, np.abs(flat))), flat.shape)
            labels, place = names.get(name), name or "the input"
            found.append((abs(float(flat[at])), float(flat[at]), f"{place} {labels[at[-1]]!r}" if labels else place))
    if not found:
        return "Its batch has no float input"
    _, value, where = max(found, key=lambda item: np.inf if np.isnan(item[0]) else item[0])
    return f"The largest input of its batch is {value:g}, in {where}"


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The same items, each made in a thread while the one before is consumed."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, items, None)
        while (item := pending.result()) is not None:
            pending = pool.submit(next, items, None)
            yield item


class _Best:
    """The best epoch's weights and optimizer state, kept aside in memory."""

    def __init__(self, model: tf_keras.Model, metric: str):
        self.model, self.metric, self.epoch, self.value, self.kept = model, metric, 0, None, None

    def offer(self, epoch: int, value: float) -> int:
        """Keep this epoch if it is the best so far; returns how many epochs ago the best one was."""
        if metrics.better(self.metric, value, self.value):
            self.epoch, self.value, self.kept = epoch, value, [v.numpy() for v in self._variables()]
        return epoch - self.epoch

    def restore(self) -> None:
        for variable, value in zip(self._variables(), self.kept or []):
            variable.assign(value)

    def _variables(self) -> list[tf.Variable]:
        state = self.model.optimizer.variables
        return [*self.model.weights, *(state() if callable(state) else state)]


class _Display:
    """A progress bar with examples/s and the validation metric; nothing at all when stderr is not a terminal."""

    def __init__(self, wanted: bool | None, rows: int, epochs: int, metric: str):
        self.wanted = sys.stderr.isatty() if wanted is None else wanted
        self.rows, self.epochs, self.metric, self.bar = rows, epochs, metric, None

    def __enter__(self) -> _Display:
        if self.wanted:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
            self.bar = Progress(TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TextColumn("{task.fields[text]}"),
                                TimeRemainingColumn(), console=Console(stderr=True))
            self.task = self.bar.add_task("train", total=self.rows * self.epochs, epoch=1, text="")
            self.bar.start()
        return self

    def advance(self, rows: int) -> None:
        if self.bar:
            self.bar.advance(self.task, rows)

    def epoch(self, figures: Mapping[str, float]) -> None:
        if self.bar:
            value = figures.get(f"valid_{self.metric}")
            valid = "" if value is None else f" · valid {self.metric} {value:.4f}"
            done = int(self.bar.tasks[0].completed // self.rows)
            text = f"{figures['examples_per_s']:,.0f} examples/s · loss {figures['loss']:.4f}{valid}"
            self.bar.update(self.task, epoch=min(done + 1, self.epochs), text=text)

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()


class _Board:
    """TensorBoard scalars per epoch, if a folder was asked for."""

    def __init__(self, folder: str | None):
        if folder and importlib.util.find_spec("tensorboard") is None:
            raise WidedeepError("Figures for TensorBoard are written by the package tensorboard, which is not installed. "
                                "Run: pip install 'widedeep[tensorboard]'")
        try:
            self.writer = tf.summary.create_file_writer(folder) if folder else None
        except tf.errors.OpError as error:
            raise OutputError(f"Figures for TensorBoard cannot be written to {folder!r}: {error.message}. "
                              f"Choose another folder.") from error

    def __enter__(self) -> _Board:
        return self

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        if self.writer:
            with self.writer.as_default(step=epoch + 1):
                for name, value in figures.items():
                    if value is not None:
                        tf.summary.scalar(name, value)

    def __exit__(self, *_: object) -> None:
        if self.writer:
            self.writer.close()
