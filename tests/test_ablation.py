"""Ablation studies: arms are what they say, sizes fit, and a study ends the same however it was interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds import xor, xor_schema

import widedeep as wd
from widedeep import space
from widedeep.ablation import ablate, arms, capacity, jobs, search
from widedeep.ablation.capacity import Occupancy
from widedeep.ablation.report import summarise
from widedeep.ablation.study import DONE, RUN, Study, Task
from widedeep.errors import DataError, SchemaError

SCHEMA = replace(xor_schema(epochs=5, patience=2), deep=wd.Deep(("a", "x"), hidden=(16,), width=4))
"""The deep tower lacks one of the two columns that decide together."""


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.Table.from_pandas(xor(rows=1500, seed=3), preserve_index=False)


@pytest.fixture(scope="module")
def study(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Every arm on a table in which only the cross decides, two seeds."""
    found = ablate.prepared(table, SCHEMA, tmp_path_factory.mktemp("study") / "xor", seeds=2, axes=())
    assert ablate.carry_out(found, jobs=2, progress=False) == {}
    return found


@pytest.fixture(scope="module")
def report(study: Study) -> dict:
    return summarise(study)


def test_every_arm_finds_what_it_can_and_no_arm_what_it_cannot(report):
    auc = {arm: figures["auc"]["mean"] for arm, figures in report["arms"].items()}
    assert min(auc[arm] for arm in ("wide", "joint", "ensemble", "ensemble-fitted", "stacked", "joint-one-optimizer",
                                    "joint-again", "deep-crosses", "lightgbm")) > 0.97, auc
    assert max(auc[arm] for arm in ("wide-raw", "deep", "deep-deep", "joint-raw", "joint-permuted")) < 0.62, auc


def test_a_report_has_every_arm_every_metric_and_the_declared_questions(study, report):
    shown = {name for name, arm in study.arms.items() if arm.shown}
    assert set(report["arms"]) == shown
    assert all(set(figures) == {"auc", "logloss", "normalized_entropy", "calibration_ratio", "ece"}
               for figures in report["arms"].values())
    declared = {name for name, question in report["questions"].items() if question["declared"]}
    assert declared == {f"{a}-{b}" for a, b in arms.QUESTIONS if b != "deeper"}
    assert report["unfinished"] == report["failed"] == [] and report["extended"] is False


def test_sizes_hold_as_many_touched_weights_as_they_say(table, tmp_path):
    study = ablate.prepared(table, SCHEMA, tmp_path / "sizes", seeds=2, arms=("deep", "joint"))
    sizes = [Task(name, seed) for name in ("deep-x2", "joint-x0.5", "deep", "joint") for seed in range(2)]
    assert jobs.carry_out(study, sizes, 2, lambda task, seconds: None) == {}
    found = summarise(study)
    assert [point["size"] for point in found["curves"]["width"]["deep"]] == [1, 2]
    assert found["capacity"]["smallest_joint"].startswith("The smallest joint model")
    base = study.occupancy.count(study.schema)["deep"]["touched"]
    for name in ("deep-x2", "joint-x0.5"):
        measured = study.read(Task(name, 0))["parameters"]["deep"]["touched"]
        assert abs(measured / (base * float(name.partition("-x")[2])) - 1) <= capacity.TOLERANCE, name


def test_counts_before_training_are_those_of_the_trained_model(study):
    for name in ("wide", "deep", "joint", "deep-crosses"):
        schema, _ = study.schema_of(Task(name, 0))
        measured = study.read(Task(name, 0))["parameters"]
        for tower, counted in study.occupancy.count(schema).items():
            assert counted == {kind: measured[tower][kind] for kind in counted}, (name, tower)


def test_a_run_keeps_its_record_its_predictions_and_a_seal(study):
    place = study.folder / Task("joint", 1).place
    rows = pq.read_table(place / "predictions.parquet")
    assert rows.column_names == ["row", "label", "logit", "probability"] and len(rows) == study.rows("test")
    record = json.loads((place / RUN).read_text())
    assert record["seed"] == 1 and 0 < record["wide_share"] <= 1.5 and set(record["parameters"]) == {"wide", "deep"}
    assert set(json.loads((place / DONE).read_text())) == {RUN, "predictions.parquet", "valid.parquet", "wide.parquet"}


def test_a_study_of_something_else_is_refused_and_says_what_differs(study, table):
    with pytest.raises(DataError, match="It differs in: schema"):
        ablate.prepared(table, replace(SCHEMA, missing=("?",)), study.folder, seeds=2, axes=())
    with pytest.raises(DataError, match="It differs in: data"):
        ablate.prepared(table.slice(1), SCHEMA, study.folder, seeds=2, axes=())
    with pytest.raises(DataError, match="none is taken away"):
        ablate.prepared(table, SCHEMA, study.folder, seeds=1, axes=())


def test_a_damaged_run_is_made_again_and_said_so(study, tmp_path, capsys):
    copy = Study.open(Path(shutil.copytree(study.folder, tmp_path / "copy")))
    task = Task("wide", 0)
    before = (copy.folder / task.place / "predictions.parquet").read_bytes()
    (copy.folder / task.place / "predictions.parquet").write_bytes(b"not what was written")
    assert not copy.is_done(task)
    assert ablate.carry_out(copy, jobs=1, progress=False) == {}
    assert f"{task.place} is made again: predictions.parquet was changed" in capsys.readouterr().err
    assert (copy.folder / task.place / "predictions.parquet").read_bytes() == before


def test_more_seeds_mark_the_report_as_extended(study, table, tmp_path):
    shutil.copytree(study.folder, tmp_path / "copy")
    more = ablate.prepared(table, SCHEMA, tmp_path / "copy", seeds=3, axes=())
    found = summarise(more)
    assert found["extended"] and {one["seed"] for one in found["unfinished"]} == {2}
    assert ablate.plan(more, jobs=2).runs == len(found["unfinished"])


def test_one_seed_runs_and_refuses_to_rank(table, tmp_path):
    study = ablate.prepared(table, SCHEMA, tmp_path / "one", seeds=1, arms=("wide", "joint"), axes=())
    assert ablate.carry_out(study, jobs=2, progress=False) == {}
    found = summarise(study)["questions"]["joint-wide"]
    assert found["low"] is None and "two seeds" in found["text"]


def test_settings_are_tried_on_validation_rows_and_the_best_is_taken(table, tmp_path):
    study = ablate.prepared(table, SCHEMA, tmp_path / "tuned", seeds=1, arms=("wide", "joint-again"), trials=3, axes=())
    trials, runs = study.tasks()
    assert ablate.carry_out(study, jobs=2, progress=False) == {}
    assert {task.arm for task in trials} == {"wide"} and not any((study.folder / task.place / "predictions.parquet").exists()
                                                                 for task in trials)
    scores = [trial["valid"] for trial in study.trials("wide")]
    assert study.read(Task("wide", 0))["settings"] == study.trials("wide")[int(np.argmax(scores))]["settings"]
    assert summarise(study)["tuning"]["wide"] == np.maximum.accumulate(scores).tolist()
    seeds = {study.seed_of(task) for task in trials}
    assert not seeds & {study.seed_of(task) for task in runs}


def test_trials_are_the_same_for_the_same_number_and_differ_between_arms():
    drawn = search.draw(SCHEMA, 3, b"joint")
    assert drawn == search.draw(SCHEMA, 3, b"joint") != search.draw(SCHEMA, 3, b"deep")
    stated = replace(SCHEMA, search={"training.wide.l1": space.OneOf((1.0, 2.0)),
                                     "training.deep.rate": space.Between(1e-3, 1e-2)})
    assert set(search.draw(stated, 1, b"")) == {"training.wide.l1", "training.deep.rate"}
    assert set(search.draw(arms.ARMS["joint-one-optimizer"].schema(stated), 1, b"")) == {"training.deep.rate"}
    assert set(search.draw(stated.only("wide"), 1, b"")) == {"training.wide.l1"}
    with pytest.raises(SchemaError, match="must leave those settings alone. Got \\['deep.hidden'\\]"):
        search.space_of(replace(SCHEMA, search={"deep.hidden": space.OneOf(((8,), (16,)))}))
    assert space.applied(SCHEMA, drawn).training.wide.rate == drawn["training.wide.rate"]


def test_arms_that_would_be_the_same_model_are_an_error():
    bare = arms.without_crosses(SCHEMA)
    with pytest.raises(SchemaError, match="'wide-raw' and 'wide' are the same one"):
        arms.chosen(("wide-raw", "wide"), bare)
    assert not {arm.name for arm in arms.chosen(None, bare)} & {"wide-raw", "joint-raw", "joint-permuted", "deep-crosses"}
    with pytest.raises(SchemaError, match="Did you mean 'joint'"):
        arms.chosen(("jont",), SCHEMA)
    with pytest.raises(SchemaError, match="needs both"):
        arms.chosen(None, SCHEMA.only("deep"))


def test_a_size_that_an_axis_cannot_reach_is_left_out():
    occupancy = Occupancy({"a": 9, "b": 9, "x": 1, "a_x_b": 515}, {"a": 6, "b": 6, "x": 1, "a_x_b": 36})
    schema = replace(SCHEMA, deep=replace(SCHEMA.deep, hidden=(1,)))
    smallest = occupancy.count(schema.only("deep"))["deep"]["touched"]
    assert capacity.resized(schema, "width", smallest // 2, occupancy) is None
    found = capacity.resized(SCHEMA, "depth", 2000, occupancy)
    assert len(found.hidden) > 1 and max(found.hidden) <= SCHEMA.deep.hidden[0] * 64


def _dies_once(folder: str, what: Task | None, said) -> None:
    """A process that is killed when it first does a task."""
    mark = Path(folder) / f"died-{what.arm}-{what.number}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    said.send(("done", ""))


def _always_dies(folder: str, what: Task | None, said) -> None:
    if what.arm == "wide":
        os.kill(os.getpid(), signal.SIGKILL)
    said.send(("done", ""))


def test_a_killed_process_is_started_once_more_and_then_reported(tmp_path, monkeypatch):
    tasks, done = [Task("wide", 0), Task("deep", 0)], []
    study = Study(tmp_path, replace(_asked(), arms=("wide", "deep")))
    monkeypatch.setattr(jobs, "_work", _dies_once)
    assert jobs.carry_out(study, tasks, 2, lambda task, _: done.append(task)) == {} and set(done) == set(tasks)
    done.clear()
    monkeypatch.setattr(jobs, "_work", _always_dies)
    failed = jobs.carry_out(study, tasks, 2, lambda task, _: done.append(task))
    assert done == [Task("deep", 0)] and failed == {Task("wide", 0): "its process was ended by signal 9"}


def _asked():
    from widedeep.ablation.study import Asked
    return Asked(SCHEMA.to_toml(), "", ("wide",))


def test_a_study_that_is_killed_and_goes_on_ends_with_the_same_report(table, tmp_path):
    pq.write_table(table, tmp_path / "table.parquet")
    (tmp_path / "schema.toml").write_text(SCHEMA.to_toml())
    with _ablate(tmp_path, "whole") as whole:
        _, said = whole.communicate()
    assert whole.returncode == 0, said
    with _ablate(tmp_path, "cut") as cut:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "cut").glob("runs/*/*/DONE")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(cut.pid, signal.SIGKILL)
    assert not (tmp_path / "cut" / "report.json").exists()
    with _ablate(tmp_path, "cut") as again:
        _, said = again.communicate()
    assert again.returncode == 0, said
    one, other = (_timeless(json.loads((tmp_path / name / "report.json").read_text())) for name in ("whole", "cut"))
    assert one == other


def _ablate(folder: Path, out: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "widedeep", "ablate", "table.parquet", "--schema", "schema.toml", "--out", out,
               "--seeds", "2", "--arms", "wide,deep,ensemble", "--axes", "", "--jobs", "1"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)


def _timeless(report: dict) -> dict:
    """A report without what differs from one time to the next."""
    for about in report["about"].values():
        about.pop("seconds", None)
        about.pop("seconds_per_step", None)
    for name in ("date", "budget"):
        report["study"].pop(name)
    report.pop("compute")
    return report


def test_slices_count_what_training_rows_had(study):
    seen = pq.read_table(study.slices_file)
    assert seen.column_names == ["id", "cross"] and len(seen) == study.rows("test")
    train = pq.read_table(study.part("train")).to_pandas()
    test = pq.read_table(study.part("test")).to_pandas()
    counts = train.groupby(["a", "b"]).size()
    expected = [int(counts.get((a, b), 0)) for a, b in zip(test.a, test.b)]
    assert seen["cross"].to_pylist() == expected


def test_the_permuted_arm_reads_another_rows_crosses(study):
    rows = pq.read_table(study.part("train"))
    moved = rows["a" + arms.ELSEWHERE].to_pylist()
    assert sorted(moved) == sorted(rows["a"].to_pylist()) and moved != rows["a"].to_pylist()
    schema, _ = study.schema_of(Task("joint-permuted", 0))
    assert schema.columns["a_x_b"].sources == ("a" + arms.ELSEWHERE, "b" + arms.ELSEWHERE)


def test_bad_input_is_refused_before_anything_is_trained(table, tmp_path):
    with pytest.raises(SchemaError, match="no such axes"):
        ablate.prepared(table, SCHEMA, tmp_path / "a", axes=("breadth",))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").touch()
    with pytest.raises(DataError, match="a folder of its own"):
        ablate.prepared(table, SCHEMA, tmp_path / "full")
    with pytest.raises(DataError, match="must be the folder of a study"):
        Study.open(tmp_path / "nothing")
    few = table.filter(pa.compute.equal(table["y"], 0))
    with pytest.raises(DataError, match="positive"):
        ablate.prepared(few, SCHEMA, tmp_path / "few")
    grouped = replace(SCHEMA, group="b")
    with pytest.raises(DataError, match="groups"):
        ablate.prepared(table, grouped, tmp_path / "grouped")
