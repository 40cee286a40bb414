"""Simulated studies: intervals cover the truth, verdicts keep their error, and the committed figures say so."""

import numpy as np
import pytest

import record
import simulated_studies as simulated

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
