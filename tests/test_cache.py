"""The cache on disk: entries are whole or absent, and what is damaged is made again, never trusted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.test_rows import plain, some_rows
from widedeep import cache as room
from widedeep.cache import ENTRY, Cache, read_rows, write_rows
from widedeep.errors import ArtifactError, OutputError, WidedeepWarning
from widedeep.rows import Bag, Rows

KEY = {"what": "rows", "of": ["a", 1]}


def numbers(folder):
    """An entry's content: one file, and something to know besides."""
    (folder / "0.bin").write_bytes(bytes(range(100)))
    return {"sum": 4950}


def never(folder):
    raise AssertionError("the entry is there")


@pytest.fixture
def entry(tmp_path):
    return Cache(tmp_path).entry(KEY, numbers)


def test_an_entry_is_built_once_for_each_key(tmp_path, entry):
    again = Cache(tmp_path).entry(KEY, never)
    assert again.about == {"sum": 4950} and again.folder == entry.folder
    assert bytes(again.files["0.bin"]) == bytes(range(100))
    other = Cache(tmp_path).entry({**KEY, "of": ["a", 2]}, lambda folder: "other")
    assert other.about == "other" and other.folder != entry.folder


def test_entries_of_another_format_or_version_are_not_looked_at(tmp_path, entry, monkeypatch):
    for name, value in (("FORMAT", 2), ("__version__", "99")):
        monkeypatch.setattr(room, name, value)
        assert Cache(tmp_path).entry(KEY, lambda folder: "new").about == "new"


def test_rows_come_back_as_they_were_in_the_same_types_mapped_from_disk(tmp_path):
    rows = some_rows()
    found = Cache(tmp_path).entry(KEY, lambda folder: write_rows(folder, rows.chunks(70)))
    again = read_rows(found, found.about)
    assert plain(again) == plain(rows) and list(again.features) == list(rows.features)
    for name in ("ids", "x"):
        assert again.features[name].dtype == rows.features[name].dtype and not again.features[name].flags.writeable
        base = again.features[name]
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
    assert again.features["bag"].flat.dtype == np.int8


def test_rows_without_labels_and_bags_without_elements_come_back(tmp_path):
    rows = Rows({"b": Bag(np.zeros(0, np.int32), np.zeros(4, np.int64))})
    found = Cache(tmp_path).entry(KEY, lambda folder: write_rows(folder, [rows, rows]))
    again = read_rows(found, found.about)
    assert len(again) == 6 and again.features["b"].splits.tolist() == [0] * 7 and again.labels is again.weights is None


# ------------------------------------------------------------------------------------------------------------------- damage


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def foreign(folder):
    """The entry of another key in this one's place."""
    other = Cache(folder.parent).entry({"what": "rows", "of": ["b"]}, numbers).folder
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def rewritten(change):
    """A header that says something else, hash and all."""
    def spoil(folder):
        content = json.loads((folder / ENTRY).read_text())["content"]
        change(content)
        (folder / ENTRY).write_text(json.dumps({"content": content, "sha256": room._sha256(content)}))
    return spoil


DAMAGE = {
    "a truncated file": (lambda f: os.truncate(f / "0.bin", 50), "0.bin was changed"),
    "an emptied file": (lambda f: os.truncate(f / "0.bin", 0), "0.bin was changed"),
    "an extended file": (lambda f: os.truncate(f / "0.bin", 101), "0.bin was changed"),
    "a flipped bit": (lambda f: flip(f / "0.bin", 99), "0.bin was changed"),
    "a file that is gone": (lambda f: (f / "0.bin").unlink(), "0.bin cannot be read: No such file"),
    "a header that is gone": (lambda f: (f / ENTRY).unlink(), f"{ENTRY} cannot be read: No such file"),
    "a header cut short": (lambda f: os.truncate(f / ENTRY, 60), f"{ENTRY} was changed"),
    "a header that is no object": (lambda f: (f / ENTRY).write_text("[1]"), f"{ENTRY} was changed"),
    "a header that is no text": (lambda f: (f / ENTRY).write_bytes(b"\xff\xfe"), f"{ENTRY} was changed"),
    "a header without end": (lambda f: (f / ENTRY).write_text("[" * 100_000), f"{ENTRY} was changed"),
    "another number to know": (lambda f: (f / ENTRY).write_text((f / ENTRY).read_text().replace("4950", "4951")),
                               f"{ENTRY} was changed"),
    "another entry": (foreign, f"{ENTRY} belongs to another entry"),
    "a file elsewhere": (rewritten(lambda content: content["files"].update({"../x": {}})), "x cannot be read"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_entry_is_made_again_with_one_warning(case, tmp_path, entry):
    spoil, reason = DAMAGE[case]
    spoil(entry.folder)
    with pytest.warns(WidedeepWarning, match=r"cannot be trusted, so it is made again: ") as caught:
        assert Cache(tmp_path).entry(KEY, numbers).about == {"sum": 4950}
    (message,) = (str(warning.message) for warning in caught)
    assert reason in message and "\n" not in message
    assert Cache(tmp_path).entry(KEY, never).about == {"sum": 4950}


def test_no_flipped_bit_of_the_header_changes_what_is_read(entry):
    whole, said = (entry.folder / ENTRY).read_bytes(), room._content(entry.folder / ENTRY)
    for at in range(0, len(whole), 3):
        flip(entry.folder / ENTRY, at)
        try:
            assert room._content(entry.folder / ENTRY) == said and whole[at:at + 1].isspace()
        except room._Damaged as damage:
            assert str(damage) == f"{ENTRY} was changed"
        (entry.folder / ENTRY).write_bytes(whole)


# ------------------------------------------------------------------------------------------- interruptions and other processes


BUILDER = """
import sys, time, os, signal
from widedeep.cache import Cache
def build(folder):
    with open(sys.argv[2], "a") as log:
        log.write("built ")
    (folder / "0.bin").write_bytes(b"x" * 1000)
    if sys.argv[3] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return {"sum": 4950}
print(Cache(sys.argv[1]).entry({"what": "rows", "of": ["a", 1]}, build).about["sum"])
"""


def builder(tmp_path, how):
    command = [sys.executable, "-c", BUILDER, str(tmp_path / "cache"), str(tmp_path / "log"), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": "."})


def test_two_processes_that_want_the_same_entry_build_it_once(tmp_path):
    both = [builder(tmp_path, "live") for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["4950\n"] * 2
    assert (tmp_path / "log").read_text() == "built "


def test_a_kill_in_the_middle_of_building_leaves_no_entry_and_no_lock(tmp_path):
    dying = builder(tmp_path, "die")
    dying.communicate()
    assert dying.returncode == -signal.SIGKILL
    entry = Cache(tmp_path / "cache").entry(KEY, numbers)
    assert entry.about == {"sum": 4950} and bytes(entry.files["0.bin"]) == bytes(range(100))
    assert sorted(os.listdir(tmp_path / "cache")) == sorted([entry.folder.name, f".{entry.folder.name}.lock"])


def test_a_kill_in_the_middle_of_the_swap_loses_nothing(tmp_path, entry):
    entry.folder.rename(entry.folder.with_name(f".{entry.folder.name}.new"))
    assert Cache(tmp_path).entry(KEY, never).about == {"sum": 4950}


def test_an_entry_replaced_while_it_is_open_stays_readable(tmp_path, entry):
    held = entry.files["0.bin"]
    (entry.folder / ENTRY).unlink()
    with pytest.warns(WidedeepWarning, match="cannot be trusted"):
        Cache(tmp_path).entry(KEY, lambda folder: (folder / "0.bin").write_bytes(b"new"))
    assert bytes(held) == bytes(range(100))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_while_building_leaves_no_entry(error, tmp_path):
    def build(folder):
        numbers(folder)
        raise error
    with pytest.raises(error):
        Cache(tmp_path).entry(KEY, build)
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == []


# --------------------------------------------------------------------------------------------------------------- bad targets


def test_a_cache_that_is_a_file_or_below_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("thesis")
    for place in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(ArtifactError, match=r"must be a folder that may be written to, or be made. Got: .*Choose another"):
            Cache(place)
    assert (tmp_path / "file").read_text() == "thesis"


def test_a_cache_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ArtifactError, match="Got: a folder that may not be written to"):
        Cache(tmp_path)


def test_a_full_disk_and_a_folder_that_went_away_are_reported_with_exit_code_1(tmp_path):
    def full(folder):
        raise OSError(28, "No space left on device")
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        Cache(tmp_path).entry(KEY, full)
    gone = Cache(tmp_path / "gone")
    gone.folder.rmdir()
    with pytest.raises(OutputError, match="cannot be written: No such file") as caught:
        gone.entry(KEY, never)
    assert caught.value.exit_code == 1
