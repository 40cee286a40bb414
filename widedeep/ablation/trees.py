"""Gradient boosting on the same rows, as a yardstick from outside: LightGBM, an optional extra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from widedeep.ablation.study import Outcome, Study
from widedeep.columns import Bucketized, Crossed, Numeric
from widedeep.encoder import Encoder
from widedeep.layout import TowerLayout
from widedeep.rows import Rows
from widedeep.schema import Schema, Wide
from widedeep.tables import Table

SETTINGS = {"objective": "binary", "metric": "auc", "learning_rate": 0.05, "num_leaves": 31, "bagging_fraction": 0.8,
            "bagging_freq": 1, "feature_fraction": 0.8, "verbosity": -1, "num_threads": 1, "deterministic": True}
ROUNDS, PATIENCE = 2_000, 50


def raw(schema: Schema) -> Schema:
    """The columns that trees read: all that a tower reads, without crosses, and without buckets of numbers that are there."""
    names = dict.fromkeys((*schema.wide.columns, *schema.deep.columns))
    columns = {name: schema.columns[name] for name in names}
    numbers = {column.source or name for name, column in columns.items() if isinstance(column, Numeric)}
    kept = tuple(name for name, column in columns.items() if not isinstance(column, Crossed)
                 and not (isinstance(column, Bucketized) and (column.source or name) in numbers))
    return replace(schema.only("wide"), wide=Wide(kept))


def train(study: Study, schema: Schema, seed: int, is_trial: bool = False) -> Outcome:
    """Boosted until the validation rows stop gaining. Columns of lists are left out: trees cannot read them."""
    import lightgbm

    columns = raw(schema)
    encoder = Encoder.fit(columns, Table.of(study.part("train"), columns))
    wide = encoder.layout("wide")
    rows = {part: encoder.rows(Table.of(study.part(part), columns)) for part in ("train", "valid", "test")}
    matrices = {part: _matrix(wide, found) for part, found in rows.items()}
    names = [name for table in wide.tables for name in table.singles]
    categories = [place for place, name in enumerate(names) if not isinstance(columns.columns[name], Bucketized)]
    sets = {part: lightgbm.Dataset(matrices[part], rows[part].labels, weight=rows[part].weights, free_raw_data=False,
                                   categorical_feature=categories) for part in ("train", "valid")}
    curve: dict[str, dict[str, list[float]]] = {}
    stopping = lightgbm.early_stopping(PATIENCE, verbose=False)
    model = lightgbm.train(SETTINGS | {"seed": seed}, sets["train"], ROUNDS, valid_sets=[sets["valid"]], valid_names=["valid"],
                           callbacks=[stopping, lightgbm.record_evaluation(curve)])
    logits = {part: model.predict(matrices[part], raw_score=True) for part in ("valid", "test")}
    leaves = sum(tree["num_leaves"] for tree in model.dump_model()["tree_info"][:model.best_iteration])
    areas = curve["valid"]["auc"]
    record = {"valid": max(areas), "curve": areas[::PATIENCE], "best_epoch": model.best_iteration,
              "flat": model.best_iteration < ROUNDS,
              "parameters": {"trees": {"allocated": leaves, "touched": leaves, "nonzero": leaves}}}
    return Outcome(logits["valid"], logits["test"], record)


def _matrix(wide: TowerLayout, rows: Rows) -> np.ndarray:
    """Ids within their columns, then numbers: float64 (rows, columns)."""
    parts = [rows.features[table.matrix] - [table.offsets[name] for name in table.singles]
             for table in wide.tables if table.singles]
    if wide.values:
        parts.append(rows.features[wide.matrix])
    return np.concatenate(parts, axis=1).astype(np.float64)
