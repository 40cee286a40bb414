"""Linear regression finds what is known exactly, by gradient descent alone, and says so when it cannot."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

import linear as benchmark
from tests.tolerances import OP, STEP
from widedeep import training
from widedeep._keras import tf
from widedeep.baselines import linear
from widedeep.baselines.linear import (
    VENDING_BIAS,
    VENDING_WEIGHTS,
    Line,
    LinearRegression,
    intervals,
    stable_rate,
    vending_machine,
)
from widedeep.errors import DataError, SchemaError, TrainingError, WidedeepError, WidedeepWarning
from widedeep.rows import Rows
from widedeep.tracing import trace

LONG_CHECKS = {"check_fit_score_takes_y", "check_estimators_dtypes", "check_dtype_object", "check_pipeline_consistency",
               "check_estimators_pickle", "check_regressors_train", "check_regressor_data_not_an_array", "check_regressors_int",
               "check_estimators_overwrite_params", "check_readonly_memmap_input", "check_f_contiguous_array_estimator",
               "check_regressors_no_decision_function", "check_positive_only_tag_during_fit", "check_fit_idempotent",
               "check_estimators_fit_returns_self", "check_fit_check_is_fitted", "check_methods_subset_invariance",
               "check_array_api_input"}
"""Several fits each, or what other checks touch too: left to `make test-all`."""

TRUTH = np.array([VENDING_BIAS, *VENDING_WEIGHTS])


def coefficients(model):
    return np.concatenate([[model.intercept_], model.coef_])


def normal_rows(rows=100, variables=4, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, variables)) * [1, 10, 0.1, 3][:variables] + 5
    return x, x @ np.arange(1, variables + 1) + 7 + noise * rng.normal(size=rows)


@pytest.fixture
def no_closed_form(monkeypatch):
    """Every solver of linear equations and least squares raises."""
    def refuse(*_, **__):
        raise AssertionError("a closed form was asked for")
    for module, names in ((np.linalg, ("lstsq", "solve", "pinv", "inv", "qr", "svd", "cholesky", "eigh", "eig")),
                          (scipy.linalg, ("lstsq", "solve", "pinv", "inv", "qr", "svd", "cho_factor", "lu_factor")),
                          (linear_model.LinearRegression, ("fit",)), (tf.linalg, ("lstsq", "solve", "pinv", "inv"))):
        for name in names:
            monkeypatch.setattr(module, name, refuse)


def test_the_vending_machine_is_found_by_gradient_descent_alone(no_closed_form, monkeypatch):
    fits, fit = [], training.fit
    monkeypatch.setattr(training, "fit", lambda model, *rest, **more: fits.append(model) or fit(model, *rest, **more))
    figures = linear.report()["figures"]
    np.testing.assert_allclose([figures["bias"], *figures["weights"]], TRUTH, atol=1e-3)
    assert abs(figures["r2_diabetes"] - 0.5177484) < 0.002, "the closed form's"
    assert [type(model) for model in fits] == [Line, Line], "trained through training.fit, on a Keras model"


@pytest.mark.parametrize(("optimizer", "batch", "rate"), [
    ("sgd", None, None), ("sgd", 32, None), ("sgd", 1, None), ("momentum", 32, None), ("adagrad", 1, None), ("adam", 32, None),
    ("ftrl", None, 0.5)])
def test_every_optimizer_finds_it_on_all_rows_on_batches_and_on_single_rows(optimizer, batch, rate):
    model = LinearRegression(optimizer=optimizer, batch=batch, rate=rate, epochs=100).fit(*vending_machine(100))
    np.testing.assert_allclose(coefficients(model), TRUTH, atol=1e-3)


@pytest.mark.parametrize(("optimizer", "batch"), [("sgd", 32), ("momentum", None), ("adagrad", 32), ("adam", 32), ("ftrl", 1)])
def test_the_absolute_loss_finds_the_same_line(optimizer, batch):
    model = LinearRegression("absolute", optimizer, batch=batch, epochs=30 if batch == 1 else 100).fit(*vending_machine(100))
    np.testing.assert_allclose(model.coef_, VENDING_WEIGHTS, atol=2e-3)


def test_the_absolute_loss_does_not_follow_an_outlier():
    x, y = vending_machine(100)
    y[0] += 1e3
    model = LinearRegression("absolute", "adam", batch=25, epochs=50).fit(x, y)
    np.testing.assert_allclose(model.coef_, VENDING_WEIGHTS, atol=2e-3)
    assert np.abs(LinearRegression().fit(x, y).coef_ - VENDING_WEIGHTS).max() > 0.1


def test_a_step_is_the_gradient_of_the_loss_and_a_last_smaller_batch_counts_by_its_rows():
    x, y = normal_rows(5, 2)
    found = Line(2, 1, "squared", batch=3).prepare(linear.legacy.SGD(0.01))
    training.fit(found, Rows({"": x}, y[:, np.newaxis]), batch=3, epochs=1, seed=4)
    weights, bias, order = np.zeros(2), 0.0, np.random.default_rng([4, 0]).permutation(5)
    for part in (order[:3], order[3:]):
        residual = x[part] @ weights + bias - y[part]
        weights, bias = weights - 0.01 * 2 * x[part].T @ residual / 3, bias - 0.01 * 2 * residual.sum() / 3
    np.testing.assert_allclose(found.get_weights()[0][:, 0], weights, rtol=STEP)
    np.testing.assert_allclose(found.get_weights()[1], bias, rtol=STEP)


def test_every_label_column_is_a_fit_of_its_own():
    x, y = normal_rows()
    labels = np.column_stack([y, -3 * y + x[:, 0], x[:, 1] ** 2])
    together = LinearRegression().fit(x, labels)
    alone = [LinearRegression().fit(x, column) for column in labels.T]
    np.testing.assert_allclose(together.coef_, [model.coef_ for model in alone], rtol=OP, atol=OP)
    np.testing.assert_allclose(together.predict(x), np.column_stack([model.predict(x) for model in alone]), rtol=OP)


def test_intervals_cover_the_truth_as_often_as_they_say():
    assert all(0.92 <= share <= 0.98 for share in benchmark.coverage().values())


def test_intervals_are_those_of_the_textbook():
    x, y = normal_rows()
    low, high = intervals(x, y, LinearRegression().fit(x, y), level=0.9)
    ones = np.column_stack([np.ones(100), x])
    solved, squares, *_ = np.linalg.lstsq(ones, y)
    errors = np.sqrt(np.diag(np.linalg.inv(ones.T @ ones)) * squares[0] / 95)
    np.testing.assert_allclose((low + high) / 2, solved, rtol=STEP)
    np.testing.assert_allclose((high - low) / 2, 1.661051817 * errors, rtol=STEP)   # t of 95 degrees at .95


def test_intervals_say_what_they_cannot_do():
    x, y = normal_rows()
    model = LinearRegression().fit(x, y)
    with pytest.raises(DataError, match=r"the model was fitted to, of shape \(100,\). Got \(100, 1\)"):
        intervals(x, y[:, np.newaxis], model)
    twice = np.column_stack([x, x[:, 0]])
    with pytest.raises(DataError, match="no combinations of others"):
        intervals(twice, y, LinearRegression().fit(twice, y))


@pytest.mark.parametrize("name", ["vending machine with noise", "50 normal columns"])
def test_coefficients_are_those_of_the_closed_form(name):
    found = benchmark.beside(*benchmark.tables()[name])
    assert max(found["from_lstsq"], found["from_sklearn"]) < 1e-6, "in deviations of y per deviation of x"
    assert abs(found["r2"] - found["r2_sklearn"]) < OP


def test_where_columns_are_collinear_the_loss_agrees_though_the_coefficients_do_not():
    found = benchmark.beside(*benchmark.tables()["vending machine and all sales"])
    assert abs(found["loss_over_sklearn"]) < OP and found["from_sklearn"] > 0.1


def test_mini_batches_explain_diabetes_as_well_as_the_closed_form():
    x, y = load_diabetes(return_X_y=True)
    model = LinearRegression(optimizer="sgd", batch=32, epochs=50).fit(x, y)
    assert abs(model.score(x, y) - linear_model.LinearRegression().fit(x, y).score(x, y)) < 0.002


@pytest.mark.parametrize(("loss", "times", "standardize"), [("squared", 1, True), ("half-squared", 2, False)])
@pytest.mark.filterwarnings("ignore:After 100 epochs")
def test_the_largest_stable_rate_is_where_it_was_predicted(loss, times, standardize):
    x, y = normal_rows(200, 3)
    z = (x - x.mean(0)) / x.std(0) if standardize else x
    ones = np.column_stack([np.ones(200), z])
    bound = stable_rate(z, loss)
    assert bound == pytest.approx(times / np.linalg.eigvalsh(ones.T @ ones / 200)[-1])
    below = LinearRegression(loss, "sgd", 0.99 * bound, epochs=100, standardize=standardize).fit(x, y)
    losses = [epoch["loss"] for epoch in below.history_.epochs]
    assert np.diff(losses).max() <= OP * losses[0]
    says = f"with rate {1.02 * bound:g}; the largest stable rate of plain descent on all rows is {bound:.6g}, {times}/λmax"
    with pytest.raises(TrainingError, match=re.escape(says)):
        LinearRegression(loss, "sgd", 1.02 * bound, standardize=standardize).fit(x, y)


@pytest.mark.parametrize(("optimizer", "batch", "rate", "says"), [
    ("sgd", None, 1e20, "The loss is inf at step 2, with rate 1e+20; the largest stable rate of plain descent on all"),
    ("sgd", 10, 50.0, "for sgd on batches of 10 of the squared loss no largest stable rate is known"),
    ("momentum", None, 9.0, "for momentum on all rows of the squared loss no largest stable rate is known")])
def test_divergence_ends_with_the_rate_and_the_bound_and_never_with_nan(optimizer, batch, rate, says):
    with pytest.raises(TrainingError, match=re.escape(says)) as caught:
        LinearRegression(optimizer=optimizer, batch=batch, rate=rate).fit(*normal_rows())
    assert f"rate {rate:g}" in str(caught.value) and "nan" not in str(caught.value)


def test_an_absolute_loss_that_grew_says_so():
    x, y = normal_rows()
    with pytest.raises(TrainingError, match="rate 1e.20; for momentum on batches of 8 of the absolute loss no largest"):
        LinearRegression("absolute", "momentum", batch=8, rate=1e20).fit(x, y)
    with pytest.warns(WidedeepWarning, match="The loss ended at .*, above the .* of b = 0 and W = 0, with rate 1000. Give"):
        LinearRegression("absolute", "sgd", rate=1e3, epochs=3).fit(x, y)


def test_a_bound_is_not_claimed_where_there_is_none():
    with pytest.raises(SchemaError, match="Only a squared loss has a largest stable rate: .'absolute'."):
        stable_rate(np.ones((2, 1)), "absolute")


@pytest.mark.slow   # 46 fits
@pytest.mark.filterwarnings("ignore::widedeep.errors.WidedeepWarning")   # single rows, constant columns: checked below
def test_it_passes_every_check_of_scikit_learn():
    done = check_estimator(LinearRegression(), on_skip=None)
    assert len(done) > 50 and {check["status"] for check in done} <= {"passed", "skipped"}


@pytest.mark.filterwarnings("ignore::widedeep.errors.WidedeepWarning")
def test_it_passes_the_quick_checks_of_scikit_learn():
    checks = [(model, check) for model, check in estimator_checks_generator(LinearRegression())
              if check.func.__name__ not in LONG_CHECKS]
    assert len(checks) > 30
    for model, check in checks:
        check(model)


def test_the_same_seed_gives_the_same_bits_and_the_history_is_kept():
    x, y = normal_rows()
    first, again, other = (LinearRegression(optimizer="sgd", batch=8, epochs=5, seed=seed).fit(x, y) for seed in (1, 1, 2))
    assert (first.coef_ == again.coef_).all() and (first.coef_ != other.coef_).any()
    losses = [epoch["loss"] for epoch in first.history_.epochs]
    assert len(losses) == 5 and losses[-1] < losses[0]


def test_columns_are_named_in_messages_and_kept_as_a_table_had_them():
    x, y = normal_rows()
    table = pd.DataFrame(x, columns=["a", "b", "c", "d"])
    model = LinearRegression().fit(table, y)
    assert model.predict(table) == pytest.approx(model.intercept_ + x @ model.coef_)
    table.loc[7, "c"] = np.nan
    with pytest.raises(DataError, match="Input X contains NaN in row 7, column c. Every value must be a finite number; 1 are"):
        clone(model).fit(table, y)
    with pytest.warns(WidedeepWarning, match=r"Constant columns say nothing that the bias does not: \['b'\]. Remove them"):
        clone(model).fit(table.assign(b=1.0, c=0.5 * x[:, 0] + x[:, 3] ** 2), y)


def test_a_constant_column_gets_no_weight_and_costs_nothing():
    x, y = normal_rows()
    with pytest.warns(WidedeepWarning, match=r"\[1\]"):
        model = LinearRegression().fit(np.column_stack([x[:, 0], np.full(100, 0.1), x[:, 1:]]), y)
    plain = LinearRegression().fit(x, y)
    np.testing.assert_allclose(model.coef_, np.insert(plain.coef_, 1, 0), rtol=STEP)
    assert model.intercept_ == pytest.approx(plain.intercept_)


def test_fewer_rows_than_unknowns_are_fitted_and_warned_of():
    x, y = normal_rows(4, 4)
    with pytest.warns(WidedeepWarning, match="4 rows cannot determine 5 unknowns .4 weights and the bias.: infinitely many"):
        model = LinearRegression().fit(x, y)
    np.testing.assert_allclose(model.predict(x), y, rtol=STEP)


def test_a_fit_that_still_moves_says_so():
    x, y = load_diabetes(return_X_y=True)
    with pytest.warns(WidedeepWarning, match="After 3 epochs coefficients still move by .* Give more epochs, or a larger"):
        LinearRegression(epochs=3).fit(x, y)


@pytest.mark.parametrize(("change", "says"), [
    (lambda x, y: (x[0], y), "LinearRegression cannot use this data: Expected 2D array, got 1D array instead"),
    (lambda x, y: (x, y[1:]), "cannot use this data: Found input variables with inconsistent numbers of samples: .100, 99."),
    (lambda x, y: (x[:0], y[:0]), "cannot use this data: Found array with 0 sample"),
    (lambda x, y: (x, np.where(y == y[3], np.inf, y)), "Input y contains infinity in row 3. Every value must be a finite"),
    (lambda x, y: (x * 1e200, y), "The spread of a column must be a finite number; values up to .* are too large. Divide them"),
    (lambda x, y: (x, ["a"] * 100), "cannot use this data: could not convert string to float")])
def test_data_that_cannot_be_fitted_gets_one_clear_message(change, says):
    with warnings.catch_warnings(), pytest.raises(DataError, match=says):
        warnings.simplefilter("error")
        LinearRegression().fit(*change(*normal_rows()))


def test_a_table_of_another_width_cannot_be_predicted():
    x, y = normal_rows()
    with pytest.raises(DataError, match="X has 3 features, but LinearRegression is expecting 4 features"):
        LinearRegression().fit(x, y).predict(x[:, :3])


@pytest.mark.parametrize(("settings", "says"), [
    ({"loss": "square"}, "does not know this loss: .'square'.. Known: .* Did you mean 'squared'?"),
    ({"optimizer": "sgdd"}, "does not know this optimizer"),
    ({"rate": 0}, "rate must be None, or above 0 and below 1e30. Got 0"), ({"rate": float("nan")}, "Got nan"),
    ({"batch": 2.5}, "batch must be None or a whole number above 0. Got 2.5"),
    ({"epochs": 0}, "epochs must be a whole number above 0. Got 0"),
    ({"tolerance": -1}, "tolerance must be a number from 0. Got -1")])
def test_settings_that_cannot_be_meant(settings, says):
    with pytest.raises(SchemaError, match=says):
        LinearRegression(**settings).fit(*normal_rows())


def test_ctrl_c_ends_a_fit(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(linear._Watch, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        LinearRegression().fit(*normal_rows())


def test_one_can_see_inside_a_line():
    line, x = Line(2, 1), tf.constant([[1.0, 2.0]], tf.float64)
    line.set_weights([np.array([[3.0], [4.0]]), np.array([5.0])])
    seen = trace(line, lambda: tf.reduce_sum(tf.square(line(x))), gradients=True)
    assert seen["dense"] == 16 and seen["gradient of dense/kernel"].tolist() == [[32.0], [64.0]]


def test_rows_that_are_made_when_asked_for_are_learned_as_well_as_by_the_closed_form():
    truth = np.random.default_rng(0).normal(size=100).astype(np.float32)
    for solve in (benchmark.descent, benchmark.normal_equations, benchmark.least_squares):
        assert np.linalg.norm(solve(truth) - truth) < 0.01 * np.linalg.norm(truth), solve.__name__


def test_the_crossing_is_between_the_sizes_where_the_order_changes():
    def points(*seconds):
        return [{"variables": size, "seconds": s, "megabytes": 8.0} for size, s in zip((100, 1000, 10_000), seconds)]
    assert benchmark.crossing({"SGD": points(1, 1, 1), "normal equations": points(0.01, 0.1, 10)}) == pytest.approx(10 ** 3.5)
    assert benchmark.crossing({"SGD": points(1, 1, 1), "normal equations": points(0.1, 0.2, 0.3)}) is None
    assert [p["seconds"] for p in benchmark.extrapolated(points(1, 1, 8))] == pytest.approx([8 * 5**3, 8 * 10**3])


def test_losses_are_drawn_by_epoch(monkeypatch):
    axes = linear.losses_picture({"one": [4.0, 2.0], "two": [1.0]}, "title").axes[0]
    assert [line.get_label() for line in axes.lines] == ["one", "two"] and axes.lines[0].get_xdata().tolist() == [1, 2]
    monkeypatch.setattr(linear.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WidedeepError, match=r"matplotlib, which is not installed. Run: pip install 'widedeep\[plots\]'"):
        linear.losses_picture({})


def test_pictures_are_those_of_the_committed_results():
    for name, content in benchmark.pictures().items():
        assert (benchmark.PICTURES / name).read_bytes() == content, f"{name}: run python benchmarks/linear.py --save"


def test_the_python_of_the_documentation_runs():
    pages = [page.read_text(encoding="utf-8") for page in benchmark.PICTURES.parent.glob("baselines*.md")]
    blocks = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
    mine = [block for block in blocks if "baselines.linear" in block]
    assert mine
    for block in mine:
        exec(compile(block, "docs/baselines.md", "exec"), {})
