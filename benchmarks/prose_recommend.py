"""The generated blocks of docs/recommender.md, from the results of the studies of recommenders."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from recommend_arms import LAW
from record import RESULTS, committed, table, where
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.retrieval import Retrieval

MEANINGS = Path(__file__).parent.parent / "docs" / "making" / "recommender.toml"
COMMANDS = {"movielens": "python benchmarks/movielens.py --data PATH --save",
            "recommend_calibration": "python benchmarks/recommend_calibration.py --data PATH --save",
            "recommend_world_towers": "python benchmarks/recommend_world.py --save",
            "recommend_world_trees": "python benchmarks/recommend_world.py --kind trees --save"}
KINDS = {"towers": "Of the kind towers: popularity, a product of tastes, exceptions between two apps",
         "trees": "Of the kind trees: steps of popularity, trees of taste in hidden classes of users, exceptions"}
CHECK = "**A development check, not a published result**: the set changes over time, and is not meant for results to publish."
READINGS = {"served": "Served: the first half of what each test user did after the cut is known when he is answered",
            "at the cut": "At the cut: nothing after it is known"}


def recommender_films() -> str:
    """Every system on MovieLens, in both readings, and a verdict."""
    if (result := _result("movielens")) is None:
        return _missing("movielens")
    parts = [CHECK]
    for reading, systems in result["systems"].items():
        rows = result["rows"][reading]
        parts.append(f"**{READINGS[reading]}** ({rows['users']} users, {rows['users_in_training']} of them in training; "
                     f"{rows['train']:,} training and {rows['test']:,} test interactions; {result['items']:,} films).\n\n"
                     + _grid(systems, ("ndcg@10", "recall@100")))
    brought = f"Retrieval's 500 candidates hold {result['figures']['retrieval_recall_500']:.1%} of what the users took."
    return "\n\n".join([*parts, f"{brought} {verdict(result['systems']['served'], 'ndcg@10')}",
                        f"At the cut: {verdict(result['systems']['at the cut'], 'ndcg@10')}", _said(result),
                        f"{result['citation']}"])


def recommender_world() -> str:
    """Every system in two kinds of worlds, by their truth."""
    return "\n\n".join(_world(kind, where) for kind, where in KINDS.items())


def _world(kind: str, about: str) -> str:
    if (result := _result(f"recommend_world_{kind}")) is None:
        return _missing(f"recommend_world_{kind}")
    systems, rows = result["systems"]["truth"], result["rows"]
    head = f"**{about}** (in each {rows['users']:,} users, {rows['apps']:,} apps, {rows['visits']:,} visits to a store)."
    said = (f"Of the ten best apps retrieval brings {result['figures']['retrieval_recall_500']:.1%}. "
            f"{verdict(systems, 'value@10')}")
    return "\n\n".join([head, _grid(systems, ("value@10", "recall@100")), said, _said(result)])


def recommender_speed() -> str:
    """What was wanted and what was measured."""
    if (result := _result("movielens")) is None or "speed" not in result:
        return _missing("movielens")
    figures, about = result["figures"], result["speed"]
    parameters = sum(about["parameters"].values())
    rows = [(f"retrieval, an epoch on {about['interactions']:,} interactions", "≤ 60 s",
             f"{figures['retrieval_epoch_s']:.1f} s"),
            (f"lists for {about['users']:,} users out of {about['items']:,} items, {about['retrieved']} retrieved, "
             f"{about['shown']} shown", "≥ 1,000 users/s", f"{figures['users_per_s']:,.0f} users/s"),
            (f"peak memory of writing lists for {about['users'] // 10:,} users, and for {10 * about['users']:,}", "the same",
             f"{about['peak_gb']['write_tenth']:.2f} GB, {about['peak_gb']['write_tenfold']:.2f} GB")]
    hidden = " and ".join(map(str, about["hidden"]))
    size = (f"The ranker, trained on {about['ranked']:,} interactions, has {parameters:,} parameters, hidden layers of "
            f"{hidden} units, embeddings of {about['width']}, and each of the last {about['history']} items crossed with the "
            f"candidate. Users and items are encoded once; a pair adds two halves of the first layer, which is exact. An epoch "
            f"is the median of three; training both held {about['peak_gb']['fit_retrieval']:.2f} GB at most. {where(result)}."
            f"{_before(result)}")
    return f"{table('figure | wanted | measured', *rows)}\n\n{size}"


def recommender_calibration() -> str:
    """What rankers said of the next film, and what came."""
    if (result := _result("recommend_calibration")) is None:
        return _missing("recommend_calibration")
    rows = []
    for system, one in result["systems"].items():
        cells = [f"{row['said']:.3f} said, {row['came']:.3f} came: {row['ratio']['mean']:.2f} ({row['ratio']['low']:.2f} to "
                 f"{row['ratio']['high']:.2f}); raw {one['raw']['first'][k]['ratio']['mean']:.2f}"
                 for k, row in one["first"].items()]
        cells.append(f"{one['whole']['said']:.3f} said, {one['whole']['came']:.3f} came: {one['whole']['ratio']['mean']:.2f}")
        rows.append((system, f"{one['temperature']:.2f}", *cells, f"{one['log_loss']:.3f}; raw {one['raw']['log_loss']:.3f}"))
    one = next(iter(result["systems"].values()))
    heads = " | ".join(f"first {k}" for k in one["first"])
    said = (f"Of {result['asked']:,} interactions after the cut that settings were chosen by, {one['events']:,.0f} are judged, "
            f"of {one['users']} users: those whose film was among the 500, and of whose user something was known; in the "
            f"column of all 500 also those whose film was not among them. 500 films alike would have a log loss of "
            f"{result['uniform_log_loss']:.3f}. Means of {result['seeds']} seeds, 95 % intervals over users; {where(result)}.")
    return f"{table(f'system | temperature | {heads} | all 500 | log loss of what came', *rows)}\n\n{said}"


def recommender_settings() -> str:
    """Every setting of both stages with its default; a setting without its meaning is an error."""
    told, rows = tomllib.loads(MEANINGS.read_text(encoding="utf-8")), []
    for section, kind in (("retrieval", Retrieval), ("negatives", Negatives)):
        for one in fields(kind):
            default = json.dumps(list(one.default) if isinstance(one.default, tuple) else one.default)
            shown = "–" if default == "null" else f"`{default}`"
            rows.append((f"`[{section}]`", f"`{one.name}`", shown, told[section].pop(one.name)))
    if left := {name for meanings in told.values() for name in meanings}:
        raise ValueError(f"{MEANINGS}: there are no such settings: {sorted(left)}.")
    return table("section | setting | default | what it is", *rows)


def _result(name: str) -> dict[str, Any] | None:
    return committed(name) if (RESULTS / f"{name}.json").exists() else None


def _missing(name: str) -> str:
    return f"Not run yet: `{COMMANDS[name]}`."


def _grid(systems: Mapping[str, Any], names: tuple[str, ...]) -> str:
    rows = [(system, *(_cell(row[name]) for name in names), _lead(row[names[0]], "over popularity"),
             _lead(row[names[0]], "over two-tower")) for system, row in systems.items()]
    shown = {"ndcg@10": "nDCG@10"}.get(names[0], names[0])
    return table(f"system | {shown} | {names[1]} | {shown} over popularity | over two-tower alone", *rows)


def _cell(one: Mapping[str, float]) -> str:
    return f"{one['mean']:.4f} ({one['low']:.4f} to {one['high']:.4f})"


def _lead(row: Mapping[str, Any], over: str) -> str:
    one = row.get(over)
    return "–" if one is None else _interval(one)


def _interval(one: Mapping[str, float]) -> str:
    return f"{one['mean']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})".replace("-", "−")


def verdict(systems: Mapping[str, Any], name: str) -> str:
    """Who is ahead, and whether two stages were worth it; plainly, whoever that is."""
    order = sorted(systems, key=lambda system: -systems[system][name]["mean"])
    ours = [system for system in order if system.startswith("two-tower")]
    plain = [system for system in order if system not in ours]
    first, other = (ours[0], plain[0]) if order[0] in ours else (plain[0], ours[0])
    kind = "baselines" if first in ours else "two-tower systems"
    gap = systems[first][name].get("ahead of")
    apart = f" The first minus the second, chosen by these means: {_interval(gap)}." if gap else " Nobody compared the two."
    said = (f"Ahead is {first} with {systems[first][name]['mean']:.4f}; the best of the {kind} is {other} with "
            f"{systems[other][name]['mean']:.4f}.{apart}")
    found = []
    for system in ("two-tower + wide", "two-tower + deep", "two-tower + joint"):
        if (one := systems.get(system, {}).get(name, {}).get("over two-tower")) is not None:
            sure = "more" if one["low"] > 0 else "less" if one["high"] < 0 else "no sure difference"
            found.append(f"{system}: {sure}")
    return f"{said} Against retrieval alone: {'; '.join(found)}."


def _said(result: Mapping[str, Any]) -> str:
    at_once = "those of differences hold all at once in each table" if result.get("law") == LAW else "each holds by itself"
    units, which = (f"{result['worlds']} worlds", "of the first world") if "worlds" in result else ("users", "before the test")
    return (f"Means with 95 % intervals over {units} and {result['seeds']} seeds; {at_once}; {result['trials']} settings tried "
            f"of each two-tower system, on validation interactions {which}; {where(result)}.{_before(result)}")


def _before(result: Mapping[str, Any]) -> str:
    """That figures are older than the code, if they are."""
    return "" if result.get("law") == LAW else (" Measured with an earlier law of negatives, or before a share was held out of "
                                                "both stages: what is said above of systems with a ranker holds of these.")


RECOMMEND_BLOCKS: dict[str, Callable[[], str]] = {one.__name__: one for one in (
    recommender_settings, recommender_films, recommender_calibration, recommender_world, recommender_speed)}
