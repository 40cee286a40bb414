"""Was the joint model worth it on Frappe_x1, the app-usage log that rewards memorisation? Every arm, the published split.

    python benchmarks/frappe.py --data PATH [--out studies/frappe] [--seeds 5] [--trials 4] [--axes width] [--jobs 2] [--save]

PATH holds x1_train.parquet, x1_valid.parquet and x1_test.parquet, with text or numbers in the columns below and `label`.
"""

from __future__ import annotations

from pathlib import Path

import study_command
import widedeep as wd

CONTEXT = ("daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
USER_ITEM_BINS, CONTEXT_BINS = 400_000, 60_000


def schema() -> wd.Schema:
    """Every column embedded and memorised; user × item, and item × each context, crossed for the wide tower."""
    ids = {name: wd.Categorical() for name in ("user", "item", *CONTEXT)}
    crosses = {"user x item": wd.Crossed(("user", "item"), USER_ITEM_BINS)}
    crosses |= {f"item x {name}": wd.Crossed(("item", name), CONTEXT_BINS) for name in CONTEXT}
    training = wd.Training(batch=1024, epochs=40, patience=4, wide=wd.Optimizer("ftrl", rate=0.1, l1=1.0),
                           deep=wd.Optimizer("adagrad", rate=0.05))
    return wd.Schema(wd.Label("label"), {**ids, **crosses}, wide=wd.Wide((*ids, *crosses)),
                     deep=wd.Deep(tuple(ids), hidden=(400, 400, 400), dropout=0.2, width=10), training=training)


def main() -> None:
    parser = study_command.options(__doc__, "frappe", trials=4, axes="width")
    parser.add_argument("--data", required=True, help="the folder of the Frappe_x1 split")
    chosen = parser.parse_args()
    train, valid, test = (Path(chosen.data) / f"x1_{part}.parquet" for part in ("train", "valid", "test"))
    study_command.run("frappe", chosen, train, schema(), valid=valid, test=test)


if __name__ == "__main__":
    main()
