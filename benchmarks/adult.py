"""Wide, deep and joint on UCI Adult, official split, five seeds; beside a logistic regression and, if installed, LightGBM.

    python benchmarks/adult.py [--seeds 5] [--json]

All choices were made within the training rows (see `widedeep.datasets`); the test rows are scored once per finished run. The
result is written to benchmarks/results/adult.json when --save is given.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from importlib.util import find_spec

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

import widedeep as wd
from benchmarks.record import save, where_and_when
from widedeep.datasets import Dataset, load_adult
from widedeep.evaluation import metrics

FIGURES = ("auc", "logloss", "accuracy")


def main() -> None:
    arguments = _arguments()
    data = load_adult()
    rows = [row for arm in ("wide", "deep", "joint") for row in _runs(arm, data, arguments.seeds)]
    rows.append(_logistic_regression(data))
    rows += [_lightgbm(data)] if find_spec("lightgbm") else []
    result = {"figures": _summary(rows), "runs": rows, **where_and_when()}
    if arguments.save:
        save("adult", result)
    if arguments.json:
        print(json.dumps(result))
    else:
        _show(result["figures"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="runs per arm (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/adult.json")
    return parser.parse_args()


def _runs(arm: str, data: Dataset, seeds: int) -> list[dict]:
    schema = data.schema if arm == "joint" else data.schema.only(arm)
    return [_run(arm, schema, data, seed) for seed in range(seeds)]


def _run(arm: str, schema: wd.Schema, data: Dataset, seed: int) -> dict:
    start = time.perf_counter()
    model = wd.fit(schema, data.train, valid=0.1, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    figures = wd.evaluate(model, data.test)
    print(f"{arm} seed {seed}: auc {figures['auc']:.4f} in {seconds:.1f} s", file=sys.stderr)
    return {"arm": arm, "seed": seed, "seconds": seconds, "epochs": len(model.record["history"]), "valid_auc": model.record["metrics"]["auc"],
            "examples_per_s": model.record["examples_per_s"],
            "parameters": sum(tower["touched"] for tower in model.record["parameters"].values())} | {k: figures[k] for k in FIGURES}


def _features(data: Dataset) -> tuple[list[str], list[str]]:
    kinds = data.schema.columns
    numbers = [name for name, column in kinds.items() if isinstance(column, wd.Numeric)]
    return numbers, [name for name, column in kinds.items() if isinstance(column, wd.Categorical)]


def _frames(data: Dataset) -> tuple:
    """Training features, training labels, test features, test labels."""
    names = [*sum(_features(data), []), "income"]
    train, test = (table.read(names).to_pandas() for table in (data.train, data.test))
    return train.drop(columns="income"), train.income == ">50K", test.drop(columns="income"), test.income == ">50K"


def _logistic_regression(data: Dataset) -> dict:
    """One-hot logistic regression over 32 quantile buckets of each number: what a wide model without crosses is."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder

    numbers, categories = _features(data)
    train, labels, test, truth = _frames(data)
    start = time.perf_counter()
    buckets = KBinsDiscretizer(32, encode="onehot", strategy="quantile", quantile_method="averaged_inverted_cdf")
    model = make_pipeline(ColumnTransformer([("buckets", buckets, numbers), ("categories", OneHotEncoder(handle_unknown="ignore"), categories)]),
                          LogisticRegression(max_iter=1000))
    model.fit(train, labels)
    return _outside("logistic regression", truth, model.predict_proba(test)[:, 1], model[-1].coef_.size + 1, time.perf_counter() - start)


def _lightgbm(data: Dataset) -> dict:
    import lightgbm

    train, labels, test, truth = _frames(data)
    for name in _features(data)[1]:
        train[name] = train[name].astype("category")
        test[name] = test[name].astype(train[name].dtype)
    start = time.perf_counter()
    model = lightgbm.LGBMClassifier(n_estimators=300, learning_rate=0.05, num_leaves=31, verbose=-1, random_state=0).fit(train, labels)
    leaves = int(sum(tree["num_leaves"] for tree in model.booster_.dump_model()["tree_info"]))
    return _outside("lightgbm", truth, model.predict_proba(test)[:, 1], leaves, time.perf_counter() - start)


def _outside(arm: str, labels: np.ndarray, probabilities: np.ndarray, parameters: int, seconds: float) -> dict:
    scores = {k: metrics.METRICS[k] and getattr(metrics, k)(labels, probabilities) for k in FIGURES}
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


def _show(summary: dict) -> None:
    grid = Grid("model", "AUC", "log loss", "accuracy", "parameters", "seconds", title="UCI Adult, official test rows; mean of runs ± deviation")
    for arm, figures in summary.items():
        cells = [f"{figures[k]:.4f}" + (f" ± {figures[k + '_sd']:.4f}" if k + "_sd" in figures else "") for k in FIGURES]
        grid.add_row(arm, *cells, f"{figures['parameters']:,.0f}", f"{figures['seconds']:.1f}")
    Console(width=110).print(grid)
    print("Parameters are the weights that training rows touched (of trees: leaves); seconds are of one training, without scoring.")
    if "lightgbm" not in summary:
        print("LightGBM is not installed, so its row is left out: pip install lightgbm")


if __name__ == "__main__":
    main()
