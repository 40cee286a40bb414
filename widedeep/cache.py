"""Fitted encoders and encoded rows on disk, so that no run parses again what another one has parsed.

An entry is a folder: raw arrays, or an encoder's own files, and `entry.json`, which holds the key (what it was made of), what
a run must know besides, and the size and sha256 of every file. It appears whole or not at all; one that is not what it says is
made again, never trusted. Nothing in it is executable.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widedeep import __version__
from widedeep.atomic import finish_swap, locked, whole_folder
from widedeep.errors import ArtifactError, WidedeepWarning
from widedeep.rows import Bag, Rows

FORMAT = 1
"""The version of the layout; entries of another one are not looked at."""

ENTRY = "entry.json"


class _Damaged(Exception):
    """Why an entry cannot be used."""


@dataclass(frozen=True)
class Entry:
    """A folder whose files are what was written: what is known of it besides, and each file's bytes, mapped into memory."""

    folder: Path
    about: Any
    files: Mapping[str, np.ndarray]


class Cache:
    """A folder of entries, each named by the hash of its key.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for _ in range(2):
    ...         print(Cache(folder).entry({"what": "sum", "of": [1, 2]}, lambda place: print("summing") or 3).about)
    summing
    3
    3
    """

    def __init__(self, folder: str | os.PathLike):
        """Raises: ArtifactError if there can be no folder to write to."""
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_cache(folder, error.strerror) from error
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise _no_cache(folder, "a folder that may not be written to")

    def entry(self, key: Mapping[str, Any], build: Callable[[Path], Any]) -> Entry:
        """The entry for a key of plain values. If there is none, or a damaged one, `build` fills an empty folder with files
        and returns what else is to be known, as plain values; another process that wants the same entry waits for this one.

        Raises: OutputError if it cannot be written. Warns: WidedeepWarning that names an entry that was damaged.
        """
        key = {**key, "format": FORMAT, "widedeep": __version__}
        place = self.folder / f"{key['what']}-{_sha256(key)[:32]}"
        with locked(place, shared=True):
            if (found := _found(place, key)) and isinstance(found, Entry):
                return found
        with locked(place):
            finish_swap(place)
            found = _found(place, key)
            if isinstance(found, Entry):
                return found
            if found:
                warnings.warn(f"The cached {str(place)!r} cannot be trusted, so it is made again: {found}.",
                              WidedeepWarning, stacklevel=2)
            with whole_folder(place) as folder:
                _seal(folder, key, build(folder))
            return _opened(place, key)


def _no_cache(folder: str | os.PathLike, got: str) -> ArtifactError:
    return ArtifactError(f"The cache {os.fspath(folder)!r} must be a folder that may be written to, or be made. Got: {got}. "
                         f"Choose another path.")


def _found(place: Path, key: Mapping[str, Any]) -> Entry | str:
    """The entry at a place, or why it cannot be used; nothing if there is none."""
    try:
        return _opened(place, key) if place.exists() else ""
    except _Damaged as damage:
        return str(damage)


def _seal(folder: Path, key: Mapping[str, Any], about: Any) -> None:
    """Describe a folder whose files are written."""
    names = sorted(path.name for path in folder.iterdir())
    content = {"key": key, "about": about, "files": {name: _described(_mapped(folder / name)) for name in names}}
    text = json.dumps({"content": content, "sha256": _sha256(content)}, indent=1, allow_nan=False)
    (folder / ENTRY).write_text(text, encoding="utf-8")


def _opened(place: Path, key: Mapping[str, Any]) -> Entry:
    """Raises: _Damaged unless the entry is the key's, and every file is what was written."""
    content = _content(place / ENTRY)
    if content["key"] != json.loads(json.dumps(key)):
        raise _Damaged(f"{ENTRY} belongs to another entry")
    files = {}
    for name, expected in content["files"].items():
        try:
            files[name] = _mapped(place / Path(name).name)
        except OSError as error:
            raise _Damaged(f"{name} cannot be read: {error.strerror}") from error
        if _described(files[name]) != expected:
            raise _Damaged(f"{name} was changed")
    return Entry(place, content["about"], files)


def _content(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if _sha256(found["content"]) != found["sha256"]:
            raise _Damaged(f"{path.name} was changed")
        return found["content"]
    except OSError as error:
        raise _Damaged(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Damaged(f"{path.name} was changed") from error


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _mapped(path: Path) -> np.ndarray:
    """The bytes of a file, read from disk as they are needed: uint8 (bytes,)."""
    return np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.zeros(0, np.uint8)


def _described(content: np.ndarray) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_rows(folder: Path, batches: Iterable[Rows]) -> list[dict[str, Any]]:
    """Write encoded rows as raw arrays; returns what `read_rows` needs, file by file."""
    arrays: dict[tuple[str, ...], dict[str, Any]] = {}

    def append(place: tuple[str, ...], piece: np.ndarray) -> None:
        array = arrays.setdefault(place, {"file": f"{len(arrays)}.bin", "place": list(place), "dtype": piece.dtype.str,
                                          "shape": [0, *piece.shape[1:]]})
        with (folder / array["file"]).open("ab") as file:
            file.write(np.ascontiguousarray(piece, array["dtype"]))
        array["shape"][0] += len(piece)

    for rows in batches:
        for name, part in rows.features.items():
            place = ("features", name)
            if isinstance(part, Bag):
                before = arrays.get((*place, "flat"))
                append((*place, "splits"), part.splits[1:] + before["shape"][0] if before else part.splits)
                append((*place, "flat"), part.flat)
            else:
                append(place, part)
        for name, part in (("labels", rows.labels), ("weights", rows.weights)):
            if part is not None:
                append((name,), part)
    return list(arrays.values())


def read_rows(entry: Entry, arrays: Iterable[Mapping[str, Any]]) -> Rows:
    """The rows that `write_rows` wrote into an entry and described so; they stay on disk and are read as they are taken.

    >>> import tempfile
    >>> rows = Rows({"x": np.arange(3), "tags": Bag(np.array([7, 8]), np.array([0, 0, 1, 2]))}, labels=np.zeros(3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     entry = Cache(folder).entry({"what": "rows"}, lambda place: write_rows(place, [rows, rows]))
    ...     again = read_rows(entry, entry.about)
    ...     again.features["x"].tolist(), again.features["tags"].splits.tolist(), len(again.labels)
    ([0, 1, 2, 0, 1, 2], [0, 0, 1, 2, 2, 3, 4], 6)
    """
    found = {tuple(array["place"]): entry.files[array["file"]].view(array["dtype"]).reshape(array["shape"])
             for array in arrays}
    features: dict[str, np.ndarray | Bag] = {}
    for place, array in found.items():
        if place[0] == "features" and place[2:] != ("splits",):
            name = place[1]
            features[name] = Bag(array, found["features", name, "splits"]) if place[2:] else array
    return Rows(features, found.get(("labels",)), found.get(("weights",)))
