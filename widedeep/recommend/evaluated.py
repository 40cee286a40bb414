"""How good a recommender's lists are for users whose later interactions are known, beside baselines that know as much."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from widedeep.errors import DataError, WidedeepWarning, unknown_names
from widedeep.evaluation import ranking
from widedeep.recommend.als import ALS
from widedeep.recommend.baselines import EASE, Baseline, ItemKNN, Popularity, RecentPopularity
from widedeep.recommend.interactions import Interactions, union
from widedeep.recommend.recommender import Recommender

MOST_PLACES = 1_000
"""Lists are judged at so many places at most, or as many as there are items."""

BASELINES: Mapping[str, Callable[[], Baseline]] = {
    "popularity": Popularity, "recent-popularity": partial(RecentPopularity, days=30), "item-knn": ItemKNN, "ease": EASE,
    "als": ALS}


def evaluate(recommender: Recommender, interactions: Any, k: int | Iterable[int], exclude_seen: bool, depth: int | None,
             beside: Sequence[str]) -> dict[str, Any]:
    """What `Recommender.evaluate` says."""
    beside = [beside] if isinstance(beside, str) else beside
    if lost := [name for name in beside if name not in BASELINES]:
        raise DataError(unknown_names("evaluate: there are no such baselines", lost, BASELINES))
    known, names, k = recommender.known.interactions, recommender.names, np.unique(k).tolist()
    if not k or k[-1] > (most := max(MOST_PLACES, known.items)):
        got, most = ("none", MOST_PLACES) if not k else (k[-1], most)
        raise DataError(f"evaluate: k says at how many places lists are judged, {most:,} at most. Got {got}. Pass k=10.")
    fitted = {name: BASELINES[name]().fit(known) for name in beside}
    later = names.read(interactions, users=known.user_ids, items=known.item_ids)
    later = later.numbered(union(later.user_ids, known.user_ids, names.user), union(later.item_ids, known.item_ids, names.item))
    same = known.numbered(later.user_ids, later.item_ids)
    again = np.isin(later.pairs, same.pairs)
    told = {"known_already": int(again.sum())} | _late(known, later.take(~again))
    if exclude_seen and again.all():
        raise DataError(f"evaluate: lists without what users have are judged by interactions that are new. Got {len(later)}, "
                        f"all known already. Pass later ones, or --seen (exclude_seen=False).")
    users = np.unique(later.user)
    later = later.take(~again) if exclude_seen else later
    asked, numbers = known.user_numbers(later.user_ids.take(users)), np.append(later.item_numbers(known.item_ids), -1)

    def judged(lists: np.ndarray) -> ranking.Ranking:
        return ranking.evaluate(numbers[lists], later.of_users(users), k, popularity=same.counts)

    found = judged(recommender.lists(asked, k[-1], exclude_seen, depth).items)
    others = {name: judged(system.recommend(asked, k[-1], exclude_seen)) for name, system in fitted.items()}
    told |= {"unknown_users": int((asked < 0).sum()), "unknown_items": len(np.setdiff1d(later.item, numbers))}
    _warn_of_strangers("users", told["unknown_users"], len(users))
    _warn_of_strangers("items", told["unknown_items"], len(np.unique(later.item)))
    return found.report() | told | {"beside": {name: {"figures": other.report(), "lead": _leads(found, other)}
                                               for name, other in others.items()}}


def _leads(one: ranking.Ranking, other: ranking.Ranking) -> dict[str, dict[str, float | None]]:
    """By figure how far the first is ahead, user by user."""
    leads = {name: ranking.difference(one, other, name) for name in one.values}
    return {name: {"mean": lead.mean, "low": lead.low, "high": lead.high} for name, lead in leads.items()}


def _warn_of_strangers(what: str, unknown: int, of: int) -> None:
    if unknown == of:
        warnings.warn(f"evaluate: some of the {what} are known. Got {of:,}, all unknown: figures say nothing of the lists. Are "
                      f"their ids written as they were?", WidedeepWarning, stacklevel=4)


def _late(known: Interactions, later: Interactions) -> dict[str, int]:
    """How many interactions are not later than all that is known, with a warning if any is; nothing without times."""
    if known.time is None:
        return {}
    early = int((later.time <= known.time.max()).sum())
    if early:
        warnings.warn(f"evaluate: interactions to judge by are later than those that are known. Got {early:,} of "
                      f"{len(later):,} that are not: what came after them is known already, so figures may be "
                      f"too good. Cut by time.", WidedeepWarning, stacklevel=4)
    return {"not_later": early}
