"""What the scripts that run a study share: options, the way through it, and where its report is kept."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from typing import Any

import record
import widedeep as wd
from widedeep.ablation import ablate, page
from widedeep.ablation.report import summarise
from widedeep.tables import Table

KEPT = ("report.json", "report.md", "report.html")


def options(description: str, trials: int, axes: str) -> argparse.ArgumentParser:
    """The options of a study's script."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", help="the study's folder (default studies/ and its name)")
    parser.add_argument("--seeds", type=int, default=5, help="runs per arm (default 5)")
    parser.add_argument("--trials", type=int, default=trials, help=f"settings tried per arm (default {trials})")
    parser.add_argument("--axes", default=axes, help=f"how the deep tower grows (default {axes})")
    parser.add_argument("--arms", help="arms to train, with commas between (default all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--save", action="store_true", help="keep the report in benchmarks/results/ and its name")
    return parser


def run(name: str, chosen: argparse.Namespace, table: Any, schema: wd.Schema, **parts: Table) -> None:
    """Carry a study out, report it, and keep the report if that was asked for."""
    study = ablate.prepared(table, schema, chosen.out or f"studies/{name}", seeds=chosen.seeds, trials=chosen.trials,
                            axes=tuple(chosen.axes.split(",")), arms=chosen.arms and tuple(chosen.arms.split(",")), **parts)
    for task, why in ablate.carry_out(study, chosen.jobs).items():
        print(f"failed twice: {task.place}: {why}", file=sys.stderr)
    found = summarise(study)
    page.write(found, study.folder)
    if chosen.save:
        kept = record.RESULTS / name
        kept.mkdir(parents=True, exist_ok=True)
        for file in KEPT:
            shutil.copy(study.folder / file, kept / file)
        shutil.rmtree(kept / "figures", ignore_errors=True)
        shutil.copytree(study.folder / "figures", kept / "figures")
    if chosen.json:
        print(json.dumps(found))
        return
    for pair, question in found["questions"].items():
        print(f"{pair:<28} {'*' if question['declared'] else ' '} {question['text']}")
    print(f"* declared beforehand; the report is {study.folder / 'report.html'}")
