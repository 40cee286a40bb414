"""Simulated studies: intervals cover the truth, verdicts keep their error, and the committed figures say so."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds import xor, xor_schema

import record
import simulated_studies as simulated
from widedeep.ablation.report import summarise
from widedeep.ablation.study import Study, Task
from widedeep.tables import Table

WANTED, FAMILY, ERROR = (0.93, 0.97), 0.94, 0.06
STUDIES = range(200)


def keeps_its_word(found):
    """Every figure in its bounds; unpaired seeds, some of them only two degrees of freedom, may cover more."""
    for row in found["coverage"]:
        assert WANTED[0] <= row["single"] <= WANTED[1], row
        assert row["family"] >= FAMILY and row["family_error_bound"] <= ERROR and row["unpaired"] >= WANTED[0], row
        assert row["same_arm_bound"] <= 0.05 and row["wrong_side"] <= 0.05, row   # a lower bound
    assert found["planted_verdicts"]["better"] >= 0.95
    shares = [row["share_of_seeds"] for row in found["coverage"] if row["seeds"] == 5]
    assert shares[0] > 0.8 and 0.3 < shares[1] < 0.7 and shares[2] < 0.2


def test_the_truth_in_closed_form_is_what_many_seeds_and_rows_come_to():
    world = simulated.WORLDS["balanced"]
    studies = [simulated.draw(np.random.default_rng(study), world, {"joint": 0.8}, 2) for study in range(400)]
    areas = [arms["joint"].values.mean() for arms in studies]
    assert abs(np.mean(areas) - 0.8) < 4 * np.std(areas) / 20


@pytest.mark.parametrize("world", simulated.WORLDS)
def test_intervals_cover_the_truth_in_two_hundred_studies(world):
    """Bounds as wide as so few studies make them."""
    for seeds, found in simulated.coverage(world, True, (3, 5), STUDIES).items():
        low, high = simulated.bounds(found["single"], 200, 0.99)
        assert low <= WANTED[1] and high >= WANTED[0], (seeds, found)
        assert simulated.bounds(found["family"], 200, 0.99)[1] >= FAMILY, (seeds, found)


def test_arms_that_are_alike_are_rarely_told_apart():
    found = simulated.coverage("balanced", False, (3,), STUDIES)[3]
    for error in ("family_error", "same_arm_told_apart"):
        assert simulated.bounds(found[error], 200, 0.99)[0] <= 0.05, found


def test_a_planted_half_percent_is_found():
    assert simulated.power(simulated.LARGE, simulated.PLANTED, 5, range(40))["better"] >= 35


@pytest.fixture
def planted(tmp_path):
    """A study of five seeds that nobody trained, whose arms are as good as they are made."""
    aucs = {"joint": 0.8, "wide": 0.8 - simulated.PLANTED, "deep": 0.79, "deep-x2": 0.81, "joint-x0.5": 0.8}
    labels, arms = simulated.drawn(np.random.default_rng(0), simulated.LARGE, aucs, seeds=5)
    arms |= {"joint": arms["joint"][:5], "joint-again": arms["joint"][5:]}
    rows = xor(len(labels)).assign(y=labels.astype(int))
    table, valid, test = (Table.of(pa.Table.from_pandas(part)) for part in (xor(100), xor(100, seed=1), rows))
    study = Study.start(tmp_path / "study", table, xor_schema(), valid, test,
                        arms=("wide", "deep", "joint", "ensemble", "ensemble-fitted", "joint-again"))
    sizes = {"a": 8, "b": 8, "x": 1, "a_x_b": 515}
    study.occupancy_file.write_text(json.dumps({"sizes": sizes, "occurring": sizes, "multivalued": []}))
    seen = np.arange(len(labels)) % 20
    pq.write_table(pa.table({"id": seen, "cross": seen}), study.slices_file)
    for arm, runs in arms.items():
        towers = {"wide": 100, "deep": {"deep-x2": 20_000, "joint-x0.5": 5_000}.get(arm, 10_000)}
        record = {"settings": {}, "curve": [0.7], "flat": True, "timings": {"seconds": 1.0},
                  "parameters": {tower: dict.fromkeys(("allocated", "touched", "nonzero"), n) for tower, n in towers.items()}}
        for seed, logits in enumerate(runs):
            study.finish(Task(arm, seed), record, {"predictions.parquet": pa.table({"logit": logits}),
                                                   "valid.parquet": pa.table({"logit": logits[:100]}),
                                                   "wide.parquet": pa.table({"column": ["a"], "id": [seed]})})
    return study


def test_a_report_finds_what_is_planted_and_nothing_where_nothing_is(planted):
    found = summarise(planted)
    better, same = (found["questions"][name] for name in ("joint-wide", "joint-joint-again"))
    assert better["verdict"] == "better" and better["low"] <= simulated.PLANTED <= better["high"]
    assert same["verdict"] not in ("better", "worse") and same["low"] <= 0 <= same["high"]
    assert {figures["auc"]["seeds"] for figures in found["arms"].values()} == {5}
    assert found["capacity"] == {
        "deeper": "The smallest deep model that is not worse than joint, by more than the margin, is deep-x2: 20,100 touched "
                  "weights.",
        "smallest_joint": "The smallest joint model that is not worse than deep, by more than the margin, is joint-x0.5: 5,100 "
                          "touched weights."}


def test_the_bounds_of_a_share_are_those_of_clopper_and_pearson():
    assert simulated.bounds(0, 10) == (0, pytest.approx(1 - 0.05 ** 0.1)) and simulated.bounds(10, 10)[1] == 1
    assert simulated.bounds(5, 10) == pytest.approx((0.2224, 0.7776), abs=1e-4)


def test_the_committed_figures_keep_their_word():
    found = record.committed("simulated_studies")["figures"]
    assert found["studies"] >= 2000
    keeps_its_word(found)


@pytest.mark.slow   # 2,000 studies of each world, minutes
def test_two_thousand_studies_keep_their_word():
    keeps_its_word(simulated.figures(2000, processes=2))
