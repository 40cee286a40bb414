"""What can be asked of `widedeep recommend`: its options, said once."""

from __future__ import annotations

import argparse
import os
import tomllib
from typing import Any

from widedeep.arguments import whole
from widedeep.errors import SchemaError, unknown_names

SUMMARY = "Recommend items to users: retrieve candidates out of a catalogue, rank them with a wide & deep model."
BESIDE = ("popularity", "recent-popularity", "item-knn", "ease", "als")
UNITS = ("s", "ms", "us", "ns", "D")
"""As `interactions.UNITS`, without what that imports."""

SECTIONS = ("retrieval", "negatives")


def describe(command: argparse.ArgumentParser) -> None:
    """Add the commands and their options."""
    actions = command.add_subparsers(dest="action", metavar="action", required=True)
    _describe_fit(_action(actions, "fit", "Train both stages on interactions, and save them."))
    evaluate = _action(actions, "evaluate", "How good are the lists for those whose later interactions are known?")
    evaluate.add_argument("recommender", help="a recommender's folder")
    evaluate.add_argument("interactions", help="later interactions, with the columns of those it was fitted on")
    evaluate.add_argument("--k", type=whole(1), nargs="+", default=[10, 100],
                          help="places of a list that count (default 10 100)")
    evaluate.add_argument("--beside", nargs="*", default=["popularity"], choices=BESIDE, metavar="BASELINE",
                          help=f"baselines to stand beside, of {', '.join(BESIDE)} (default popularity)")
    write = _action(actions, "write", "Write everybody's recommendations to a Parquet file.")
    write.add_argument("recommender", help="a recommender's folder")
    write.add_argument("--out", required=True, help="the Parquet file to write")
    write.add_argument("--users", help="a table of the users to answer, with their features (default: all that are known)")
    write.add_argument("--k", type=whole(1), default=10, help="items for each user (default 10)")
    write.add_argument("--force", action="store_true", help="replace --out if it exists")
    _describe_update(_action(actions, "update", "More interactions, users or items, without training; into another folder."))
    for action in (evaluate, write):
        action.add_argument("--depth", type=whole(1), help="items retrieved for each user and ranked (default: as in training)")
        action.add_argument("--seen", action="store_true", help="what a user has already is recommended, and judged, too")
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print one JSON object")


def _describe_fit(fit: argparse.ArgumentParser) -> None:
    fit.add_argument("interactions", help="a table with a row per interaction")
    fit.add_argument("--schema", required=True, help="the ranker's schema: columns of users, items and `history`")
    fit.add_argument("--out", required=True, help="the folder to write")
    fit.add_argument("--users", help="a table with a row per user")
    fit.add_argument("--items", help="a table with a row per item")
    for name in ("user", "item"):
        fit.add_argument(f"--{name}", default=name, metavar="COLUMN", help=f"the column of {name}s' ids (default {name})")
    fit.add_argument("--time", metavar="COLUMN", help="the column of times (default: rows are in order)")
    fit.add_argument("--unit", choices=UNITS, default="s",
                     help="what times that are numbers count since 1970 (default s)")
    fit.add_argument("--settings", metavar="FILE", help="a TOML file with [retrieval] and [negatives]")
    fit.add_argument("--retrieval-only", action="store_true", help="train no ranker")
    fit.add_argument("--valid", type=_share, default=0.1,
                     help="share of interactions held out of both stages, to say when to stop and how sure to be (default 0.1)")
    fit.add_argument("--stream", action="store_true",
                     help="make the ranker's rows anew in every epoch, for more than fit into memory")
    fit.add_argument("--seed", type=whole(0), default=0, help="everything random follows from it (default 0)")
    fit.add_argument("--threads", type=whole(1), help="processor threads; 1 repeats a training bit for bit")
    fit.add_argument("--force", action="store_true", help="replace the recommender that --out holds")


def _describe_update(update: argparse.ArgumentParser) -> None:
    update.add_argument("recommender", help="a recommender's folder, which stays as it is")
    update.add_argument("--out", required=True, help="the folder to write")
    for name, what in (("interactions", "more interactions"), ("users", "new users, or new rows of known ones"),
                       ("items", "new items, or new rows of known ones")):
        update.add_argument(f"--{name}", help=f"a table of {what}")
    update.add_argument("--force", action="store_true", help="replace the recommender that --out holds")


def _share(text: str) -> float:
    """A share of interactions: 0 or more, below 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"is a share, 0 or more and below 1. Got {text!r}.")
    return share


def _action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    return actions.add_parser(name, help=summary, description=summary)


def settings(path: str | os.PathLike | None) -> dict[str, dict[str, Any]]:
    """The sections of a settings file, empty ones without it. Raises: SchemaError, naming the file."""
    if path is None:
        return {name: {} for name in SECTIONS}
    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        raise SchemaError(f"--settings names a TOML file. Got {os.fspath(path)!r}, which is not there. Write it, or leave the "
                          f"option out.") from None
    except (OSError, ValueError) as error:
        raise SchemaError(f"The settings {os.fspath(path)!r} cannot be read as TOML: {error}.") from error
    if extra := [name for name in found if name not in SECTIONS]:
        raise SchemaError(unknown_names(f"{os.fspath(path)}: unknown sections", extra, SECTIONS))
    if bad := [name for name, section in found.items() if not isinstance(section, dict)]:
        raise SchemaError(f"{os.fspath(path)}: [{bad[0]}] must be a table of settings. Got {found[bad[0]]!r}.")
    return {name: found.get(name, {}) for name in SECTIONS}


def check(arguments: argparse.Namespace) -> None:
    """Whatever can be said before TensorFlow starts. Raises: SchemaError for a settings file that is none."""
    if arguments.action == "fit":
        settings(arguments.settings)
    if arguments.action == "write" and not arguments.out.endswith(".parquet"):
        raise SchemaError(f"--out names a Parquet file. Got {arguments.out!r}. Let it end in .parquet.")
