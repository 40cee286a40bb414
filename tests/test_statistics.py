"""Intervals and verdicts over seeds and rows: against t-tests, DeLong's covariance, sums by hand, and quadrature."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from widedeep.errors import DataError
from widedeep.evaluation.influence import influence
from widedeep.evaluation.metrics import auc, logloss_from_logits, sigmoid
from widedeep.evaluation.statistics import Difference, Runs, Scored, Variance, compare, estimate, scored, verdicts

ROUNDING = 1e-9   # a root found to 1e-12, times a few sums


def of_values(*values, first=0, influences=None):
    """An arm with these values, whose rows move nothing unless told."""
    seeds = tuple(range(first, first + len(values)))
    return Scored(seeds, np.array(values), np.zeros((len(values), 50)) if influences is None else np.array(influences))


def study(seed=0, rows=200, arms=2, seeds=3):
    """Labels and, for each arm, logits by seed."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=rows)
    logits = [{s: base + rng.normal(0, 0.3, rows) for s in range(seeds)} for _ in range(arms)]
    return (rng.random(rows) < sigmoid(base)).astype(float), *logits


def difference(mean, *, seeds=5, variance=1e-6, from_rows=0.0, common=1e-6, rows=10_000):
    found = Variance((Runs(seeds, variance, from_rows),), common, rows)
    return Difference(mean, found, (seeds, seeds), rows, True)


def only(*arguments, **options):
    return verdicts({"it": difference(*arguments, **options)})["it"]


# Scores

def test_runs_are_scored_one_by_one():
    labels, logits, _ = study()
    found = scored("auc", labels, logits)
    assert found.seeds == (0, 1, 2) and found.rows == 200
    assert found.values.tolist() == [auc(labels, logits[seed]) for seed in found.seeds]
    expected = [influence("auc", labels, logits[seed])[1] * (200 / 199) ** 0.5 for seed in found.seeds]
    assert found.influences == pytest.approx(np.array(expected), abs=1e-15)


def test_rows_that_all_come_twice_are_half_as_many_units():
    labels, logits, _ = study()
    once = scored("auc", labels, logits)
    twice = scored("auc", np.repeat(labels, 2), {seed: np.repeat(z, 2) for seed, z in logits.items()},
                   units=[f"user {i // 2}" for i in range(400)])
    assert twice.rows == 400 and twice.influences.shape == (3, 200)
    assert twice.influences == pytest.approx(once.influences, abs=1e-15) and twice.values == pytest.approx(once.values)


def test_the_variance_over_units_is_that_of_a_jackknife_that_leaves_out_whole_units():
    labels, logits, _ = study(rows=600)
    units = np.random.default_rng(1).integers(0, 100, 600)
    left_out = np.array([auc(labels[units != unit], logits[0][units != unit]) for unit in range(100)])
    jackknife = 99 / 100 * ((left_out - left_out.mean()) ** 2).sum()
    assert (scored("auc", labels, {0: logits[0]}, units=units).influences ** 2).sum() == pytest.approx(jackknife, rel=0.03)


def test_rows_of_weight_zero_are_no_rows_and_a_row_of_no_unit_is_one():
    labels, logits, _ = study()
    kept = np.arange(200) % 4 > 0
    part = scored("logloss", labels[kept], {seed: z[kept] for seed, z in logits.items()})
    assert scored("logloss", labels, logits, weights=kept).influences == pytest.approx(part.influences, abs=1e-15)
    alone = scored("logloss", labels, logits, units=[None] * 200)
    assert alone.influences == pytest.approx(scored("logloss", labels, logits).influences, abs=1e-15)
    assert scored("logloss", labels, logits, units=["a", "a", *[None] * 198]).influences.shape == (3, 199)


def test_what_cannot_be_scored_says_so():
    with pytest.raises(DataError, match="at least one run. Got no seeds"):
        scored("auc", [0, 1], {})
    with pytest.raises(DataError, match="one value per row. Got 1 for 2 rows"):
        scored("auc", [0, 1], {0: [0.0, 1.0]}, units=["a"])
    with pytest.raises(DataError, match="between units. Got 1"):
        scored("auc", [0, 1], {0: [0.0, 1.0]}, units=["a", "a"])
    with pytest.raises(DataError, match="Did you mean 'auc'"):
        scored("acu", [0, 1], {0: [0.0, 1.0]})


# Intervals

def test_where_rows_move_nothing_it_is_the_t_interval_over_seeds():
    found = estimate(of_values(0.7, 0.8, 0.75))
    low, high = stats.t.interval(0.95, 2, 0.75, stats.sem([0.7, 0.8, 0.75]))
    assert (found.low, found.high) == pytest.approx((low, high), abs=ROUNDING)
    assert (found.mean, found.sd, found.seeds) == pytest.approx((0.75, 0.05, 3))


def test_where_seeds_change_nothing_it_is_delongs_interval_over_rows():
    """The variance pair by pair: of positives' components over their number, plus that of negatives'."""
    labels, (scores, *_), _ = (list(part.values()) if isinstance(part, dict) else part for part in study(rows=60))
    positives, negatives = scores[labels == 1], scores[labels == 0]
    kernel = np.array([[(p > n) + (p == n) / 2 for n in negatives] for p in positives])
    variance = sum(((kernel.mean(side) - kernel.mean()) ** 2).mean() / kernel.shape[1 - side] for side in (0, 1))
    found, area = estimate(scored("auc", labels, dict.fromkeys(range(4), scores)), confidence=0.9), kernel.mean()
    reach = stats.t.ppf(0.95, 59) * (variance * 60 / 59) ** 0.5
    assert found.sd == 0 and (found.low, found.high) == pytest.approx((area - reach, area + reach), abs=ROUNDING)


def test_the_covariance_of_two_seeds_is_the_mean_over_all_pairs_of_them():
    labels, a, b = study(seeds=4)
    a, b = scored("auc", labels, a), scored("auc", labels, b)
    moved = a.influences - b.influences
    pairs = [moved[s] @ moved[t] for s in range(4) for t in range(4) if s != t]
    assert compare(a, b).variance.common == pytest.approx(max(0, np.mean(pairs)), abs=1e-15)
    assert compare(a, b).variance.runs[0].variance == pytest.approx((a.values - b.values).var(ddof=1))


def test_a_negative_covariance_counts_as_none():
    opposite, still = ([[0.1, -0.1], [-0.1, 0.1]], [[0, 0], [0, 0]])
    assert compare(of_values(0.7, 0.8, influences=opposite), of_values(0.7, 0.9, influences=still)).variance.common == 0


def test_same_seeds_are_paired_in_any_order_and_others_are_not():
    a, b, c = [0.71, 0.75, 0.74], [0.70, 0.76, 0.71], [0.70, 0.78, 0.75, 0.76]
    for other, test, paired in ((b, stats.ttest_rel(a, b), True), (c, stats.ttest_ind(a, c, equal_var=False), False)):
        found = compare(of_values(*a), of_values(*other))
        interval, verdict = test.confidence_interval(), verdicts({"it": found})["it"]
        assert found.paired == paired and verdict.p == pytest.approx(test.pvalue, rel=1e-6)
        assert (verdict.low, verdict.high) == pytest.approx(tuple(interval), abs=ROUNDING)
    back = Scored((2, 1, 0), np.array(b[::-1]), np.zeros((3, 50)))
    assert compare(of_values(*a), back) == compare(of_values(*a), of_values(*b))


def test_a_difference_turned_round_changes_its_sign_only():
    labels, a, b = study()
    for shift in (0, 10):
        x, y = scored("auc", labels, a), scored("auc", labels, {seed + shift: z for seed, z in b.items()})
        there, back = (verdicts({"it": compare(*pair)})["it"] for pair in ((x, y), (y, x)))
        assert there.difference == pytest.approx(-back.difference) and there.p == pytest.approx(back.p)
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=ROUNDING)


def test_unpaired_seeds_still_share_their_rows():
    labels, a, _ = study(seeds=6)
    first, second = (scored("auc", labels, {seed: a[seed] for seed in seeds}) for seeds in ((0, 1, 2), (3, 4, 5)))
    found = compare(first, second)
    alone = estimate(first)
    assert not found.paired and found.variance.common < 0.1 * ((alone.high - alone.low) / 4) ** 2


@given(st.floats(1e-9, 1), st.floats(1e-9, 1), st.integers(2, 12), st.floats(0.5, 0.999))
def test_the_interval_ends_where_the_p_value_is_what_is_left(variance, common, count, confidence):
    found = Variance((Runs(count, variance, 0.0),), common, 1000)
    assert found.p_value(found.reach(confidence)) == pytest.approx(1 - confidence, rel=1e-6)


@pytest.mark.parametrize("doubt", [0.05, 0.01])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_are_right_or_wide_whatever_the_share_of_seeds(doubt, seeds):
    """Over the distribution of S²: an estimate is normal, its S² a χ² beside it, and its variance from rows known."""
    quantiles = stats.chi2.ppf((np.arange(100) + 0.5) / 100, seeds - 1) / (seeds - 1)
    for share in (0.05, 0.2, 0.5, 0.8, 0.95):
        found = [Variance((Runs(seeds, seeds * share * one, 0.0),), 1 - share, 10**6).reach(1 - doubt) for one in quantiles]
        missed = 2 * stats.norm.sf(found).mean()
        assert 0.4 * doubt < missed < 1.04 * doubt


def test_nothing_that_varies_leaves_nothing_open():
    same, behind = of_values(0.7, 0.7, 0.7), of_values(0.6, 0.6, 0.6)
    found = verdicts({"same": compare(same, same), "ahead": compare(same, behind)})
    assert (found["same"].low, found["same"].high, found["same"].p) == pytest.approx((0, 0, 1), abs=ROUNDING)
    assert found["same"].text == "equivalent: no difference, surely less than 0.001"
    assert (found["ahead"].verdict, found["ahead"].p) == ("better", pytest.approx(0, abs=ROUNDING))


# Verdicts

@pytest.mark.parametrize(("mean", "higher_is_better", "verdict", "text"), [
    (0.0052, True, "better", "better by 0.0052, between 0.0029 and 0.0075"),
    (-0.0052, True, "worse", "worse by 0.0052, between 0.0029 and 0.0075"),
    (-0.0052, False, "better", "better by 0.0052, between 0.0029 and 0.0075"),
    (0.0052, False, "worse", "worse by 0.0052, between 0.0029 and 0.0075"),
])
def test_better_and_worse_follow_the_metrics_direction(mean, higher_is_better, verdict, text):
    found = verdicts({"it": difference(mean)}, higher_is_better=higher_is_better)["it"]
    assert (found.verdict, found.text, found.more_seeds, found.more_rows) == (verdict, text, None, None)
    assert found.difference == mean and found.low < mean < found.high


def test_inside_the_margin_arms_are_equivalent_whatever_the_sign():
    sure, chance = only(0.0005, variance=1e-8, common=1e-8), only(-0.0001, variance=1e-8, common=1e-8)
    assert sure.verdict == chance.verdict == "equivalent" and sure.low > 0 > chance.low
    assert sure.text == "equivalent: better by 0.0005, between 0.00027 and 0.00073, surely less than 0.001"
    assert chance.text == "equivalent: worse by 0.0001, perhaps by chance, surely less than 0.001"
    assert verdicts({"it": difference(0.0005, variance=1e-8, common=1e-8)}, margin=0)["it"].verdict == "better"


@pytest.mark.parametrize(("options", "seeds", "rows", "text"), [
    ({"variance": 1.2e-5, "common": 1e-7}, True, False,
     "undecided: no number of test rows would settle it; {seeds} more seeds of each arm would"),
    ({"variance": 1e-7, "common": 1e-5}, False, True,
     "undecided: no number of seeds up to 200 would settle it; {rows:,} more test rows would"),
    ({"variance": 5e-6, "common": 2e-6, "from_rows": 4e-6}, True, True,
     "undecided: {seeds} more seeds of each arm, or {rows:,} more test rows, would settle it"),
    ({"variance": 1e-3, "common": 1e-4}, False, False,
     "undecided: neither 200 seeds nor 1,000 times the test rows would settle it"),
])
def test_the_undecided_say_what_would_settle_them(options, seeds, rows, text):
    found = only(0.0035, **options)
    assert found.verdict == "undecided" and (found.more_seeds is not None, found.more_rows is not None) == (seeds, rows)
    assert found.text == text.format(seeds=found.more_seeds, rows=found.more_rows) + " if the difference stays as it is"
    if seeds:
        settled = [only(0.0035, **options, seeds=5 + found.more_seeds - less).verdict for less in (0, 1)]
        assert settled == ["better", "undecided"]
    if rows:
        times = 1 + found.more_rows / 10_000
        inside = options.get("from_rows", 0.0)
        grown = {"variance": options["variance"] - inside * (1 - 1 / times), "common": options["common"] / times}
        assert only(0.0035, **grown, rows=10_000 + found.more_rows).verdict == "better"
        assert only(0.0035, **options | {"common": options["common"] / (0.9 * times)}).verdict == "undecided"


def test_a_small_difference_can_be_settled_as_equivalent():
    found = only(0.0001, variance=1e-6, common=1e-8)
    assert found.verdict == "undecided"
    assert only(0.0001, variance=1e-6, common=1e-8, seeds=5 + found.more_seeds).verdict == "equivalent"


def test_a_family_pays_for_its_size():
    alone = only(0.002)
    family = verdicts({name: difference(0.002) for name in "abcde"})
    assert len({one.low for one in family.values()}) == 1 and family["a"].p == pytest.approx(5 * alone.p)
    wider = verdicts({"it": difference(0.002)}, confidence=0.99)["it"]
    assert (family["a"].low, family["a"].high) == pytest.approx((wider.low, wider.high), abs=ROUNDING)
    assert verdicts({}) == {} and verdicts({name: difference(0.0) for name in "ab"})["a"].p == 1


def test_one_seed_has_a_mean_and_no_verdict():
    labels, a, b = study()
    one, three = scored("auc", labels, {0: a[0]}), scored("auc", labels, b)
    found = estimate(one)
    assert (found.mean, found.sd, found.low, found.high, found.seeds) == (one.values[0], None, None, None, 1)
    verdict = verdicts({"it": compare(one, three)})["it"]
    assert verdict.difference == pytest.approx(one.values[0] - three.values.mean())
    assert (verdict.low, verdict.high, verdict.p, verdict.more_seeds, verdict.more_rows) == (None,) * 5
    assert verdict.text == "undecided: a verdict needs two seeds of each arm"


def test_a_deterministic_arm_against_one_with_seeds():
    labels, a, b = study()
    fixed, free = scored("logloss", labels, dict.fromkeys(range(3), a[0])), scored("logloss", labels, b)
    found = compare(fixed, free)
    assert found.variance.runs[0].variance == pytest.approx(free.values.var(ddof=1))
    expected = logloss_from_logits(labels, a[0]) - np.mean([logloss_from_logits(labels, z) for z in b.values()])
    assert found.mean == pytest.approx(expected)


def test_weights_that_are_all_equal_change_nothing():
    labels, a, b = study()
    plain, weighted = (compare(*(scored("auc", labels, arm, w) for arm in (a, b))) for w in (None, np.full(200, 3.0)))
    assert plain.mean == pytest.approx(weighted.mean) and plain.variance.common == pytest.approx(weighted.variance.common)


def test_what_cannot_be_compared_or_judged_says_so():
    a = of_values(0.7, 0.8)
    with pytest.raises(DataError, match="the same rows. Got 50 and 49 units"):
        compare(a, replace(a, influences=np.zeros((2, 49))))
    with pytest.raises(DataError, match="margin.*at least 0. Got -0.1"):
        verdicts({}, margin=-0.1)
    with pytest.raises(DataError, match="confidence lies between 0 and 1. Got 95"):
        verdicts({}, confidence=95)
    with pytest.raises(DataError, match="confidence lies between 0 and 1. Got 1"):
        estimate(a, confidence=1)
