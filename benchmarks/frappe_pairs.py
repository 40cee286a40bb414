"""Was the joint model worth it for apps a user never had? Frappe by distinct pair: every arm, negatives of two kinds.

    python benchmarks/frappe_pairs.py --data PATH [--negatives uniform|popular] [--out DIR] [--seeds 5] [--trials 3] [--save]

PATH holds log.parquet (user, item, …) and apps.parquet (item, category, …). Each (user, app) pair counts once, and is of the
training, the validation or the test rows. A row's history is what the user had in training: in training rows a positive loses
the candidate and a negative one random app, in the others neither loses any; so its length says nothing of the label. Negatives
of the training rows are apps that the user does not have in training: what he installs later may be among them, or whoever
remembers them would know what he never installs. Negatives of the others are apps that he has in no part. How often an app was
used (`cnt`) is no feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import study_command
import widedeep as wd

SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}
NEGATIVES = 2
"""Negatives of each positive, of the same user."""

CROSSES = {"item": 1_000_000, "category": 100_000}
KINDS = ("uniform", "popular")
SEARCH = {"training.wide.rate": wd.Between(0.002, 0.1), "training.wide.l1": wd.OneOf((1.0, 3.0, 6.0)),
          "training.deep.rate": wd.Between(0.01, 0.05), "deep.dropout": wd.OneOf((0.2, 0.4)), "deep.l2": wd.Between(30, 300)}


def schema() -> wd.Schema:
    """The user, the candidate and its category, the user's apps, and every installed × candidate pair.

    Where a trial starts, and the space around it, were found by hand on validation rows, for the deep and the joint model. The
    wide part is slow there: a fast one has learned all it can before the deep one has begun, and training on one loss ends.
    """
    ids = ("user", "item", "category", "apps")
    columns = {name: wd.Categorical() for name in ids} | {"apps": wd.Categorical(combiner="sqrtn")}
    columns |= {f"apps x {name}": wd.Crossed(("apps", name), bins) for name, bins in CROSSES.items()}
    training = wd.Training(batch=512, epochs=30, patience=3, wide=wd.Optimizer("ftrl", rate=0.005, l1=1.0),
                           deep=wd.Optimizer("adagrad", rate=0.02))
    return wd.Schema(wd.Label("label"), columns, wide=wd.Wide((*ids, "apps x item", "apps x category")),
                     deep=wd.Deep(ids, hidden=(256, 128), dropout=0.4, width=32, l2=100.0), training=training, search=SEARCH)


def parts(log: pd.DataFrame, apps: pd.DataFrame, kind: str, seed: int = 0) -> dict[str, pa.Table]:
    """Training, validation and test rows with negatives of a kind: `uniform` over apps, or `popular` as training pairs are."""
    rng = np.random.default_rng(seed)
    pairs, part = divided(log, rng)
    train = pairs[part == "train"]
    owned, history = {"train": of_users(train, set)}, of_users(train, list)
    popularity = train["item"].value_counts().reindex(apps["item"], fill_value=0).to_numpy(float)
    weights = (popularity if kind == "popular" else np.ones(len(apps))) / (popularity.sum() if kind == "popular" else len(apps))
    category = dict(zip(apps["item"], apps["category"]))
    owned |= dict.fromkeys(("valid", "test"), of_users(pairs, set))
    return {name: _rows(pairs[part == name], name, owned[name], history, (apps["item"].to_numpy(), weights), category, rng)
            for name in SHARES}


def divided(log: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Every (user, app) pair of the log, once, and the part it is of."""
    pairs = log[["user", "item"]].drop_duplicates().sort_values(["user", "item"], ignore_index=True)
    return pairs, rng.choice(list(SHARES), len(pairs), p=list(SHARES.values()))


def of_users(pairs: pd.DataFrame, kind: type) -> dict[int, Any]:
    """Each user's apps."""
    return pairs.groupby("user")["item"].agg(kind).to_dict()


def _rows(pairs: pd.DataFrame, part: str, owned: dict[int, set], history: dict[int, list], drawn_from: tuple, category: dict,
          rng: np.random.Generator) -> pa.Table:
    found: dict[str, list] = {name: [] for name in ("label", "user", "item", "category", "apps")}
    for user, item in pairs.itertuples(index=False):
        for label, candidate in [(1, item), *((0, other) for other in _negatives(owned[user], drawn_from, rng))]:
            mine = list(history.get(user, []))
            if part == "train":
                mine.remove(candidate if label else rng.choice(mine))
            for name, value in zip(found, (label, user, candidate, category[candidate], mine)):
                found[name].append(value)
    kinds = pa.schema([("label", pa.int8()), ("user", pa.int64()), ("item", pa.int64()), ("category", pa.string()),
                       ("apps", pa.list_(pa.int64()))])
    return pa.table(found, schema=kinds)


def _negatives(owned: set, drawn_from: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> list[int]:
    """Apps that the user does not have."""
    found: list[int] = []
    while len(found) < NEGATIVES:
        found += [item for item in rng.choice(drawn_from[0], 4, p=drawn_from[1]).tolist() if item not in owned]
    return found[:NEGATIVES]


def main() -> None:
    parser = study_command.options(__doc__, trials=3, axes="width")
    parser.add_argument("--data", required=True, help="the folder of the log and the apps")
    parser.add_argument("--negatives", choices=KINDS, default=KINDS[0], help="how negatives are drawn (default uniform)")
    chosen = parser.parse_args()
    log, apps = (pq.read_table(Path(chosen.data) / f"{name}.parquet").to_pandas() for name in ("log", "apps"))
    rows = parts(log, apps, chosen.negatives)
    study_command.run(f"frappe_pairs_{chosen.negatives}", chosen, rows.pop("train"), schema(), **rows)


if __name__ == "__main__":
    main()
