"""The label fitted on training rows: two classes or a scaled number, and the way back from an output to either."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from widedeep.errors import DataError
from widedeep.schema import Label
from widedeep.sketches import ExactMoments, ValueCounts
from widedeep.values import CANONICAL, Place, categories, element_type, is_list, kind_of, numbers


@dataclass(frozen=True)
class LabelFit:
    """Binary: 1 for `positive`, 0 for `negative`. Regression: (number − mean) / deviation.

    >>> LabelFit("y", "binary", "yes", "no").encode(pa.array(["no", "yes"]))
    array([0., 1.], dtype=float32)
    """

    column: str
    kind: str
    positive: str | int | float | None = None
    negative: str | int | float | None = None
    mean: float = 0.0
    deviation: float = 1.0

    def encode(self, array: pa.Array, first_row: int = 0) -> np.ndarray:
        """Labels float32 (n,). Raises: DataError naming the first row with no label or an unknown one."""
        if self.kind == "regression":
            values = numbers(array, Place(self.column, first_row))
            _refuse(self.column, ~np.isfinite(values), array, first_row, "a finite number")
            return ((values - self.mean) / self.deviation).astype(np.float32)
        values = _classes(array, self.column, self.positive, first_row)
        found = np.append(np.asarray(pc.index_in(values.distinct, pa.array([self.negative, self.positive], values.distinct.type))
                                     .fill_null(-1)), -1)[values.codes]
        _refuse(self.column, found < 0, array, first_row, f"{self.positive!r} or {self.negative!r}")
        return found.astype(np.float32)


    def known(self, array: pa.Array, first_row: int = 0) -> pa.Array:
        """Labels as `encode` gives them where there is one, null where there is none: what predictions carry along."""
        there = np.asarray(array.is_valid())
        labels = np.zeros(len(array), np.float64)
        labels[there] = self.decode(self.encode(array.filter(pa.array(there)), first_row))
        return pa.array(labels, mask=~there)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Regression: outputs or encoded labels back in the label's units, float64; binary: as they are."""
        outputs = np.asarray(outputs, np.float64)
        return outputs * self.deviation + self.mean if self.kind == "regression" else outputs


def _refuse(column: str, wrong: np.ndarray, array: pa.Array, first_row: int, rule: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(f"Label {column!r}: each row's label is {rule}. Got {array[row].as_py()!r} in row {first_row + row}. "
                        f"Correct or leave out such rows ({int(wrong.sum())} in this part of the table).")


def _classes(array: pa.Array, column: str, positive: object, first_row: int):
    """A binary label's cells, in the type of the positive value."""
    if is_list(array.type):
        raise DataError(f"Label {column!r}: a label is one value per row. Got {array.type}.")
    kind = {bool: "bool", int: "int", float: "float", str: "string"}[type(positive)]
    if pa.types.is_boolean(element_type(array.type)):
        kind = "int" if kind in ("int", "float") else "string"
    if pa.types.is_floating(element_type(array.type)) and kind in ("int", "string"):
        kind = "float" if kind == "int" else kind
    if kind == "float" and pa.types.is_integer(element_type(array.type)):
        kind = "int" if float(positive).is_integer() else kind
    return categories(array, kind, Place(column, first_row))


class LabelAccumulator:
    """What one pass must know to fit the label; it checks the weights on the way."""

    def __init__(self, label: Label):
        self.label, self.moments, self.counts = label, ExactMoments(), None
        self.weighted = ValueCounts(limit=1000, name=label.column)

    def add(self, batch: pa.RecordBatch, first_row: int, weight: str | None) -> None:
        array = batch.column(self.label.column)
        if self.label.kind == "regression":
            values = numbers(array, Place(self.label.column, first_row))
            _refuse(self.label.column, ~np.isfinite(values), array, first_row, "a finite number")
            self.moments.add(values)
            return
        values = _classes(array, self.label.column, self.label.positive, first_row)
        _refuse(self.label.column, values.codes < 0, array, first_row, "present")
        self.weighted.add(values.present())

    def fit(self) -> LabelFit:
        label = self.label
        if label.kind == "regression":
            if not self.moments.deviation:
                raise DataError(f"Label {label.column!r}: every training row has the same label, {self.moments.mean}. Nothing can be learned.")
            return LabelFit(label.column, label.kind, mean=self.moments.mean, deviation=self.moments.deviation)
        values, _ = self.weighted.ranked()
        found = values.to_pylist()
        positive = _as_found(label.positive, values)
        negative = None if label.negative is None else _as_found(label.negative, values)
        others = [v for v in found if v != positive]
        if positive not in found:
            raise DataError(f"Label {label.column!r}: no training row has the positive value {label.positive!r}. Found: {found[:10]}.")
        if len(found) < 2:
            raise DataError(f"Label {label.column!r}: the training rows hold one class only, {found[0]!r}. Both classes are needed.")
        if negative is None and len(others) > 1 or negative is not None and others != [negative]:
            raise DataError(f"Label {label.column!r}: a binary label has two values. Got {found[:10]}. Leave out the other rows, "
                            f"or make a column that is true for {label.positive!r}.")
        return LabelFit(label.column, label.kind, positive, others[0])


def _as_found(value: object, values: pa.Array) -> object:
    """A declared label value in the canonical type of the values found."""
    if isinstance(value, bool):
        return ("true" if value else "false") if values.type == CANONICAL["string"] else int(value)
    return pa.scalar(value).cast(values.type).as_py()
