"""The generated blocks of docs/ablation.md, from the kept reports of studies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from record import RESULTS, table

STUDIES = ("census", "frappe", "frappe_pairs_uniform", "frappe_pairs_popular")
"""Studies whose report is kept."""


def _report(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name / "report.json").read_text(encoding="utf-8"))


def verdicts(name: str) -> str:
    """The declared questions of a study and their answers."""
    found = _report(name)
    rows = [(pair.replace("-", " − ", 1), f"{one['difference']:+.5f}", f"{one['low']:+.5f} to {one['high']:+.5f}",
             f"{one['p']:.2g}", one["text"]) for pair, one in found["questions"].items() if one["declared"]]
    study, unfinished = found["study"], len(found["unfinished"])
    said = (f"{len(study['seeds'])} seeds; {study['rows']['train']:,} training, {study['rows']['valid']:,} validation and "
            f"{study['rows']['test']:,} test rows; {study['trials']} settings tried per arm; {study['date']}, "
            f"TensorFlow {study['versions']['tensorflow']}.")
    budget = "{runs} runs and {trials} trials took {hours:.1f} hours of one thread".format(**study["budget"])
    more = f" Budget: {budget}." + (f" Unfinished: {unfinished} runs." if unfinished else "")
    return table("difference in AUC | mean | interval | p | verdict", *rows) + f"\n\n{said}{more}"


def gains(name: str) -> str:
    """What joint gains on positives of each kind, and what the report says of sizes."""
    found = _report(name)
    rows = [(f"{kind} ({part['rows']:,})", *(_gain(part["gain"].get(f"joint-{other}")) for other in ("wide", "deep", "deeper")))
            for kind, part in found["slices"].items()]
    said = [text for text in (*found["capacity"].values(), found["compute"]) if text]
    return table("positives | joint − wide | joint − deep | joint − deeper", *rows) + "\n\n" + " ".join(said)


def _gain(gain: dict[str, float] | None) -> str:
    return "–" if gain is None else f"{gain['difference']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"


def arms(name: str) -> str:
    """Every arm's figures."""
    found = _report(name)
    rows = []
    for arm, figures in found["arms"].items():
        loss, entropy, ratio = (figures[name]["mean"] for name in ("logloss", "normalized_entropy", "calibration_ratio"))
        rows.append((arm, _cell(figures["auc"]), f"{loss:.4f}", f"{entropy:.4f}", f"{ratio:.3f}",
                     _weights(found["about"][arm])))
    return table("arm | AUC, 95 % interval of its mean | log loss | normalized entropy | calibration | touched weights", *rows)


def _cell(auc: dict[str, float]) -> str:
    spread = "" if auc["low"] is None else f" ({auc['low']:.4f} to {auc['high']:.4f})"
    return f"{auc['mean']:.4f}{spread}"


def _weights(about: dict[str, Any]) -> str:
    towers = about.get("parameters")
    return f"{sum(tower['touched'] for tower in towers.values()):,.0f}" if towers else "–"


TITLES = {"census": "census income (UCI Adult)", "frappe": "app usage, pairs repeat (Frappe_x1)",
          "frappe_pairs_uniform": "new apps, uniform negatives (Frappe)",
          "frappe_pairs_popular": "new apps, negatives as popular as positives (Frappe)"}


def worth() -> str:
    """Joint beside wide and beside the same-size deep tower, in every study."""
    rows = []
    for name in STUDIES:
        questions = _report(name)["questions"]
        rows.append((TITLES[name], *(_gain(questions[f"joint-{other}"]) for other in ("wide", "deep", "deeper")),
                     questions["joint-deeper"]["verdict"]))
    return table("AUC of joint minus that of | wide | deep | deep of joint's size | the last one's verdict", *rows)


ABLATION_BLOCKS: dict[str, Callable[[], str]] = {"worth": worth} | {
    f"{name}_{function.__name__}": (lambda function=function, name=name: function(name))
    for name in STUDIES for function in (verdicts, arms, gains)}
