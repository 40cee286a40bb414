"""Do the intervals of `widedeep.installs.off_policy` keep their word? Logs simulated, the truth known.

    python benchmarks/off_policy_coverage.py [--logs 1000] [--processes 1] [--json] [--save]

A visit has twelve candidates and shows two, drawn by Plackett-Luce from a score, one visit in twenty at random. Each candidate
has a score x and a taste z; logit q = base + (x + z) / 2 + the user's own effect, normal with deviation .8, and a reward is
Bernoulli(q). A user has about five visits. Three new policies lean from x to z so far that the effective sample size is 50, 10
and 2 % of the rows shown; the control is the logging policy, sharpened. The truth is the mean of Σ t q over 2 million visits.
A good reward model knows all but the user's effect, a poor one ranks by -z.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit

import record
from widedeep.errors import WidedeepWarning
from widedeep.installs import off_policy, policy
from widedeep.installs.off_policy import FEWEST_USERS, Logged, OffPolicy, compare, estimate

CANDIDATES, SHOWN, TEMPERATURE, EXPLORE = 12, 2, 0.5, 0.05
RATES = {"9 %": -3.2, "2 %": -5.2}
"""The base of the logit, by the share of shown candidates that are rewarded."""

VISITS = (2000, 8000)
NEW = {"50 %": (1.65, 1.1, False), "10 %": (0.65, 1.0, True), "2 %": (-0.45, 1.0, True)}
"""New policies by the effective share of rows: scores a x + b z, drawn by their softmax or, if True, the two best shown."""

CONTROL = (2.4, 0.0, False)
ESTIMATORS = {"ips": ("ips", None), "snips": ("snips", None),
              "dr, good model": ("dr", "good"), "dr, poor model": ("dr", "poor")}
BLOCK, TRUTH = 50, 2_000_000


@dataclass(frozen=True)
class Drawn:
    """One log, and what it does not tell: x and z of each candidate, and the probability of its reward."""

    x: np.ndarray
    z: np.ndarray
    q: np.ndarray
    log: Logged


def inclusion(scores: np.ndarray) -> np.ndarray:
    """Of slates of two: shown first, or second after any other; what `policy.inclusion` integrates, in closed form."""
    first = policy.weights(scores)
    odds = first / (1 - first)
    return first * (1 + odds.sum(axis=1, keepdims=True) - odds)


def draw(rng: np.random.Generator, visits: int, base: float) -> Drawn:
    """Visits, what was shown, and what it brought."""
    user = np.repeat(np.arange(visits), 1 + rng.poisson(4, visits))[:visits]
    x, z = rng.normal(size=(2, visits, CANDIDATES))
    q = expit(base + (x + z) / 2 + rng.normal(0, 0.8, visits)[user][:, None])
    slates = policy.draw(rng, x, SHOWN, TEMPERATURE, EXPLORE)
    shown = np.zeros(x.shape, bool)
    np.put_along_axis(shown, slates, True, axis=1)
    propensity = EXPLORE * SHOWN / CANDIDATES + (1 - EXPLORE) * inclusion(x / TEMPERATURE)
    return Drawn(x, z, q, Logged(shown, shown & (rng.random(q.shape) < q), propensity, user))


def stated(drawn: Drawn, way: tuple[float, float, bool]) -> np.ndarray:
    """A policy's probability to show each candidate."""
    scores = way[0] * drawn.x + way[1] * drawn.z
    return off_policy.stated(scores, SHOWN) if way[2] else inclusion(scores)


def guesses(drawn: Drawn, base: float) -> dict[str | None, np.ndarray | None]:
    """What the reward models say."""
    return {None: None, "good": expit(base + (drawn.x + drawn.z) / 2), "poor": 4 * drawn.q.mean() * expit(-drawn.z)}


def truths(base: float) -> dict[str, float]:
    """What each policy earns per visit."""
    part, ways = 20_000, NEW | {"control": CONTROL}
    found = dict.fromkeys(ways, 0.0)
    for number in range(TRUTH // part):
        drawn = draw(np.random.default_rng([99, number]), part, base)
        for name, way in ways.items():
            found[name] += (stated(drawn, way) * drawn.q).sum() / TRUTH
    return found


def judged(drawn: Drawn, base: float) -> Iterator[tuple[str, str, OffPolicy, OffPolicy]]:
    """By new policy and estimator: what one log says of its value and of its gain."""
    models, control = guesses(drawn, base), stated(drawn, CONTROL)
    old = {name: estimate(drawn.log, control, how, predicted=models[model]) for name, (how, model) in ESTIMATORS.items()}
    for share, way in NEW.items():
        target = stated(drawn, way)
        for name, (how, model) in ESTIMATORS.items():
            found = estimate(drawn.log, target, how, predicted=models[model])
            yield share, name, found, compare(found, old[name])


def block(rate: str, visits: int, truth: dict[str, float], logs: range) -> list[tuple[Any, ...]]:
    """Of each log: policy, estimator, whether value and gain lie in their intervals, and what they come from."""
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WidedeepWarning)
        for log in logs:
            drawn = draw(np.random.default_rng([list(RATES).index(rate), visits, log]), visits, RATES[rate])
            rows += [(share, name, value.low <= truth[share] <= value.high,
                      gain.low <= truth[share] - truth["control"] <= gain.high, value.share, value.effective_users)
                     for share, name, value, gain in judged(drawn, RATES[rate])]
    return rows


def figures(logs: int, processes: int = 1) -> list[dict[str, Any]]:
    """Coverage, and how often one is warned, in every cell."""
    blocks, found = [range(start, min(start + BLOCK, logs)) for start in range(0, logs, BLOCK)], []
    with ProcessPoolExecutor(processes) as pool:
        for rate, truth in zip(RATES, pool.map(truths, RATES.values())):
            for visits in VISITS:
                rows = [row for part in pool.map(partial(block, rate, visits, truth), blocks) for row in part]
                found += [{"rate": rate, "visits": visits} | cell(rows, share, name) for share in NEW for name in ESTIMATORS]
    return found


def cell(rows: list[tuple[Any, ...]], share: str, name: str) -> dict[str, Any]:
    """One policy and estimator over the logs of one kind."""
    value, gain, effective, users = np.array([row[2:] for row in rows if row[:2] == (share, name)], float).T
    trusted = users >= FEWEST_USERS
    return {"share": share, "estimator": name, "coverage_value": value.mean(), "coverage_gain": gain.mean(),
            "effective_share": float(np.median(effective)), "effective_users": float(np.median(users)),
            "warned": 1 - trusted.mean(), "coverage_gain_unwarned": gain[trusted].mean() if trusted.any() else None}


def main() -> None:
    parser = record.options(__doc__, "off_policy_coverage")
    parser.add_argument("--logs", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args()
    start = time.perf_counter()
    found = figures(chosen.logs, chosen.processes)
    result = {"figures": {"logs": chosen.logs, "limit": FEWEST_USERS, "coverage": found}}
    record.publish("off_policy_coverage", result | {"seconds": time.perf_counter() - start}, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    head = [name for name in result["figures"]["coverage"][0] if name not in ("rate", "visits", "share", "estimator")]
    rows = [(row["rate"], f"{row['visits']:,}", row["share"], row["estimator"], *(_written(name, row[name]) for name in head))
            for row in result["figures"]["coverage"]]
    print(record.table(" | ".join(["rewarded", "visits", "share", "estimator", *head]), *rows))


def _written(name: str, number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}" if name == "effective_users" else f"{number:.1%}"


if __name__ == "__main__":
    main()
