"""Was the joint model worth it on Frappe_x1, the app-usage log that rewards memorisation? Every arm, the published split.

    python benchmarks/frappe.py --data PATH [--out studies/frappe] [--seeds 5] [--trials 2] [--axes width] [--jobs 2] [--save]

PATH holds x1_train.parquet, x1_valid.parquet and x1_test.parquet, with text or numbers in the columns below and `label`.
"""

from __future__ import annotations

from pathlib import Path

import study_command
import widedeep as wd

CONTEXT = ("daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
USER_ITEM_BINS, CONTEXT_BINS = 2_000_000, 300_000
SEARCH = {"training.wide.rate": wd.Between(0.05, 0.2), "training.wide.l1": wd.OneOf((0.2, 0.5, 1.0, 2.0)),
          "training.deep.rate": wd.Between(0.02, 0.08), "deep.dropout": wd.OneOf((0.1, 0.2, 0.3)),
          "deep.l2": wd.Between(50, 200)}


def schema() -> wd.Schema:
    """Every column embedded and memorised; user × item, and item × each context, crossed for the wide tower.

    Where a trial starts, and the space around it, were found by hand on validation rows, for the deep and the joint model.
    """
    ids = {name: wd.Categorical() for name in ("user", "item", *CONTEXT)}
    crosses = {"user x item": wd.Crossed(("user", "item"), USER_ITEM_BINS)}
    crosses |= {f"item x {name}": wd.Crossed(("item", name), CONTEXT_BINS) for name in CONTEXT}
    training = wd.Training(batch=512, epochs=30, patience=3, wide=wd.Optimizer("ftrl", rate=0.1, l1=0.5),
                           deep=wd.Optimizer("adagrad", rate=0.04))
    deep = wd.Deep(tuple(ids), hidden=(128, 128, 128), batch_norm=True, dropout=0.2, width=20, precision="bf16", l2=100.0)
    return wd.Schema(wd.Label("label"), {**ids, **crosses}, wide=wd.Wide((*ids, *crosses)), deep=deep, training=training,
                     search=SEARCH)


def main() -> None:
    parser = study_command.options(__doc__, trials=2, axes="width")
    parser.add_argument("--data", required=True, help="the folder of the Frappe_x1 split")
    chosen = parser.parse_args()
    train, valid, test = (Path(chosen.data) / f"x1_{part}.parquet" for part in ("train", "valid", "test"))
    study_command.run("frappe", chosen, train, schema(), valid=valid, test=test)


if __name__ == "__main__":
    main()
