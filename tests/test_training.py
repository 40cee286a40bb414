"""The training loop serves any Keras model: order, early stopping, best weights, faults, determinism."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest

from tests.tolerances import OP
from widedeep import training
from widedeep._keras import tf, tf_keras
from widedeep.errors import OutputError, TrainingError, WidedeepError
from widedeep.evaluation import metrics
from widedeep.rows import Bag, Rows, concatenate


def linear_rows(count=300, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    return Rows({"": x}, (x @ np.float32([1, -2, 0.5]) > 0).astype(np.float32))


def linear_model(rate=0.5, optimizer=None):
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, kernel_initializer="zeros")])
    model.build((None, 3))
    model.compile(optimizer or tf_keras.optimizers.legacy.SGD(rate), loss=tf_keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def score(outputs, rows):
    return metrics.report("binary", rows.labels, outputs[:, 0])


def test_it_is_gradient_descent_over_shuffled_batches_of_every_row():
    rows, model = linear_rows(), linear_model()
    training.fit(model, rows, epochs=2, batch=64, seed=7)
    weight, bias = np.zeros(3), 0.0
    for epoch in range(2):
        order = np.random.default_rng([7, epoch]).permutation(300)
        for part in np.split(order, range(64, 300, 64)):
            x, y = rows.features[""][part].astype(np.float64), rows.labels[part]
            residual = 1 / (1 + np.exp(-(x @ weight + bias))) - y
            weight, bias = weight - 0.5 * x.T @ residual / len(part), bias - 0.5 * residual.mean()
    np.testing.assert_allclose(model.get_weights()[0][:, 0], weight, atol=1e-4)
    np.testing.assert_allclose(model.get_weights()[1], bias, atol=1e-4)


def test_the_loss_of_an_epoch_is_the_mean_over_rows_and_not_over_means_so_far():
    rows, model = linear_rows(130), linear_model(rate=0.0)
    model.set_weights([np.float32([[1], [0], [0]]), np.float32([0])])
    history = training.fit(model, rows, epochs=2, batch=64, seed=3)
    expected = metrics.logloss_from_logits(rows.labels, rows.features[""][:, 0].astype(np.float64))
    assert [epoch["loss"] for epoch in history.epochs] == pytest.approx([expected, expected], abs=OP)


@pytest.mark.parametrize("metric, values, best", [("auc", [0.6, 0.8, 0.7, 0.7], 2), ("logloss", [0.6, 0.4, 0.5, 0.5], 2)])
def test_early_stopping_knows_the_direction_and_restores_the_best_epoch_with_its_optimizer(metric, values, best):
    answers, kept, model = iter(values), [], linear_model(optimizer=tf_keras.optimizers.legacy.Adagrad(0.1))

    class Keep(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append([*model.get_weights(), *model.optimizer.get_weights()])

    history = training.fit(model, linear_rows(), valid=linear_rows(seed=1), score=lambda *_: {metric: next(answers)},
                           metric=metric, epochs=10, patience=2, callbacks=[Keep()])
    assert (history.best, history.stopped, len(history.epochs)) == (best, "patience", 4)
    for now, then, last in zip([*model.get_weights(), *model.optimizer.get_weights()], kept[best - 1], kept[-1], strict=True):
        np.testing.assert_array_equal(now, then)
        assert not np.array_equal(now, last)


def test_a_metric_that_is_not_a_number_is_never_the_best():
    answers = iter([0.6, float("nan"), float("nan")])
    history = training.fit(linear_model(), linear_rows(), valid=linear_rows(seed=1), score=lambda *_: {"auc": next(answers)},
                           metric="auc", epochs=9, patience=2)
    assert (history.best, len(history.epochs)) == (1, 3)


def test_interrupted_training_keeps_the_best_so_far():
    model, kept = linear_model(), []

    class Interrupt(tf_keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            kept.append(model.get_weights()[0])
            if epoch == 2:
                raise KeyboardInterrupt

    answers = iter([0.9, 0.8])
    history = training.fit(model, linear_rows(), valid=linear_rows(seed=1), score=lambda *_: {"auc": next(answers)},
                           metric="auc", callbacks=[Interrupt()])
    assert (history.stopped, history.best) == ("interrupt", 1)
    np.testing.assert_array_equal(model.get_weights()[0], kept[1])


def test_interrupted_before_the_first_epoch_is_over_there_is_nothing_to_keep():
    class Interrupt(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.fit(linear_model(), linear_rows(), epochs=2, callbacks=[Interrupt()])


def test_an_update_that_breaks_the_weights_is_noticed_though_its_loss_was_finite():
    rows = linear_rows()
    large = Rows({"": rows.features[""] * 100}, rows.labels)
    with pytest.raises(TrainingError, match=r"A weight is not finite by step 1\. The largest input of its batch is"):
        training.fit(linear_model(rate=3e38), large, epochs=1, batch=10**12)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_largest_input():
    rows = linear_rows()
    rows.features[""][250, 1] = 3e38
    with pytest.raises(TrainingError, match=r"step \d+\. The largest input of its batch is 3e\+38, in the input 'b'"):
        training.fit(linear_model(rate=1e20), rows, epochs=3, batch=100, names={"": ["a", "b", "c"]})


def test_a_callback_can_stop_training_and_sees_keras_s_hooks_in_order():
    seen = []

    class Note(tf_keras.callbacks.Callback):
        def __getattribute__(self, name):
            if name.startswith("on_") and "batch" not in name:
                seen.append(name)
            return super().__getattribute__(name)

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    history = training.fit(linear_model(), linear_rows(), valid=linear_rows(), score=score, metric="auc", callbacks=[Note()])
    assert history.stopped == "callback" and len(history.epochs) == 2
    assert [name for name in seen if name != "on_epoch_begin"][-7:] == 2 * [
        "on_test_begin", "on_test_end", "on_epoch_end"] + ["on_train_end"]


def test_one_batch_larger_than_the_table_and_rows_of_bags_train():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 4, 100)
    bag = Bag(rng.integers(0, 5, lengths.sum()), np.concatenate([[0], np.cumsum(lengths)]))
    seen = []

    class Sizes(tf_keras.Model):
        def train_step(self, data):
            features, labels, _ = data
            bags = features["b"]
            tf.py_function(lambda *parts: seen.append([part.numpy() for part in parts]), [bags.values, bags.row_splits], [])
            return {"loss": tf.reduce_mean(labels)}

    model = Sizes()
    model.compile("sgd")
    training.fit(model, Rows({"b": bag}, np.arange(100, dtype=np.float32)), epochs=1, batch=1000, seed=3)
    flat, splits = seen[0]
    whole = bag.take(np.random.default_rng([3, 0]).permutation(100))
    np.testing.assert_array_equal(flat, whole.flat)
    np.testing.assert_array_equal(splits, whole.splits)


def test_rows_cut_and_joined_are_the_same_rows():
    bag = Bag(np.arange(6), np.array([0, 2, 2, 5, 6]))
    rows = Rows({"b": bag, "x": np.arange(4.0)}, np.arange(4), np.ones(4))
    again = concatenate([rows.slice(0, 1), rows.slice(1, 4)])
    np.testing.assert_array_equal(again.features["b"].flat, bag.flat)
    np.testing.assert_array_equal(again.features["b"].splits, bag.splits)
    np.testing.assert_array_equal(again.labels, rows.labels)


def test_the_bar_shows_examples_per_second_and_the_metric_on_a_terminal_and_nothing_elsewhere(monkeypatch):
    for terminal in (True, False):
        stream = io.StringIO()
        stream.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(sys, "stderr", stream)
        training.fit(linear_model(), linear_rows(), valid=linear_rows(), score=score, metric="auc", epochs=2)
        assert ("examples/s" in stream.getvalue() and "valid auc" in stream.getvalue()) == terminal
        assert bool(stream.getvalue()) == terminal


def test_tensorboard_gets_a_scalar_per_figure_and_epoch(tmp_path):
    training.fit(linear_model(), linear_rows(), valid=linear_rows(), score=score, metric="auc", epochs=3,
                 tensorboard=str(tmp_path))
    events = [e for f in tmp_path.iterdir() for e in tf.compat.v1.train.summary_iterator(str(f))]
    tags = [(value.tag, event.step) for event in events for value in event.summary.value]
    assert {("valid_auc", 1), ("valid_auc", 3), ("loss", 2), ("examples_per_s", 3)} <= set(tags)


# ------------------------------------------------------------------------------------------------------------ sources of rows


class Numbers:
    """A source that is no `Rows`: it notes what it was asked for."""

    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def __len__(self):
        return len(self.rows)

    def chunks(self, size, rng=None):
        self.asked.append((size, rng is not None))
        return self.rows.chunks(size, rng)


def test_any_source_of_chunks_can_be_trained_on_and_validated_with():
    rows, valid = Numbers(linear_rows()), Numbers(linear_rows(seed=1))
    def figures(outputs, held):
        return score(outputs, held.rows)
    one, two = linear_model(), linear_model()
    history = training.fit(one, rows, valid=valid, score=figures, metric="auc", epochs=2, batch=64)
    again = training.fit(two, rows.rows, valid=valid.rows, score=score, metric="auc", epochs=2, batch=64)
    np.testing.assert_array_equal(one.get_weights()[0], two.get_weights()[0])
    assert [epoch["valid_auc"] for epoch in history.epochs] == [epoch["valid_auc"] for epoch in again.epochs]
    assert rows.asked == [(training.CHUNK, True)] * 2 and valid.asked == [(8192, False)] * 2


def test_chunks_are_made_ahead_only_where_an_epoch_has_several(monkeypatch):
    made = []
    monkeypatch.setattr(training, "ahead", lambda items: made.append(items) or items)
    training.fit(linear_model(), linear_rows(), epochs=2, batch=64)
    assert made == []
    monkeypatch.setattr(training, "CHUNK", 64)
    training.fit(linear_model(), linear_rows(), epochs=2, batch=64)
    assert len(made) == 2


class Slow(Numbers):
    """Rows that one has to wait for."""

    def chunks(self, size, rng=None):
        for chunk in super().chunks(size, rng):
            time.sleep(0.3)
            yield chunk


@pytest.mark.parametrize("chunk", [training.CHUNK, 256])
def test_the_time_spent_waiting_for_rows_is_measured(chunk, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", chunk)
    model, rows = linear_model(), linear_rows()
    training.fit(model, rows, epochs=1, batch=64)
    history = training.fit(model, Slow(rows), epochs=2, batch=64)
    assert 0.8 < history.input_wait_share <= 1
    assert all(0.8 < epoch["input_wait_share"] <= 1 for epoch in history.epochs)
    assert 0 <= training.fit(model, rows, epochs=2, batch=64).input_wait_share < 0.8


# -------------------------------------------------------------------------------------------------------- the compiled steps


class Counted(tf_keras.Sequential):
    """A model that counts how often its step is traced."""

    traces = 0

    def train_step(self, data):
        self.traces += 1
        return super().train_step(data)


@pytest.mark.parametrize("optimizer", ["sgd", tf_keras.optimizers.legacy.Adagrad(0.1), tf_keras.optimizers.Adam(0.1)])
def test_the_steps_are_traced_once_for_chunks_of_any_length_and_again_only_when_compiled_anew(optimizer, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", 128)
    model = Counted([tf_keras.layers.Dense(1)])
    model.build((None, 3))
    model.compile(optimizer, loss="mse")
    for count in (300, 200, 1000, 7):
        training.fit(model, linear_rows(count), epochs=2, batch=64)
    assert model.traces == 1
    before = model.get_weights()[0]
    model.compile(tf_keras.optimizers.legacy.SGD(0.0), loss="mse")
    training.fit(model, linear_rows(), epochs=1, batch=64)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    model.optimizer = tf_keras.optimizers.legacy.SGD(0.5)
    training.fit(model, linear_rows(), epochs=1, batch=64)
    assert model.traces == 3 and not np.array_equal(model.get_weights()[0], before)


def test_kept_steps_go_on_where_training_left_off_and_hold_no_rows():
    rows, one, two = linear_rows(), linear_model(), linear_model()
    kept = weakref.ref(rows)
    training.fit(one, rows, epochs=1, batch=64, seed=1)
    training.fit(one, rows, epochs=1, batch=64, seed=1)
    for _ in range(2):
        two.set_weights(two.get_weights())
        training.fit(two, rows, epochs=1, batch=64, seed=1)
        two.compile(two.optimizer, loss=two.loss)
    np.testing.assert_array_equal(one.get_weights()[0], two.get_weights()[0])
    del rows
    gc.collect()
    assert kept() is None


def test_narrow_ids_reach_the_model_in_a_type_that_it_can_look_rows_up_by():
    bag = Bag(np.array([1, -1, 2], np.int8), np.array([0, 2, 3]))
    found = training.tensors(Rows({"ids": np.array([[-1], [5]], np.int16), "bag": bag, "x": np.zeros(2, np.float32)}))
    assert [found.features[name].dtype for name in ("ids", "bag", "x")] == [tf.int32, tf.int32, tf.float32]
    assert found.features["ids"].numpy().tolist() == [[-1], [5]] and found.features["bag"].values.numpy().tolist() == [1, -1, 2]


# ----------------------------------------------------------------------------------------------------------------- profiles


@pytest.mark.parametrize(("epochs", "chunk"), [(1, training.CHUNK), (2, training.CHUNK), (2, 64)])
def test_a_profile_is_a_trace_of_some_steps(epochs, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", chunk)
    training.fit(linear_model(), linear_rows(), epochs=epochs, batch=64, profile=str(tmp_path / "p"))
    (trace,) = (tmp_path / "p").rglob("*.xplane.pb")
    assert trace.stat().st_size > 1000


def test_a_profile_ends_after_its_steps_and_after_an_interrupt(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", 64)
    monkeypatch.setattr(training, "PROFILED", 2)
    running = []
    start, stop = tf.profiler.experimental.start, tf.profiler.experimental.stop
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: running.append(True) or start(folder))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: running.append(False) or stop())

    class Look(tf_keras.callbacks.Callback):
        def __init__(self, broken=False):
            super().__init__()
            self.broken, self.seen = broken, []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(running[-1:] == [True])
            if self.broken and running:
                raise KeyboardInterrupt

    look = Look()
    training.fit(linear_model(), linear_rows(), epochs=1, batch=64, profile=str(tmp_path), callbacks=[look])
    assert look.seen == [False, True, True, False, False] and running == [True, False]
    running.clear()
    with pytest.raises(KeyboardInterrupt):
        training.fit(linear_model(), linear_rows(), epochs=1, batch=64, profile=str(tmp_path), callbacks=[Look(broken=True)])
    assert running == [True, False]


def test_a_profile_that_cannot_be_written_or_taken_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"A profile cannot be written to .*file.*Choose another folder"):
        training.fit(linear_model(), linear_rows(), epochs=1, profile=str(tmp_path / "file"))
    tf.profiler.experimental.start(str(tmp_path))
    try:
        with pytest.raises(WidedeepError, match="cannot be taken while another one is"):
            training.fit(linear_model(), linear_rows(), epochs=1, profile=str(tmp_path))
    finally:
        tf.profiler.experimental.stop()


# ------------------------------------------------------------------------------------------------ predictions, determinism


def test_predictions_come_in_order_and_do_not_depend_on_the_batch():
    rows, model = linear_rows(1000), linear_model()
    model.set_weights([np.float32([[1], [2], [3]]), np.float32([0.5])])
    whole = training.predict(model, rows)
    np.testing.assert_allclose(whole, training.predict(model, rows, batch=7), atol=OP * 10)
    np.testing.assert_allclose(whole[:, 0], rows.features[""] @ [1, 2, 3] + 0.5, atol=OP * 10)


TWICE = """
import sys, hashlib
from tests.worlds import xor, xor_schema
from dataclasses import replace
import widedeep as wd
from widedeep.run import start
start(threads=1)
schema = replace(xor_schema(epochs=3), deep=replace(xor_schema().deep, dropout=0.2))
digests = []
for seed in map(int, sys.argv[1:]):
    model = wd.fit(schema, xor(500), valid=0.2, seed=seed)
    digests.append(hashlib.sha256(b"".join(value.tobytes() for value in model.state().values())).hexdigest())
print(*digests)
"""


def test_on_one_thread_the_same_seed_gives_the_same_bits_in_any_process_and_another_seed_others():
    env = os.environ | {"PYTHONPATH": "."}
    runs = [subprocess.Popen([sys.executable, "-c", TWICE, *seeds], stdout=subprocess.PIPE, text=True, env=env)
            for seeds in (("5",), ("6", "5"))]
    (first,), (other, again) = (run.communicate()[0].split() for run in runs)
    assert first == again != other
