"""Recommenders on MovieLens, by time: does a two-stage system beat popularity, item-kNN and EASE?

    python benchmarks/movielens.py --data PATH [--quick] [--seeds 5] [--trials 8] [--processes 2] [--minutes M] [--save]

PATH is the folder of an unpacked MovieLens set. An interaction is a rating of four stars or more. One cut in time leaves the
latest fifth for the test; settings are chosen before, on the latest fifth of what is left, by nDCG@10; a run reads the test
with those settings. Two readings of the test: `served`, in which the first half of what each test user did after the cut is
known when he is answered, and nothing is trained anew, and `at the cut`, in which most test users are unknown. The whole
catalogue competes. Intervals hold users and seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import cells
import recommend_arms as arms
import recommend_speed
import record
from recommend_arms import Reading
from widedeep.datasets import movielens
from widedeep.recommend import splits
from widedeep.recommend.interactions import Interactions
from widedeep.recommend.splits import Split
from widedeep.tables import Table

NAME, SHARE = "movielens", 0.2
QUICK = {"retrieval": {"epochs": 2}, "negatives": {"each": 2}}


def tables(folder: str) -> tuple[Interactions, movielens.Likes]:
    """What was liked, under numbers, and all that is known of it."""
    likes = movielens.load_movielens_likes(folder)
    return Interactions.of(likes.interactions, user="user", item="item", time="timestamp", items=likes.items["item"]), likes


def parts(log: Interactions) -> dict[str, dict[str, Reading]]:
    """By part, validation and test, the readings of its cut."""
    test = splits.by_time(log, share=SHARE)
    valid = splits.by_time(test.train, share=SHARE)
    for split in (test, valid):
        splits.refuse_leaks(split)
    return {"validation": {"served": served(valid)},
            "test": {"served": served(test), "at the cut": Reading(test.train, test.train, test.test)}}


def served(split: Split) -> Reading:
    """The same cut, where the first half of a test user's interactions is known when he is answered, as far as it is earlier
    than the rest."""
    train, test = split.train, split.test
    sizes = np.bincount(test.user, minlength=test.users)
    middle = test.time[np.argsort(test.user, kind="stable")][np.minimum(np.cumsum(sizes) - sizes + sizes // 2, len(test) - 1)]
    first = test.time < middle[test.user]
    known = {name: np.concatenate([getattr(train, name), getattr(test, name)[first]]) for name in ("user", "item", "time")}
    return Reading(train, replace(train, **known, weight=None), test.take(~first))


def perform(folder: str, cell: arms.Cell) -> dict[str, Any]:
    """Train a system and judge it."""
    log, likes = tables(folder)
    read = parts(log)[cell.part]
    system = arms.fitted(cell, likes.schema, read["served"].train, likes.items)
    return arms.judged(system, read)


def study(chosen: Any, systems: list[str], work: partial, name: str, data: str,
          worlds: int = 1) -> tuple[list[dict[str, Any]], dict[str, Any], list[Any]]:
    """What a study's cells for the test hold, the settings, and all cells: settings are chosen on validation interactions.

    With several `worlds`, on those of the first.
    """
    def tried(some: list[str]) -> list[Mapping[str, Any]]:
        mine = [cell for system in some for cell in arms.trials(name, system, chosen.trials, settings, data)]
        every.extend(mine)
        return cells.carry_out(chosen, mine, work)

    if chosen.quick:
        chosen.seeds, chosen.out = 1, chosen.out.with_name(f"{chosen.out.name}-quick")
    every: list[arms.Cell] = []
    settings: dict[str, dict[str, Any]] = {}
    if chosen.quick:
        settings = {system: {} if system in arms.PLAIN and system != "recent popularity" else QUICK for system in systems}
        settings["recent popularity"] = {"half_life": 365}
    else:
        found = tried([system for system in systems if system not in arms.RANKERS])
        settings = arms.best(found)
        settings |= arms.best(tried([system for system in systems if system in arms.RANKERS]))
    final = [arms.Cell(name, "test", system, settings[system], seed, number, data) for number in range(worlds)
             for system in systems for seed in (range(chosen.seeds) if system in arms.TRAINED else [0])]
    found = cells.carry_out(chosen, final, work)
    return found, settings, [*every, *final]


def main() -> None:
    parser = cells.options(__doc__, NAME, quick="one seed, no trials, small settings")
    parser.add_argument("--data", required=True, help="the folder of an unpacked MovieLens set")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each system that has seeds (default 5)")
    parser.add_argument("--trials", type=int, default=8, help="settings tried of each of them (default 8)")
    parser.add_argument("--no-speed", action="store_true", help="leave out what is measured on made-up users and items")
    chosen = cells.asked(parser)
    log, likes = tables(chosen.data)
    data = "-".join(Table.of(one).fingerprint(one.column_names)[:16] for one in (likes.interactions, likes.items))
    found, settings, every = study(chosen, arms.systems(), partial(perform, chosen.data), NAME, data)
    read = parts(log)["test"]
    told = {name: {"train": len(one.train), "test": len(one.test), "users": len(one.users),
                   "users_in_training": int(np.isin(one.users, one.train.user).sum())} for name, one in read.items()}
    result = summarised(found, ("values", "values at the cut")) | {
        "settings": settings, "seeds": chosen.seeds, "trials": chosen.trials, "rows": told, "items": log.items, "law": arms.LAW,
        "citation": movielens.CITATION, "budget": cells.budget(there(chosen, every), every)}
    if not chosen.no_speed:
        result["figures"] |= (speed := recommend_speed.measured(chosen.quick))["figures"]
        result["speed"] = speed["about"]
    record.publish(NAME, result, chosen, show)


def there(chosen: Any, every: list[arms.Cell]) -> list[dict[str, Any]]:
    """What the cells hold that are finished."""
    return [one for cell in every if (one := cells.kept(chosen.out, cell)) is not None]


def summarised(found: list[dict[str, Any]], readings: tuple[str, ...] = ("values",)) -> dict[str, Any]:
    """Every figure, and those asked for under `figures`."""
    systems = {values.removeprefix("values").strip() or "served": arms.summary(found, values) for values in readings}
    first = next(iter(systems.values()))
    brought = [float(np.mean(cell["brought"])) for cell in found if cell["system"] == arms.TWO_TOWER and cell["part"] == "test"]
    figures = {"ndcg_10": {system: row["ndcg@10"]["mean"] for system, row in first.items()},
               "recall_100": {system: row["recall@100"]["mean"] for system, row in first.items()},
               "retrieval_recall_500": float(np.mean(brought))}
    return {"figures": figures, "systems": systems}


def show(result: dict[str, Any]) -> None:
    for reading, systems in result["systems"].items():
        print(f"{reading}:")
        for system, row in systems.items():
            print(f"  {system:<20} " + "   ".join(f"{name} {row[name]['mean']:.4f} ({row[name]['low']:.4f} to "
                                                  f"{row[name]['high']:.4f})" for name in arms.KEPT))
    print("  ".join(f"{name} {value:,.3f}" for name, value in result["figures"].items() if not isinstance(value, dict)))
    print(result.get("citation", ""), file=sys.stderr)


if __name__ == "__main__":
    main()
