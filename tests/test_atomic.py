"""Whole or not at all: killed at any step, a reader finds the old content or the new, never neither and never a half."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from widedeep.atomic import check_target, finish_swap, whole_file, whole_folder
from widedeep.errors import ArtifactError, OutputError

KILLED_AT_EVERY_STEP = """
import os, pathlib, shutil, sys
from widedeep.atomic import finish_swap, whole_folder

PARTS = ("a", "b/c")

def write(target, text):
    with whole_folder(target) as folder:
        (folder / "b").mkdir()
        for part in PARTS:
            (folder / part).write_text(text)

def killed_before_call(number):
    calls = 0
    def die_at(function):
        def counted(*arguments, **settings):
            nonlocal calls
            calls += 1
            if calls == number:
                os._exit(9)
            return function(*arguments, **settings)
        return counted
    for name in ("rename", "fsync", "mkdir", "unlink", "rmdir"):
        setattr(os, name, die_at(getattr(os, name)))

outcomes = []
for number in range(1, 200):
    target = pathlib.Path(sys.argv[1]) / f"{sys.argv[2]}-{number}"
    if sys.argv[2] == "replacing":
        write(target, "old")
    child = os.fork()
    if not child:
        killed_before_call(number)
        write(target, "new")
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finish_swap(target)
    found = {(target / part).read_text() for part in PARTS} if target.exists() else {"nothing"}
    assert len(found) == 1, (number, found)
    outcomes.append(found.pop())
    write(target, "again")
    assert [p.name for p in target.parent.glob(f".{target.name}.*")] == [], number
    if ended == 0:
        break
print(*outcomes)
"""


@pytest.mark.parametrize(("case", "before"), [("replacing", "old"), ("fresh", "nothing")])
def test_killed_at_any_step_the_folder_is_what_it_was_or_what_it_should_become(case, before, tmp_path):
    command = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path), case]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    outcomes = done.stdout.split()
    turn = outcomes.index("new")
    assert turn > 5 and outcomes == [before] * turn + ["new"] * (len(outcomes) - turn)


def test_an_error_inside_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    (tmp_path / "file").write_text("old")
    with whole_folder(tmp_path / "folder") as folder:
        (folder / "x").write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "file") as path:
        path.write_text("half")
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "folder") as folder:
        (folder / "x").write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "x").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_disk_error_is_reported_with_the_path_and_exit_code_1(tmp_path):
    for whole in (whole_file, whole_folder):
        with pytest.raises(OutputError, match=r"place' cannot be written: No space left on device. What was there") as caught:
            with whole(tmp_path / "place"):
                raise OSError(28, "No space left on device")
        assert caught.value.exit_code == 1
    with pytest.raises(OutputError) as caught, whole_folder(tmp_path / "place") as folder, whole_file(folder / "part"):
        raise OSError(28, "No space left on device")
    assert str(caught.value).count("cannot be written") == 1 and caught.value.exit_code == 1
    assert os.listdir(tmp_path) == []


def test_a_parent_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), whole_folder(tmp_path / "file" / "model"):
        raise AssertionError("nothing can be written here")


def test_a_target_is_replaced_only_on_request_and_only_by_its_like(tmp_path):
    model, other, file, empty = (tmp_path / name for name in ("model", "other", "file", "empty"))
    for folder in (model, other, empty):
        folder.mkdir()
    (model / "mark").write_text("")
    (other / "thesis").write_text("")
    file.write_text("")
    def marked(folder):
        return folder.is_dir() and os.listdir(folder) in ([], ["mark"])

    check_target(tmp_path / "free")
    for place in (model, other, file, empty):
        with pytest.raises(ArtifactError, match="exists, and nothing is written over"):
            check_target(place, replaceable=marked)
    for place in (model, empty):
        check_target(place, force=True, replaceable=marked)
    check_target(file, force=True)
    for place, refusing in ((other, {"replaceable": marked}), (file, {"replaceable": marked}), (model, {})):
        with pytest.raises(ArtifactError, match="and nothing else, and only such a one is replaced"):
            check_target(place, force=True, **refusing)


def test_a_place_that_cannot_be_made_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "model", "/dev/null/model"):
        with pytest.raises(ArtifactError, match="cannot be made: .* is not a folder that may be written to"):
            check_target(place)


def test_what_a_link_leads_to_is_replaced_and_never_the_link(tmp_path):
    (tmp_path / "v1").mkdir()
    (tmp_path / "f1").write_text("old")
    for link, leads in (("current", "v1"), ("file", "f1")):
        (tmp_path / link).symlink_to(leads)
    for text in ("new", "newer"):
        with whole_folder(tmp_path / "current") as folder:
            (folder / "x").write_text(text)
        with whole_file(tmp_path / "file") as path:
            path.write_text(text)
        assert (tmp_path / "v1" / "x").read_text() == (tmp_path / "f1").read_text() == text
        assert os.readlink(tmp_path / "current") == "v1" and os.readlink(tmp_path / "file") == "f1"
    assert sorted(os.listdir(tmp_path)) == ["current", "f1", "file", "v1"]


def test_of_two_left_behind_the_newer_one_takes_the_empty_place(tmp_path):
    for name in ("new", "old"):
        (tmp_path / f".m.{name}").mkdir()
        (tmp_path / f".m.{name}" / name).write_text("")
    finish_swap(tmp_path / "m")
    assert os.listdir(tmp_path / "m") == ["new"]
    finish_swap(tmp_path / "m")
    assert os.listdir(tmp_path / "m") == ["new"]
