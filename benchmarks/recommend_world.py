"""Recommenders in a world whose truth is known: how much of what the best lists would earn do theirs?

    python benchmarks/recommend_world.py [--kind towers|trees] [--quick] [--worlds 5] [--seeds 5] [--trials 8] [--save]

An app store of `widedeep.installs`: interactions are the apps that users have at the start, and then what they installed of
what the store's policy showed. Settings are chosen on the latest fifth of the interactions by nDCG@10, as on MovieLens; then
all of them are trained on, and judged by the truth: `value@10`, the expected installs of a list of ten apps that the user does
not have, over those of the ten best; `recall@100`, how many of the hundred best are among a hundred. One context: noon, wifi,
the home page. Settings are those of the first world; intervals are over worlds and seeds.
"""

from __future__ import annotations

import json
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa

import cells
import recommend_arms as arms
import record
import widedeep as wd
from movielens import served, study, there
from recommend_arms import Reading
from widedeep.installs import policy
from widedeep.installs.truth import CONNECTIONS, PAGES, Visits
from widedeep.installs.world import World, WorldSpec
from widedeep.recommend import splits
from widedeep.recommend.interactions import Interactions
from widedeep.recommend.recommender import ByNumber

NAME, NAMES = "recommend_world", ("value@10", "recall@100")
FULL, QUICK = {"users": 2_000, "apps": 1_500, "visits": 60_000}, {"users": 200, "apps": 200, "visits": 1_000}
SHARE = 0.2


@lru_cache(maxsize=1)
def world(kind: str, users: int, apps: int, seed: int = 0) -> World:
    """A world, on its first day for ever."""
    return World(WorldSpec(kind=kind, users=users, apps=apps, days=1, explore=0.3, seed=seed))


def interactions(known: World, visits: int) -> Interactions:
    """The apps that users have at the start, then what they installed of what was shown, in the order of visits."""
    drawn, rng = known.visits(visits), np.random.default_rng(0)
    shown = policy.draw(rng, known.score(drawn), known.spec.slate, known.spec.temperature, known.spec.explore)
    taken = rng.random(shown.shape) < np.take_along_axis(known.probability(drawn), shown, 1)
    user, place = np.nonzero(known.installed >= 0)
    row, slot = np.nonzero(taken)
    app = np.take_along_axis(drawn.candidates, shown, 1)[row, slot]
    table = {"user": np.concatenate([user, drawn.user[row]]), "item": np.concatenate([known.installed[user, place], app]),
             "time": np.concatenate([np.zeros(len(user), int), 1 + row])}
    return Interactions.of(pa.table(table), user="user", item="item", time="time", users=np.arange(known.spec.users),
                           items=np.arange(known.spec.apps))


def schema() -> wd.Schema:
    """Users, apps, what is known of them, and the user's apps beside the candidate."""
    ids = ("user", "item", "country", "language", "device", "age", "category", "developer", "price", "history")
    columns = {name: wd.Categorical() for name in ids} | {"history": wd.Categorical(combiner="sqrtn")}
    columns["history category"] = wd.Categorical("history.category", combiner="mean")
    crosses = {"history x item": wd.Crossed(("history", "item"), 1 << 22),
               "history category x category": wd.Crossed(("history category", "category"), 1 << 12),
               "country x category": wd.Crossed(("country", "category"), 1 << 12)}
    training = wd.Training(batch=512, epochs=10, patience=2, wide=wd.Optimizer("ftrl", rate=0.03, l1=1.0),
                           deep=wd.Optimizer("adagrad", rate=0.02))
    return wd.Schema(wd.Label("taken"), columns | crosses, wide=wd.Wide(("item", "category", *crosses)),
                     deep=wd.Deep(tuple(columns), hidden=(64,), dropout=0.2, width=16, l2=10.0), training=training)


def truth(known: World, users: np.ndarray) -> np.ndarray:
    """The exact probability that each of these users installs each app, if it is shown: (users, apps)."""
    def always(value: int) -> np.ndarray:
        return np.full(len(users), value)

    apps = np.tile(np.arange(known.spec.apps), (len(users), 1))
    return known.probability(Visits(users, always(0), always(12), always(0), always(CONNECTIONS.index("wifi")),
                                    always(PAGES.index("home")), apps))


def perform(kind: str, size: dict[str, int], cell: arms.Cell) -> dict[str, Any]:
    """Train a system and judge it: on later interactions for validation, by the truth for the test."""
    known = world(kind, size["users"], size["apps"], cell.number if cell.part == "test" else 0)
    log = interactions(known, size["visits"])
    users, apps = known.users, known.apps
    items = pa.table({"item": apps["app"]} | {name: apps[name] for name in ("category", "developer", "price")})
    if cell.part == "validation":
        reading = served(splits.by_time(log, share=SHARE))
        return arms.judged(arms.fitted(cell, schema(), reading.train, items, users), {"served": reading})
    return by_truth(known, log, arms.fitted(cell, schema(), log, items, users))


def by_truth(known: World, log: Interactions, system: Any) -> dict[str, Any]:
    """Figures by user, from exact probabilities."""
    users = np.arange(known.spec.users)
    lists = system.recommend(users, 100, history=log)
    values, recalls, brought = [], [], []
    near = arms.brought(system, Reading(log, log, log)) if isinstance(system, ByNumber) else None
    for start in range(0, len(users), 100):
        some = users[start:start + 100]
        chances = truth(known, some)
        chances[np.repeat(np.arange(len(some)), np.diff(log.of_users(some).splits)), log.of_users(some).flat] = -1
        best = np.argsort(-chances, axis=1)[:, :100]
        earned, most = (np.take_along_axis(chances, some_items, 1).sum(1) for some_items in (lists[some, :10], best[:, :10]))
        values.append(earned / most)
        recalls += [len(np.intersect1d(*pair)) / 100 for pair in zip(lists[some], best)]
        if near is not None:
            brought += [len(np.intersect1d(*pair)) / 10 for pair in zip(near[some], best[:, :10])]
    found = {"values": {"value@10": np.concatenate(values).tolist(), "recall@100": recalls}}
    return found | ({"brought": brought} if brought else {})


def by_world(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each system and seed one cell, whose values are the means of those worlds in which all of them are there."""
    runs = {(cell["system"], cell["seed"]): {} for cell in found}
    for cell in found:
        runs[cell["system"], cell["seed"]][cell["number"]] = cell["values"]
    whole = sorted(set.intersection(*(set(worlds) for worlds in runs.values())))
    return [{"part": "test", "system": system, "seed": seed,
             "values": {name: [float(np.mean(worlds[number][name])) for number in whole] for name in NAMES}}
            for (system, seed), worlds in runs.items()]


def main() -> None:
    parser = cells.options(__doc__, NAME, quick="two small worlds, one seed, no trials")
    parser.add_argument("--kind", default="towers", choices=("towers", "trees"), help="the kind of world (default towers)")
    parser.add_argument("--worlds", type=int, default=5, help="worlds of that kind (default 5)")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each system that has seeds (default 5)")
    parser.add_argument("--trials", type=int, default=8, help="settings tried of each of them (default 8)")
    chosen = cells.asked(parser)
    size, worlds = (QUICK, 2) if chosen.quick else (FULL, chosen.worlds)
    chosen.out = chosen.out.with_name(f"{chosen.out.name}-{chosen.kind}")
    compared = [system for system in arms.systems() if system != "recent popularity"]   # nothing changes with time here
    found, settings, every = study(chosen, compared, partial(perform, chosen.kind, size), f"{NAME}-{chosen.kind}",
                                   json.dumps(size), worlds)
    brought = [float(np.mean(cell["brought"])) for cell in found if cell["system"] == arms.TWO_TOWER]
    systems = arms.summary(by_world(found), names=NAMES)
    figures = {name.replace("@", "_"): {system: row[name]["mean"] for system, row in systems.items()} for name in NAMES}
    result = {"figures": figures | {"retrieval_recall_500": float(np.mean(brought))}, "systems": {"truth": systems},
              "settings": settings, "worlds": worlds, "seeds": chosen.seeds, "trials": chosen.trials, "kind": chosen.kind,
              "rows": size, "law": arms.LAW, "budget": cells.budget(there(chosen, every), every)}
    record.publish(f"{NAME}_{chosen.kind}", result, chosen, show)


def show(result: dict[str, Any]) -> None:
    for system, row in result["systems"]["truth"].items():
        print(f"  {system:<20} " + "   ".join(f"{name} {row[name]['mean']:.4f}" for name in NAMES))
    print(f"of the ten best apps, retrieval brings {result['figures']['retrieval_recall_500']:.1%}")


if __name__ == "__main__":
    main()
