"""Labels: two classes or a number, whatever the table calls them; rows without one are named; outputs find their way back."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tolerances import OP
from widedeep.errors import DataError
from widedeep.labels import LabelAccumulator, LabelFit
from widedeep.schema import Label

NAN, INFINITY = float("nan"), float("inf")
NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20).filter(lambda x: max(x) - min(x) > 1e-3)


def fitted(label, *parts):
    accumulator, row = LabelAccumulator(label), 0
    for part in parts:
        accumulator.add(part, row.__add__)
        row += len(part)
    return accumulator.fit()


def refuses(message, act):
    with pytest.raises(DataError) as found:
        act()
    assert re.search(message, str(found.value)), found.value


PAIRINGS = [
    (["no", "yes", "no"], {"positive": "yes"}, pa.string()), (["no", "yes", "no"], {"positive": "yes"}, pa.large_string()),
    (["", "日本", ""], {"positive": "日本"}, pa.string()),
    (["no", "yes", "no"], {"positive": "yes", "negative": "no"}, pa.string_view()),
    ([0, 1, 0], {}, pa.int64()), ([0, 1, 0], {"positive": 1.0}, pa.int8()), ([0, 1, 0], {"positive": True}, pa.uint16()),
    ([-5, 7, -5], {"positive": 7, "negative": -5.0}, pa.int64()), ([2**62, -2**63, 2**62], {"positive": -2**63}, pa.int64()),
    ([False, True, False], {"positive": True}, pa.bool_()), ([False, True, False], {"positive": 1}, pa.bool_()),
    ([False, True, False], {"positive": 1.0, "negative": 0}, pa.bool_()),
    ([False, True, False], {"positive": "true"}, pa.bool_()),
    (["false", "true", "false"], {"positive": True, "negative": False}, pa.string()),
    (["False", "True", "False"], {"positive": True, "negative": False}, pa.string()),
    (["FALSE", "TRUE", "FALSE"], {"positive": True}, pa.string_view()),
    ([0.0, 1.0, -0.0], {}, pa.float64()), ([0.0, 1.0, 0.0], {"positive": True}, pa.float32()),
    ([0.25, 0.5, 0.25], {"positive": 0.5}, pa.float64()),
]


@pytest.mark.parametrize(("cells", "declared", "kind"), PAIRINGS)
@pytest.mark.parametrize("encoded", [False, True])
def test_the_positive_value_is_one_and_the_other_zero_in_every_type(cells, declared, kind, encoded):
    array = pa.array(cells, kind)
    array = array.dictionary_encode() if encoded else array
    fit = fitted(Label("y", **declared), array)
    assert fit == fitted(Label("y", **declared), array.slice(1), array.slice(0, 1))
    labels = fit.encode(array)
    assert labels.dtype == np.float32 and labels.tolist() == fit.decode(labels).tolist() == [0, 1, 0]
    assert fit.known(array).to_pylist() == [0, 1, 0]


@pytest.mark.parametrize(("trained", "cells"), [
    ([1, 0], [True, False]), ([1, 0], [1.0, 0.0]), ([1.0, 0.0], [1, 0]), ([True, False], ["true", "false"]),
    ([True, False], ["True", "FALSE"]), (["true", "false"], ["True", "False"]), (["True", "False"], ["True", "False"])])
def test_a_fitted_label_reads_other_types_of_the_same_values(trained, cells):
    fit = fitted(Label("y", positive=trained[0]), pa.array(trained))
    assert fit.encode(pa.array(cells)).tolist() == [1, 0]


@pytest.mark.parametrize(("cells", "positive"), [(["0", "1"], 1), ([0, 1], "1"), (["0.5", "1.0"], 1.0), ([0.0, 1.0], "1.0"),
                                                 ([True, False], "yes"), ([0, 1], 0.5), ([0, 2], True)])
def test_text_is_never_a_number_and_a_number_never_text(cells, positive):
    refuses(rf"^Label 'y': no training row has the positive value {positive!r}\. Found: \[.*\]\. Set `positive` to one of them",
            lambda: fitted(Label("y", positive=positive), pa.array(cells)))


@pytest.mark.parametrize("cells", [["a", None, "b"], [1, None, 0], [1.0, NAN, 0.0], [True, None, False]])
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_row_without_a_label_is_named(cells, kind):
    if kind == "regression" and cells[0] == "a":
        cells = ["1", None, "2"]
    label = Label("y", kind) if kind == "regression" else Label("y", positive=cells[0])
    rule = "present" if kind == "binary" else "a finite number"
    refuses(rf"^Label 'y': each row's label is {rule}\. Got (None|nan) in row 6\. Correct or leave out such rows \(1 in this",
            lambda: fitted(label, pa.array(cells).take(pa.array([0, 2, 0, 2, 0])), pa.array(cells)))


def test_an_unknown_value_is_named_when_encoding_and_when_carried_along():
    fit = LabelFit("y", "binary", "yes", "no")
    cells = pa.array(["no", None, "maybe", "yes", "perhaps"])
    refuses(r"Label 'y': each row's label is 'yes' or 'no'\. Got None in row 11\. .* \(3 in this part of the table\)",
            lambda: fit.encode(cells, (10).__add__))
    for act in (lambda: fit.known(cells, (10).__add__), lambda: fit.encode(cells.slice(2), (12).__add__)):
        refuses(r"Label 'y': each row's label is 'yes' or 'no'\. Got 'maybe' in row 12\. .* \(2 in this part", act)
    refuses(r"Got 2 in row 1", lambda: LabelFit("y", "binary", 1, 0).encode(pa.array([1, 2])))


@pytest.mark.parametrize(("positive", "negative"), [(1.0, 0.0), ("yes", "no"), (True, False), (1, 0)])
def test_labels_that_are_there_are_carried_along_and_others_are_null(positive, negative):
    fit = fitted(Label("y", positive=positive), pa.array([positive, negative]))
    array = pa.array([None, positive, NAN if isinstance(positive, float) else None])
    assert fit.known(array).to_pylist() == fit.known(array.dictionary_encode()).to_pylist() == [None, 1, None]
    assert fit.known(pa.nulls(2)).to_pylist() == [None, None]
    assert fit.known(array.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize(("cells", "declared", "message"), [
    ([1, 1], {}, r"the training rows hold one class only, 1\. Both classes are needed"),
    ([0, 0], {}, r"no training row has the positive value 1\. Found: \[0\]"),
    ([2, 0, 1], {}, r"a binary label has two values\. Got \[0, 1, 2\]\. Leave out the other rows, make a column that is true"),
    (["a", "b"], {"positive": "a", "negative": "c"}, r"a binary label has two values, here 'a' and 'c'\. Got \['a', 'b'\]"),
    (["a", "b", "c"], {"positive": "a", "negative": "c"}, r"two values, here 'a' and 'c'\. Got \['a', 'b', 'c'\]"),
    ([0, 1], {"negative": "0"}, r"two values, here 1 and '0'\. Got \[0, 1\]"),
    ([1.0, INFINITY], {}, r"values are finite\. Got \[1.0, inf\]"),
    (list(range(2000)), {}, r"a binary label has two values\. Got more than 1000 values\. .* kind = \"regression\""),
    ([[1], [0]], {}, r"a label is one value per row\. Got list<item: int64>"),
    ([datetime.date(2024, 1, 1)], {}, r"Column 'y': a feature is text, .*Got date32"),
])
def test_a_label_that_is_not_binary_is_refused(cells, declared, message):
    refuses(message, lambda: fitted(Label("y", **declared), pa.array(cells)))


@given(NUMBERS, st.integers(0, 19))
def test_a_number_is_scaled_and_comes_back_whatever_the_batches(numbers, cut):
    array = pa.array(numbers)
    fit = fitted(Label("y", "regression"), array.slice(0, cut), array.slice(cut))
    assert fit == fitted(Label("y", "regression"), array.take(pa.array(range(len(array))[::-1])))
    labels = fit.encode(array)
    assert labels.dtype == np.float32
    assert labels.mean(dtype=float) == pytest.approx(0, abs=1e-5) and labels.std(dtype=float) == pytest.approx(1, rel=1e-5)
    assert fit.decode(labels) == pytest.approx(numbers, abs=OP * (abs(fit.mean) + 10 * fit.deviation))
    assert fit.known(array).to_pylist() == [x + 0.0 for x in numbers]


@pytest.mark.parametrize("cells", [[1, 3], [True, False], ["1.5", "-2"], [1.5, 2.5]])
def test_a_regression_reads_integers_booleans_and_text(cells):
    fit = fitted(Label("y", "regression"), pa.array(cells))
    assert fit.decode(fit.encode(pa.array(cells))).tolist() == [float(cell) for cell in cells]


@pytest.mark.parametrize(("cells", "message"), [
    ([2.0, 2.0], r"the training rows must have different labels\. Got 2.0 in every row"),
    ([1.0, INFINITY], r"each row's label is a finite number\. Got inf in row 1"),
    ([1.0, -INFINITY], r"each row's label is a finite number\. Got -inf in row 1"),
    (["1", "many"], r"Column 'y': a numeric column holds numbers\. Got 'many' in row 1"),
])
def test_a_number_that_teaches_nothing_or_is_none_is_refused(cells, message):
    refuses(message, lambda: fitted(Label("y", "regression"), pa.array(cells)))


def test_numbers_that_are_not_finite_are_named_when_carried_along_and_missing_ones_are_null():
    fit = LabelFit("y", "regression", mean=1.0, deviation=2.0)
    assert fit.known(pa.array([1.5, None, NAN])).to_pylist() == [1.5, None, None]
    refuses(r"each row's label is a finite number\. Got inf in row 3",
            lambda: fit.known(pa.array([None, INFINITY]), (2).__add__))
