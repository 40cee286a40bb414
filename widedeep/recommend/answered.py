"""What `widedeep recommend` does: from folders and tables to a folder, a file or figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from widedeep.atomic import check_target as check_file
from widedeep.declarations import build
from widedeep.errors import SchemaError
from widedeep.manifest import check_target
from widedeep.pages.numerals import count
from widedeep.recommend import options
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.recommender import Recommender
from widedeep.recommend.retrieval import Retrieval
from widedeep.schema import Schema
from widedeep.tables import Table
from widedeep.views import progress_bar

KINDS = {"retrieval": Retrieval, "negatives": Negatives}


def answered(arguments: argparse.Namespace) -> str:
    """Do what is asked; returns what is printed."""
    found = {"fit": _fit, "evaluate": _evaluate, "update": _update, "write": _write}[arguments.action](arguments)
    return json.dumps(found) if arguments.json else "\n".join(_lines(found))


def _fit(arguments: argparse.Namespace) -> dict[str, Any]:
    check_target(arguments.out, arguments.force)
    built = {name: _built(name, section, arguments.settings) for name, section in options.settings(arguments.settings).items()}
    found = Recommender(Schema.read(arguments.schema), user=arguments.user, item=arguments.item, time=arguments.time,
                        unit=arguments.unit, **built, rank=not arguments.retrieval_only, valid=arguments.valid or None)
    found.fit(arguments.interactions, arguments.users, arguments.items, seed=arguments.seed, stream=arguments.stream)
    found.save(arguments.out, force=arguments.force)
    told = {**found.record["data"], "retrieval_loss": found.record["retrieval"]["history"][-1]["loss"]}
    stopped = [stage for stage in ("retrieval", "ranker") if found.record.get(stage, {}).get("stopped") == "interrupt"]
    told |= {"stopped_early": " and ".join(stopped)} if stopped else {}
    if found.ranker and found.record["ranker"]["metrics"]:
        told |= {"ranker": found.record["ranker"]["metrics"], "temperature": found.ranker.next_item.temperature}
    return told | {"out": arguments.out}


def _built(name: str, section: dict[str, Any], path: str) -> Any:
    try:
        return build(KINDS[name], section, "unknown settings")
    except SchemaError as error:
        raise SchemaError(f"{path}: [{name}] {error}") from error


def _evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    return Recommender.load(arguments.recommender).evaluate(arguments.interactions, arguments.k, not arguments.seen,
                                                            arguments.depth, arguments.beside)


def _update(arguments: argparse.Namespace) -> dict[str, Any]:
    check_target(arguments.out, arguments.force)
    found = Recommender.load(arguments.recommender).update(arguments.interactions, arguments.users, arguments.items)
    found.save(arguments.out, force=arguments.force)
    return found.record["data"] | {"out": arguments.out}


def _write(arguments: argparse.Namespace) -> dict[str, Any]:
    check_file(arguments.out, arguments.force)
    found = Recommender.load(arguments.recommender)
    rows = found.known.interactions.users * arguments.k if arguments.users is None else None
    with progress_bar("recommending", rows) as advance:
        users = None if arguments.users is None else Table.of(arguments.users)
        sources = found.write(arguments.out, users, arguments.k, not arguments.seen, arguments.depth, force=arguments.force,
                              progress=advance)
    return {"out": arguments.out, "rows": sum(sources.values()), "by_source": sources}


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        if name == "beside":
            yield from (line for system, some in value.items() for line in _beside(system, some))
        elif isinstance(value, dict) and "mean" in value:
            yield f"  {name:<24} {_interval(value)}"
        elif isinstance(value, dict):
            yield f"{name}:"
            yield from _lines(value)
        else:
            shown = count(value) if isinstance(value, int) else f"{value:.5f}" if isinstance(value, float) else value
            yield f"  {name:<24} {shown}"


def _beside(system: str, found: dict[str, Any]) -> Iterator[str]:
    """A baseline's figures, and how far the recommender is ahead of it."""
    yield f"{system}, and the recommender's lead over it:"
    for name, lead in found["lead"].items():
        yield f"  {name:<24} {_interval(found['figures'][name]):<30} {_interval(lead, '+')}"


def _interval(one: dict[str, Any], sign: str = "") -> str:
    spread = "" if one["low"] is None else f" ({one['low']:{sign}.4f} to {one['high']:{sign}.4f})"
    return f"{one['mean']:{sign}.4f}{spread}"
