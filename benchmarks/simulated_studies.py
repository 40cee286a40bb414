"""Do the intervals and verdicts of `widedeep.evaluation.statistics` keep their word? Studies simulated, the truth known.

    python benchmarks/simulated_studies.py [--studies 2000] [--json] [--save]

A study has test rows, five arms and up to ten seeds of each. A row's score is normal: what the label gives, noise common to all
arms, noise of the arm on that row, noise of the seed on that row. A seed moves the score of positives by a normal amount,
partly the same in all arms. Over seeds and rows the AUC is then Φ(δ / √(2σ² + τ²)): δ the arm's lift of positives, σ² the
variance of a row's score, τ² that of the lift by seed. Every figure goes through `scored`, `compare` and `verdicts`, as a real
study does.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import betaincinv

import record
from widedeep.evaluation.statistics import Scored, compare, scored, verdicts

NORMAL = NormalDist()
SEEDS = (3, 5, 10)
ARMS = ("joint", "wide", "deep", "one optimizer", "no crosses")
FAMILY = (("joint", "wide"), ("joint", "deep"), ("joint", "one optimizer"), ("joint", "no crosses"), ("wide", "deep"))
BEHIND = {"joint": 0.0, "wide": 0.02, "deep": 0.01, "one optimizer": 0.002, "no crosses": 0.0}
"""How far each arm's AUC lies below the first one's, where arms differ."""

BEST, POSITIVES = 0.8, 0.3
BLOCK = 50   # studies that one process takes at a time


@dataclass(frozen=True)
class World:
    """Where studies are drawn from: test rows, and the deviations of each kind of noise beside the common one, which is 1."""

    rows: int
    arm_row: float
    seed_row: float
    seed_lift: float
    shared_lift: float

    @property
    def row_variance(self) -> float:
        return 1 + self.arm_row**2 + self.seed_row**2

    @property
    def lift_variance(self) -> float:
        return self.seed_lift**2 + self.shared_lift**2

    def lift(self, auc: float) -> float:
        """The δ at which the AUC, over seeds and rows, is this."""
        return NORMAL.inv_cdf(auc) * (2 * self.row_variance + self.lift_variance) ** 0.5


WORLDS = {
    "seeds dominate": World(600, arm_row=0.05, seed_row=0.1, seed_lift=0.1, shared_lift=0.05),
    "balanced": World(600, arm_row=0.28, seed_row=0.2, seed_lift=0.08, shared_lift=0.05),
    "rows dominate": World(600, arm_row=0.4, seed_row=0.1, seed_lift=0.03, shared_lift=0.02),
}
LARGE, PLANTED = World(10_000, arm_row=0.1, seed_row=0.1, seed_lift=0.005, shared_lift=0.01), 0.005


def drawn(rng: np.random.Generator, world: World, aucs: dict[str, float],
          seeds: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One study's labels (rows,) and its arms' logits (seeds, rows); of the first arm twice as many seeds."""
    labels = (np.arange(world.rows) < POSITIVES * world.rows).astype(np.float64)
    common, shared = rng.normal(size=world.rows), rng.normal(0, world.shared_lift, 2 * seeds)
    arms = {}
    for name, auc in aucs.items():
        count = seeds if arms else 2 * seeds
        lift = world.lift(auc) + shared[:count] + rng.normal(0, world.seed_lift, count)
        own = common + rng.normal(0, world.arm_row, world.rows)
        arms[name] = own + rng.normal(0, world.seed_row, (count, world.rows)) + lift[:, None] * labels
    return labels, arms


def draw(rng: np.random.Generator, world: World, aucs: dict[str, float], seeds: int) -> dict[str, Scored]:
    """One study's arms, scored on rows of its own; under the name `again` the first arm with as many other seeds."""
    labels, arms = drawn(rng, world, aucs, seeds)
    runs = {name: dict(enumerate(logits[:seeds])) for name, logits in arms.items()}
    runs["again"] = dict(enumerate(arms[next(iter(aucs))][seeds:], seeds))
    return {name: scored("auc", labels, found) for name, found in runs.items()}


def first(arm: Scored, seeds: int) -> Scored:
    """The arm with its first seeds only."""
    return replace(arm, seeds=arm.seeds[:seeds], values=arm.values[:seeds], influences=arm.influences[:seeds])


def judged(arms: dict[str, Scored], aucs: dict[str, float], seeds: int) -> Counter:
    """What one study says with so many seeds: which intervals hold the truth, which verdicts are wrong."""
    arms = {name: first(arm, seeds) for name, arm in arms.items()}
    differences = {pair: compare(*(arms[name] for name in pair)) for pair in FAMILY}
    truth = {(a, b): aucs[a] - aucs[b] for a, b in FAMILY}
    alone, unpaired = FAMILY[1], ("joint", "again")
    single = verdicts({alone: differences[alone]})[alone]
    other = verdicts({unpaired: compare(arms["joint"], arms["again"])})[unpaired]
    family = verdicts(differences)
    parts = differences[alone].variance.parts()[0]
    return Counter({
        "single": single.low <= truth[alone] <= single.high,
        "family": all(one.low <= truth[pair] <= one.high for pair, one in family.items()),
        "family_error": any(one.p < 0.05 for pair, one in family.items() if not truth[pair]),
        "wrong_side": any(one.verdict in ("better", "worse") and (one.difference > 0) != (truth[pair] > 0)
                          for pair, one in family.items() if truth[pair]),
        "unpaired": other.low <= 0 <= other.high,
        "same_arm_told_apart": other.verdict in ("better", "worse"),
        "share_of_seeds": parts[0] / parts.sum()})


def coverage(name: str, apart: bool, counts: tuple[int, ...], studies: range) -> dict[int, Counter]:
    """Counts over a world's studies by number of seeds; `apart` as in `BEHIND`, else all arms are alike."""
    aucs = {arm: BEST - apart * BEHIND[arm] for arm in ARMS}
    found: dict[int, Counter] = {seeds: Counter() for seeds in counts}
    for study in studies:
        rng = np.random.default_rng([list(WORLDS).index(name), apart, study])
        arms = draw(rng, WORLDS[name], aucs, max(counts))
        for seeds in counts:
            found[seeds] += judged(arms, aucs, seeds)
    return found


def power(world: World, planted: float, seeds: int, studies: range) -> Counter:
    """Verdicts on an arm that is better by so much, alone in its family."""
    aucs = {"joint": BEST, "wide": BEST - planted}
    studied = (draw(np.random.default_rng([len(WORLDS), study]), world, aucs, seeds) for study in studies)
    return Counter(verdicts({"it": compare(arms["joint"], arms["wide"])})["it"].verdict for arms in studied)


def bounds(hits: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper & Pearson's bounds of a share, each right with the given confidence."""
    low = float(betaincinv(hits, of - hits + 1, 1 - confidence)) if hits else 0.0
    return low, float(betaincinv(hits + 1, of - hits, confidence)) if hits < of else 1.0


def figures(studies: int, processes: int = 1) -> dict[str, Any]:
    """Every share that is wanted, over so many studies in each world."""
    blocks = [range(start, min(start + BLOCK, studies)) for start in range(0, studies, BLOCK)]
    with ProcessPoolExecutor(processes) as pool:
        found = {(name, apart): list(pool.map(partial(coverage, name, apart, SEEDS), blocks))
                 for name in WORLDS for apart in (True, False)}
        planted = sum(pool.map(partial(power, LARGE, PLANTED, 5), blocks), Counter())
    rows = []
    for name in WORLDS:
        for seeds in SEEDS:
            apart, alike = (sum((block[seeds] for block in found[name, way]), Counter()) for way in (True, False))
            rows.append({"world": name, "seeds": seeds, "share_of_seeds": apart["share_of_seeds"] / studies,
                         "single": apart["single"] / studies, "family": apart["family"] / studies,
                         "unpaired": alike["unpaired"] / studies, "wrong_side": apart["wrong_side"] / studies,
                         "family_error": alike["family_error"] / studies,
                         "family_error_bound": bounds(alike["family_error"], studies)[1],
                         "same_arm_told_apart": alike["same_arm_told_apart"] / studies,
                         "same_arm_bound": bounds(alike["same_arm_told_apart"], studies)[0]})
    return {"studies": studies, "coverage": rows, "planted": PLANTED,
            "planted_verdicts": {name: count / studies for name, count in planted.items()}}


def main() -> None:
    parser = record.options(__doc__, "simulated_studies")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args()
    start = time.perf_counter()
    found = figures(chosen.studies, chosen.processes)
    record.publish("simulated_studies", {"figures": found, "seconds": time.perf_counter() - start}, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    found = result["figures"]
    head = [name for name in found["coverage"][0] if name not in ("world", "seeds")]
    rows = [(row["world"], str(row["seeds"]), *(f"{row[name]:.1%}" for name in head)) for row in found["coverage"]]
    print(record.table(" | ".join(["world", "seeds", *head]), *rows))
    print(f"\n+{found['planted']} planted: {found['planted_verdicts']}")


if __name__ == "__main__":
    main()
