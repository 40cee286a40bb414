"""Was the joint model worth it on census income? Every arm, on UCI Adult, official test rows.

    python benchmarks/census.py [--out DIR] [--seeds 5] [--trials 4] [--axes width,depth,embedding] [--jobs 2] [--save]

A study that was stopped goes on where it was. `make study` runs it without tuning, sizes along width only.
"""

from __future__ import annotations

from dataclasses import replace

import study_command
from widedeep.datasets import load_adult

HIDDEN = (64, 32)
"""Layers of the deep tower at size 1, so small that eight times its size is soon trained."""


def main() -> None:
    chosen = study_command.options(__doc__, trials=4, axes="width,depth,embedding").parse_args()
    data = load_adult()
    schema = replace(data.schema, deep=replace(data.schema.deep, hidden=HIDDEN))
    study_command.run("census", chosen, data.train, schema, test=data.test)


if __name__ == "__main__":
    main()
