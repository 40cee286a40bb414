"""Wide, deep and joint on UCI Adult, official split, five seeds; beside a logistic regression and LightGBM.

    python benchmarks/adult.py [--seeds 5] [--json] [--save]

All choices were made within the training rows (see `widedeep.datasets`); the test rows are scored once per finished run.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid
from scipy.sparse import csr_matrix

import record
import widedeep as wd
from widedeep.datasets import Dataset, load_adult
from widedeep.evaluation import metrics
from widedeep.rows import Rows

FIGURES = ("auc", "logloss", "accuracy")


def main() -> None:
    parser = record.options(__doc__, "adult")
    parser.add_argument("--seeds", type=int, default=5, help="runs per arm (default 5)")
    chosen = parser.parse_args()
    data = load_adult()
    runs = [run for arm in ("wide", "deep", "joint") for run in _runs(arm, data, chosen.seeds)]
    runs += [_logistic_regression(data), *_lightgbm(data)]
    record.publish("adult", {"figures": _summary(runs), "runs": runs}, chosen, _show)


def _runs(arm: str, data: Dataset, seeds: int) -> list[dict]:
    schema = data.schema if arm == "joint" else data.schema.only(arm)
    return [_run(arm, schema, data, seed) for seed in range(seeds)]


def _run(arm: str, schema: wd.Schema, data: Dataset, seed: int) -> dict:
    start = time.perf_counter()
    model = wd.fit(schema, data.train, valid=0.1, seed=seed, progress=False)
    seconds, asked = time.perf_counter() - start, model.record
    figures = wd.evaluate(model, data.test)
    print(f"{arm} seed {seed}: auc {figures['auc']:.4f} in {seconds:.1f} s", file=sys.stderr)
    return {"arm": arm, "seed": seed, "seconds": seconds, "epochs": len(asked["history"]), "valid_auc": asked["metrics"]["auc"],
            "examples_per_s": asked["examples_per_s"],
            "parameters": sum(tower["touched"] for tower in asked["parameters"].values())} | {k: figures[k] for k in FIGURES}


def _logistic_regression(data: Dataset) -> dict:
    """L2 logistic regression over the wide tower's ids without crosses: 32 quantile buckets of each number, one-hot."""
    from sklearn.linear_model import LogisticRegression

    raw = tuple(name for name in data.schema.wide.columns if not isinstance(data.schema.columns[name], wd.Crossed))
    schema = replace(data.schema.only("wide"), wide=wd.Wide(raw))
    start = time.perf_counter()
    encoder = wd.Encoder.fit(schema, data.train)
    train, test = encoder.rows(data.train), encoder.rows(data.test)
    model = LogisticRegression(max_iter=1000).fit(_one_hot(encoder, train), train.labels)
    seconds = time.perf_counter() - start
    probabilities = model.predict_proba(_one_hot(encoder, test))[:, 1]
    return _outside("logistic regression", test.labels, probabilities, model.coef_.size + 1, seconds)


def _one_hot(encoder: wd.Encoder, rows: Rows) -> csr_matrix:
    ids = rows.features["wide/ids"]
    each = np.arange(0, ids.size + 1, ids.shape[1])
    return csr_matrix((np.ones(ids.size), ids.ravel(), each), shape=(len(ids), encoder.layout("wide").tables[0].rows))


def _frames(data: Dataset) -> tuple:
    """Training features, training labels, test features, test labels, with categories in one coding."""
    kinds = {name: column for name, column in data.schema.columns.items() if isinstance(column, (wd.Numeric, wd.Categorical))}
    train, test = (table.read([*kinds, "income"]).to_pandas() for table in (data.train, data.test))
    for name in (n for n, column in kinds.items() if isinstance(column, wd.Categorical)):
        train[name] = train[name].astype("category")
        test[name] = test[name].astype(train[name].dtype)
    return train.drop(columns="income"), train.income == ">50K", test.drop(columns="income"), test.income == ">50K"


def _lightgbm(data: Dataset) -> list[dict]:
    """Gradient boosting at its usual settings; nothing where it cannot be imported."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        print(f"LightGBM is left out: {error}. Try: pip install 'widedeep[lightgbm]'", file=sys.stderr)
        return []
    train, labels, test, truth = _frames(data)
    start = time.perf_counter()
    settings = {"n_estimators": 300, "learning_rate": 0.05, "num_leaves": 31, "verbose": -1, "random_state": 0}
    model = lightgbm.LGBMClassifier(**settings).fit(train, labels)
    leaves = int(sum(tree["num_leaves"] for tree in model.booster_.dump_model()["tree_info"]))
    return [_outside("lightgbm", truth, model.predict_proba(test)[:, 1], leaves, time.perf_counter() - start)]


def _outside(arm: str, labels: np.ndarray, probabilities: np.ndarray, parameters: int, seconds: float) -> dict:
    scores = {name: getattr(metrics, name)(labels, probabilities) for name in FIGURES}
    return {"arm": arm, "seed": 0, "seconds": seconds, "parameters": parameters} | scores


def _summary(rows: list[dict]) -> dict:
    """Per arm: mean, and over several runs the standard deviation, of each figure."""
    summary = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        runs = [row for row in rows if row["arm"] == arm]
        names = [name for name in runs[0] if name not in ("arm", "seed")]
        summary[arm] = {"runs": len(runs)} | {name: statistics.fmean(row[name] for row in runs) for name in names}
        if len(runs) > 1:
            summary[arm] |= {f"{name}_sd": statistics.stdev(row[name] for row in runs) for name in FIGURES}
    return summary


def _show(result: dict[str, Any]) -> None:
    title = "UCI Adult, official test rows; mean of runs ± deviation"
    grid = Grid("model", "AUC", "log loss", "accuracy", "parameters", "seconds", title=title)
    for arm, figures in result["figures"].items():
        grid.add_row(arm, *(cell(figures, name) for name in FIGURES), f"{figures['parameters']:,.0f}",
                     f"{figures['seconds']:.1f}")
    Console(width=110).print(grid)
    print("Parameters: weights that training rows touched (of trees: leaves); seconds: of one training, without scoring.")


def cell(figures: dict[str, float], name: str) -> str:
    """A figure with its deviation over runs, if there were several."""
    return f"{figures[name]:.4f}" + (f" ± {figures[name + '_sd']:.4f}" if name + "_sd" in figures else "")


if __name__ == "__main__":
    main()
