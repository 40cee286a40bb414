"""The studies of recommenders: what is known before what is judged, and settings that no test has seen."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import movielens
import prose_recommend
import recommend_arms as arms
import recommend_calibration as calibration
import recommend_pictures as pictures
import recommend_world
from widedeep.recommend.interactions import Interactions


@pytest.fixture
def log() -> Interactions:
    rng = np.random.default_rng(0)
    table = {"user": rng.integers(0, 40, 900), "item": rng.integers(0, 60, 900), "time": rng.permutation(900)}
    return Interactions.of(pa.table(table), user="user", item="item", time="time")


def test_what_a_test_user_did_first_is_known_and_what_he_did_then_is_asked(log):
    for readings in movielens.parts(log).values():
        served = readings["served"]
        assert not np.isin(served.test.pairs, np.concatenate([served.history.pairs, served.train.pairs])).any()
        assert served.train.time.max() < served.test.time.min()
        for user in served.users:
            known, asked = (part.time[part.user == user] for part in (served.history, served.test))
            assert not len(known) or known.max() < asked.min()
    parts = movielens.parts(log)
    assert parts["validation"]["served"].test.time.max() < parts["test"]["at the cut"].test.time.min()


def test_settings_are_chosen_on_validation_alone():
    cells = [{"part": part, "system": "EASE", "settings": {"l2": l2}, "values": {"ndcg@10": [value]}}
             for part, l2, value in (("validation", 50, 0.1), ("validation", 250, 0.3), ("test", 1000, 0.9))]
    assert arms.best(cells) == {"EASE": {"l2": 250}}


def test_a_summary_has_leads_over_popularity_and_over_retrieval():
    def cell(system: str, seed: int, values: list[float]) -> dict:
        return {"part": "test", "system": system, "seed": seed, "values": dict.fromkeys(arms.KEPT, values)}

    better = [cell(system, seed, [0.5 + 0.01 * seed, 0.6, 0.7, 0.8]) for system in arms.RANKERS for seed in range(3)]
    plain = cell("popularity", 0, [0.1, 0.2, 0.3, 0.4])
    found = arms.summary([plain, *better,
                          *(cell(arms.TWO_TOWER, seed, [0.3, 0.4, 0.5, 0.6]) for seed in range(3))])
    joint = found["two-tower + joint"]["ndcg@10"]
    assert joint["mean"] == pytest.approx(0.6525) and joint["over two-tower"]["mean"] == pytest.approx(0.2025)
    assert joint["over popularity"]["low"] > 0.3 and found["popularity"]["ndcg@10"]["mean"] == pytest.approx(0.25)
    said = prose_recommend.verdict(found, "ndcg@10")
    assert said.startswith("Ahead is two-tower + ") and "two-tower + joint: more" in said
    first = max(found, key=lambda system: found[system]["ndcg@10"]["mean"])
    gap = found[first]["ndcg@10"]["ahead of"]
    assert gap["system"] == "popularity" and f"The first minus the second, chosen by these means: {gap['mean']:+.4f} (" in said
    alone = arms.statistics.verdicts({"": arms.statistics.compare(*arms.matched(*(
        arms._scored([one for one in [*better, plain] if one["system"] == system], "values", "ndcg@10")
        for system in (first, "popularity"))))})[""]
    assert gap["low"] < alone.low and gap["high"] > alone.high


def test_the_oracle_of_a_world_earns_all_there_is():
    known = recommend_world.world("towers", 60, 150)
    log = recommend_world.interactions(known, 300)

    class Oracle:
        def recommend(self, users, k, history):
            chances = recommend_world.truth(known, users)
            chances[history.user, history.item] = -1
            return np.argsort(-chances, axis=1)[:, :k]

    found = recommend_world.by_truth(known, log, Oracle())["values"]
    assert found["value@10"] == pytest.approx(np.ones(60)) and found["recall@100"] == [1.0] * 60


def test_the_committed_pictures_are_those_of_the_committed_results(tmp_path):
    pictures.draw(tmp_path / "systems.svg", pictures.systems, pictures.studies())
    pictures.draw(tmp_path / "probabilities.svg", pictures.probabilities, pictures.committed("recommend_calibration"))
    for path in tmp_path.iterdir():
        committed = pictures.PICTURES / f"recommend-{path.name}"
        assert path.read_bytes() == committed.read_bytes(), "run: python benchmarks/recommend_pictures.py"


def test_what_was_said_is_held_against_what_came_by_user():
    chances = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.4, 0.4, 0.2]])
    came = np.array([[True, False, False], [False, False, True], [True, False, False]])
    found = calibration.judged(chances, came, np.array([4, 4, 9]))
    first = found["first"]["1"]
    assert (first["said"], first["came"]) == (pytest.approx(0.5), pytest.approx(2 / 3))
    assert first["ratio"]["mean"] == pytest.approx(0.75) and first["ratio"]["low"] < 0.75 < first["ratio"]["high"]
    assert found["first"]["10"]["ratio"]["mean"] == 1.0
    assert found["log_loss"] == pytest.approx(-np.log([0.5, 0.1, 0.4]).mean())


def test_a_page_says_what_its_figures_are(monkeypatch):
    known = prose_recommend.committed("movielens")
    for result, older in ((known | {"law": arms.LAW}, False), ({k: v for k, v in known.items() if k != "law"}, True)):
        monkeypatch.setattr(prose_recommend, "_result", lambda name, result=result: result)
        text = prose_recommend.recommender_films()
        assert text.startswith("**A development check, not a published result**")
        assert ("Measured with an earlier law of negatives" in text) is older
        assert ("each holds by itself" in text) is older
