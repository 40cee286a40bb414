"""Are a recommender's probabilities right? MovieLens: what users took next, beside what was said of it just before.

    python benchmarks/recommend_calibration.py --data PATH [--quick] [--seeds 5] [--json] [--save]

Rankers with the settings that `movielens.py` chose are trained on what came before its validation cut, and asked before each
later interaction how likely each of 500 films is to be the next. What they said of the first 1, 10 and 100 of a list is held
against how often the next film was among these, over all events whose film was ranked: `probability` is about these. No test
row is read. Figures are means of seeds; intervals are over users.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import movielens
import recommend_arms as arms
import record
from widedeep.evaluation.clustered import interval
from widedeep.recommend import splits
from widedeep.recommend.catalogue import Known, Names
from widedeep.recommend.histories import Histories
from widedeep.recommend.lists import shares
from widedeep.recommend.ranker import AT_ONCE
from widedeep.recommend.recommender import Recommender
from widedeep.rows import Bag

NAME, FIRST = "recommend_calibration", (1, 10, 100)


class Then:
    """Histories of some users as they were at some moment: a bag with a row for each."""

    def __init__(self, taken: Bag):
        self.taken = taken

    def of_users(self, users: np.ndarray) -> Bag:
        """Theirs: all of them are asked for at once."""
        if len(users) != len(self.taken):
            raise ValueError(f"{len(users)} users are asked for, {len(self.taken)} are known.")
        return self.taken


def said_and_came(found: Recommender, histories: Histories, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each event (a place in `histories`) the scores of the list before it, and which was taken: (events, 500) each."""
    parts = []
    for start in range(0, len(events), AT_ONCE):
        some = events[start:start + AT_ONCE]
        then = Then(histories.before(some, len(histories.user)))
        lists = found.lists(histories.user[some], arms.DEPTH, depth=arms.DEPTH, history=then)
        parts.append((lists.scores, lists.items == histories.taken.flat[some][:, None]))
    scores, came = (np.concatenate(part) for part in zip(*parts))
    return scores, came


def ratio(said: np.ndarray, came: np.ndarray, users: np.ndarray) -> dict[str, float]:
    """Said ÷ came, of sums over events (n,), with an interval over users."""
    value = said.sum() / came.sum()
    found = interval(float(value), (said - value * came) / came.sum(), np.unique(users, return_inverse=True)[1])
    return {"mean": float(value), "low": found.low, "high": found.high}


def whole(said: np.ndarray, came: np.ndarray, users: np.ndarray) -> dict[str, Any]:
    """What the chances of 500 films added up to, and how often the next film was one of them."""
    return {"said": float(said.mean()), "came": float(came.mean()), "ratio": ratio(said, came, users)}


def judged(chances: np.ndarray, came: np.ndarray, users: np.ndarray) -> dict[str, Any]:
    """Mean log loss of the film that came, and by length of list what was said, how often it came, and the ratio."""
    first = {str(k): {"said": float(chances[:, :k].sum(1).mean()), "came": float(came[:, :k].sum(1).mean()),
                      "ratio": ratio(chances[:, :k].sum(1), came[:, :k].sum(1), users)} for k in FIRST}
    return {"log_loss": float(-(np.log(np.maximum(chances, 1e-9)) * came).sum(1).mean()), "first": first}


def measured(folder: str, seeds: int, quick: bool) -> dict[str, Any]:
    """By ranker what `judged` says, over the mean of seeds; `raw` as it would be without what held-out interactions said."""
    log, likes = movielens.tables(folder)
    known = splits.by_time(log, share=movielens.SHARE).train
    cut = splits.by_time(known, share=movielens.SHARE)
    histories = Known.of(likes.schema, Names("user", "item", "time"), known, items=likes.items).histories
    order = np.argsort(known.user, kind="stable")
    events = np.flatnonzero(np.isin(known.pairs, cut.test.pairs)[order])[:500 if quick else None]
    settings = record.committed("movielens")["settings"]
    systems = {}
    for system in arms.RANKERS:
        runs, wholes, temperatures = [], [], []
        for seed in range(seeds):
            cell = arms.Cell(NAME, "validation", system, movielens.QUICK if quick else settings[system], seed)
            recommender = arms.fitted(cell, likes.schema, cut.train, likes.items).recommender
            scores, came = said_and_came(recommender, histories, events)
            asked = recommender.retriever.described(histories.user[events], histories.before(events, len(histories.user)))
            ranked = came.any(1) & asked
            next_item = recommender.ranker.next_item
            raw = (scores[ranked] - next_item.shift) * next_item.temperature
            runs.append((shares(scores[ranked]), shares(raw), came[ranked], histories.user[events[ranked]]))
            temperatures.append(next_item.temperature)
            wholes.append((np.exp(scores[asked]).sum(1), came[asked].any(1).astype(float), histories.user[events[asked]]))
        chances, raw, came, users = (np.concatenate(part) for part in zip(*runs))
        systems[system] = judged(chances, came, users) | {
            "raw": judged(raw, came, users), "whole": whole(*(np.concatenate(part) for part in zip(*wholes))),
            "events": len(users) / seeds, "users": len(np.unique(users)),
            "temperature": float(np.mean(temperatures))}
    return {"figures": {f"said_to_came_{k}": {name: one["first"][str(k)]["ratio"]["mean"] for name, one in systems.items()}
                        for k in FIRST},
            "systems": systems, "seeds": seeds, "asked": len(events), "uniform_log_loss": float(np.log(arms.DEPTH)),
            "law": arms.LAW}


def main() -> None:
    parser = record.options(__doc__, NAME)
    parser.add_argument("--data", required=True, help="the folder of an unpacked MovieLens set")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each ranker (default 5)")
    parser.add_argument("--quick", action="store_true", help="one seed, small settings, 500 events; cannot be saved")
    chosen = parser.parse_args()
    if chosen.quick and chosen.save:
        parser.error("--save keeps the full result. Leave out --quick, or --save.")
    record.publish(NAME, measured(chosen.data, 1 if chosen.quick else chosen.seeds, chosen.quick), chosen, show)


def show(result: dict[str, Any]) -> None:
    for system, one in result["systems"].items():
        print(f"{system}: log loss {one['log_loss']:.3f}, raw {one['raw']['log_loss']:.3f} (500 films alike: "
              f"{result['uniform_log_loss']:.3f}), temperature {one['temperature']:.2f}")
        print(f"  all of the list: said {one['whole']['said']:.3f}, came {one['whole']['came']:.3f}")
        for k, row in one["first"].items():
            raw = one["raw"]["first"][k]["ratio"]["mean"]
            print(f"  first {k:>3}: said {row['said']:.3f}, came {row['came']:.3f}, ratio {row['ratio']['mean']:.2f} "
                  f"({row['ratio']['low']:.2f} to {row['ratio']['high']:.2f}), raw {raw:.2f}")


if __name__ == "__main__":
    main()
