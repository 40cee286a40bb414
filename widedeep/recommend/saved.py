"""A recommender on disk: JSON, TOML, Parquet and safetensors only, whole or not at all, every file checked before it is used.

`manifest.json` (sha256 of each file), `recommender.json` (settings and record), `schema.toml`, `interactions.parquet`,
`users.parquet` and `items.parquet` in the order of their numbers, `retrieval.safetensors` with the two towers' weights and what
training saw, their encoders in `retrieval/`, and the ranker's model directory in `ranker/`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from widedeep import artifact
from widedeep.atomic import whole_folder
from widedeep.encoder import Encoder
from widedeep.errors import ArtifactError, DataError, SchemaError
from widedeep.manifest import AGAIN, SCHEMA, check_target, read_manifest, write_manifest
from widedeep.recommend.catalogue import Known, Names
from widedeep.recommend.negatives import Negatives
from widedeep.recommend.next_item import NextItem
from widedeep.recommend.ranker import Ranker
from widedeep.recommend.recommender import Recommender
from widedeep.recommend.retrieval import SIDES, Retrieval, restored
from widedeep.recommend.retriever import Retriever, Trained
from widedeep.schema import Schema

ABOUT, RETRIEVAL, RANKER = "recommender.json", "retrieval.safetensors", "ranker"
TABLES = ("interactions", "users", "items")
NEEDED = {ABOUT, SCHEMA, RETRIEVAL, *(f"{name}.parquet" for name in TABLES),
          *(f"retrieval/{side}/encoder.json" for side in SIDES)}


def save(recommender: Recommender, path: str | os.PathLike, *, force: bool = False) -> None:
    """Write a recommender's folder; with `force`, in place of the one that is there.

    Raises: ArtifactError if the path exists (unless forced) or holds something else; DataError if nothing was fitted;
    OutputError if it cannot be written.
    """
    known, retriever = recommender.known, recommender.retriever
    check_target(path, force)
    with whole_folder(path) as folder:
        for name, table in zip(TABLES, (known.log, known.sides.users, known.sides.items)):
            pq.write_table(table, folder / f"{name}.parquet")
        (folder / SCHEMA).write_text(recommender.schema.to_toml(), encoding="utf-8")
        (folder / ABOUT).write_text(json.dumps(_about(recommender), indent=1), encoding="utf-8")
        for side in SIDES:
            (folder / "retrieval" / side).mkdir(parents=True)
            retriever.towers.encoders[side].save(folder / "retrieval" / side)
        arrays = retriever.towers.state() | {"trained/items": retriever.trained.items, "trained/users": retriever.trained.users}
        (folder / RETRIEVAL).touch()
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / RETRIEVAL)
        if recommender.ranker is not None:
            artifact.save(recommender.ranker.model, folder / RANKER)
        write_manifest(folder, recommender.schema.fingerprint, {})


def _about(recommender: Recommender) -> dict[str, Any]:
    return {"names": asdict(recommender.names), "retrieval": asdict(recommender.settings),
            "negatives": asdict(recommender.negatives), "rank": recommender.ranker is not None, "valid": recommender.valid,
            "next_item": recommender.ranker and recommender.ranker.next_item._asdict(), "record": recommender.record}


def load(path: str | os.PathLike) -> Recommender:
    """The recommender in a folder. Raises: ArtifactError naming the file and the reason, if anything is absent or changed."""
    folder = Path(path)
    manifest = read_manifest(folder, NEEDED, "a recommender's folder", "`widedeep recommend fit --out` or `save`")
    try:
        schema = Schema.from_toml((folder / SCHEMA).read_text(encoding="utf-8"), SCHEMA)
        if schema.fingerprint != manifest["schema"]:
            raise ArtifactError(f"{folder / SCHEMA}: not the schema that the manifest names. {AGAIN}")
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        found = Recommender(schema, **about["names"], retrieval=Retrieval(**about["retrieval"]),
                            negatives=Negatives(**about["negatives"]), rank=about["rank"], valid=about["valid"])
        found.record = about["record"]
        tables = [pq.read_table(folder / f"{name}.parquet") for name in TABLES]
        known, told = Known.of(schema, Names(**about["names"]), *tables), about["record"]["data"]
        counted = replace(known.interactions, duplicates=told["duplicates"], unordered=told["out_of_order"])
        retriever = _restored(found.settings, replace(known, interactions=counted), folder)
        found.retriever = retriever
        if found.rank:
            found.ranker = Ranker(artifact.load(folder / RANKER), retriever, found.negatives, NextItem(**about["next_item"]))
        return found
    except (DataError, SchemaError, KeyError, TypeError, ValueError, OSError, pa.ArrowException, SafetensorError) as error:
        raise ArtifactError(f"The recommender {str(folder)!r} cannot be read: {error} {AGAIN}") from error


def _restored(settings: Retrieval, known: Known, folder: Path) -> Retriever:
    """The first stage: both towers, and what training saw."""
    arrays = load_file(folder / RETRIEVAL)
    trained = Trained(arrays.pop("trained/items"), arrays.pop("trained/users"))
    if (sizes := (len(trained.items), len(trained.users))) != (len(known.sides.items), len(known.sides.users)):
        raise ArtifactError(f"{folder / RETRIEVAL}: what training saw must have an entry for each item and user. Got {sizes}. "
                            f"{AGAIN}")
    encoders = {side: Encoder.load(folder / "retrieval" / side, known.sides.encoding(side == "item", settings.deep,
                                                                                     settings.optimizer)) for side in SIDES}
    return Retriever(settings, known, trained, restored(settings, encoders, known.sides, trained.items, arrays))
