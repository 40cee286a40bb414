"""The install studies: cells are kept, verdicts and trust follow from what they hold, and pools serve what they say."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cells
import frappe_visits
import installs
import installs_arms
import installs_frappe
import installs_map
import installs_tuning
import record
from installs_trust import NAMES, Pool, coverage, offline, trust
from widedeep.installs.acquisition import Online, logged
from widedeep.installs.world import World


@dataclass(frozen=True)
class Square:
    """A cell that takes no time."""

    number: int
    power: int = 2

    @property
    def name(self) -> str:
        return f"{self.number}.json"


def raised(cell: Square) -> dict[str, int]:
    if cell.number == 13:
        raise ValueError("bad luck")
    return {"raised": cell.number**cell.power}


def asked(folder, end: float = float("inf")) -> Namespace:
    return Namespace(out=folder, processes=1, end=end)


def test_cells_are_computed_once_and_what_came_of_something_else_anew(tmp_path, capsys):
    wanted = [Square(2), Square(13), Square(3)]
    kept = {"power": 2, "raised": "computed before", "seconds": 3600.0}
    (tmp_path / "2.json").write_text(json.dumps({"number": 2} | kept))
    (tmp_path / "3.json").write_text(json.dumps({"number": 3} | kept | {"power": 5}))
    found = cells.carry_out(asked(tmp_path), wanted, raised)
    assert [one["raised"] for one in found] == ["computed before", 9]
    assert "failed: 13.json: ValueError: bad luck" in capsys.readouterr().err   # and the others went on
    assert cells.budget(found, wanted) == {"cells": 3, "unfinished": 1, "hours": pytest.approx(1, abs=0.01)}
    assert "3 cells; 1 are not finished" in cells.said(cells.budget(found, wanted))
    assert cells.carry_out(asked(tmp_path, end=0), [*wanted, Square(4)], raised) == found   # too late to begin
    with pytest.raises(SystemExit, match="No cell is finished"):
        cells.carry_out(asked(tmp_path, end=0), [Square(4)], raised)


def test_a_small_version_is_not_kept(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["installs.py", "--quick", "--save"])
    with pytest.raises(SystemExit):
        cells.asked(cells.options("A study.", "installs/table", quick="small"))
    assert "--save keeps the full result" in capsys.readouterr().err


def online(installs_per_visit: float, control: float = 1.0, auc: float = 0.7) -> dict:
    return asdict(Online("any", auc, installs_per_visit, installs_per_visit / control - 1))


def in_world(world: int, joint: float) -> dict:
    table = {"deeper": online(1.0), "joint": online(joint), "oracle": online(2.0), "random": online(0.5)}
    return {"kind": "towers", "share": 0.05, "impressions": 5000, "world": world, "seconds": 1.0, "table": table}


@pytest.mark.parametrize(("gains", "said"), [((0.1, 0.11, 0.12), "joint"), ((-0.1, -0.11, -0.12), "deeper"),
                                             ((0.1, -0.1, 0.02), "undecided")])
def test_a_square_of_the_map_is_decided_by_its_worlds(gains, said):
    found = [in_world(world, 1 + gain) for world, gain in enumerate(gains)]
    one = installs_map.square(found)
    assert one["verdict"] == said and one["gain"] == pytest.approx(np.mean(gains)) and one["worlds"] == len(gains)
    assert installs_map.square(found[:2]) is None   # too few worlds to say


def test_a_map_has_a_place_for_what_is_not_finished():
    wanted = [cell for cell in installs_map.wanted(3) if (cell.kind, cell.share) == ("towers", 0.05)]
    found = installs_map.figures([in_world(world, 1.1) for world in range(3)], wanted)
    squares = found["map"]["towers"]["0.05"]
    assert squares["20000"] is None and squares["5000"]["gain"] == pytest.approx(0.1) and squares["5000"]["worlds"] == 3
    assert found["budget"] == {"cells": 12, "unfinished": 9, "hours": pytest.approx(3 / 3600)}


def test_no_two_cells_of_the_map_share_a_world_and_none_is_that_of_the_tuning():
    cells_ = installs_map.wanted(installs_map.WORLDS)
    places = {(cell.kind, cell.share, cell.impressions) for cell in cells_}
    assert len(places) == 32 and len({cell.world for cell in cells_}) == len(cells_) == 32 * installs_map.WORLDS
    tables = {first + world for first in installs.FIRST.values() for world in range(installs.WORLDS)}
    assert not ({cell.world for cell in cells_} | tables) & {installs_tuning.DEVELOPMENT}


def judged(world: int, said: dict[str, float], true: dict[str, float]) -> dict:
    return {"world": world, "table": {arm: online(value) for arm, value in true.items()},
            "offline": {arm: dict.fromkeys(NAMES, value) for arm, value in said.items()}}


def test_a_figure_is_trusted_as_far_as_it_orders_arms():
    true = {"a": 1.0, "b": 1.1, "c": 1.2}
    found = trust([judged(0, {"a": 0.1, "b": 0.3, "c": 0.2}, true)])
    assert found["auc"]["pairs"] == pytest.approx(2 / 3) and found["auc"]["regret"] == pytest.approx(1 - 1.1 / 1.2)
    assert found["logloss"]["pairs"] == pytest.approx(1 / 3)   # the lower, the better
    assert found["logloss"]["regret"] == pytest.approx(1 - 1.0 / 1.2) and found["auc"]["pairs_low"] is None
    twice = trust([judged(0, true, true), judged(0, true, true), judged(1, {"a": 3, "b": 2, "c": 1}, true)])
    assert twice["snips"]["pairs"] == pytest.approx(0.5)   # seeds are averaged within their world
    assert (twice["snips"]["pairs_low"], twice["snips"]["pairs_high"]) == (0, 1)
    same = trust([judged(world, true, true) for world in range(3)])
    assert same["dr"]["regret"] == 0 and same["dr"]["regret_high"] is None   # worlds that agree have no spread to go by
    near = trust([judged(0, true, {"a": 1.0, "b": 1.001, "c": 1.002})])
    assert near["auc"]["pairs"] is None


def test_the_table_has_the_figures_that_are_promised():
    found = []
    for kind in installs_arms.KINDS:
        for world in range(2):
            row = {arm: online(1 + 0.1 * number + 0.01 * world, 1 + 0.01 * world)
                   for number, arm in enumerate((*installs_arms.ARMS, "ensemble"))}
            offline_ = {arm: dict.fromkeys(NAMES, row[arm]["installs"]) for arm in row}
            found.append({"kind": kind, "world": world + installs.FIRST[kind], "seconds": 1.0, "bayes": {"auc": 0.8},
                          "table": row | {"oracle": online(3.0), "random": online(0.2)}, "offline": offline_,
                          "weights": dict.fromkeys(installs_arms.ARMS, 10.0),
                          "coverage": {one: {"deep": 0.9, "joint": 1.0} for one in ("ips", "snips", "dr")}})
    figures = installs.figures(found, found)
    assert {"offline_auc", "online_gain", "bayes_auc", "coverage_dr", "coverage_snips", "by_kind"} <= set(figures)
    assert figures["online_gain"]["joint"] == pytest.approx(np.mean([1.2 / 1.0, 1.21 / 1.01]) - 1, abs=0.01)
    assert figures["coverage_dr"] == pytest.approx(0.95) and figures["bayes_auc"] == pytest.approx(0.8)
    assert figures["table"]["joint"]["worlds"] == 4 and figures["by_kind"]["trees"]["table"]["joint"]["worlds"] == 2
    assert figures["joint_over_deeper"]["gain"] == pytest.approx(np.mean([1.2 / 1.3, 1.21 / 1.31]) - 1)


def pool(visits: int = 4000) -> Pool:
    """Two rankers: one knows the chances, the other is blind."""
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.05, 0.6, (visits, 6))
    return Pool(rng.integers(0, visits // 4, visits), chance, rng.normal(size=chance.shape), 2, 1.0, 0.2,
                {"knows": np.log(chance), "blind": rng.normal(size=chance.shape)}, chance)


def test_a_log_of_a_pool_tells_which_ranker_earns_more_and_its_intervals_hold():
    visits = pool()
    said = offline(visits, seed=0)
    true = {name: float((target * visits.chance).sum(axis=1).mean()) for name, target in visits.targets.items()}
    for figure in ("auc", "group_auc", "ips", "snips", "dr"):
        assert said["knows"][figure] > said["blind"][figure]
    for name, earned in true.items():
        assert said[name]["dr"] == pytest.approx(earned, rel=0.08)
    covered = coverage(visits, "blind", seed=0)
    assert all(0.88 < covered[one]["knows"] <= 1 for one in covered), covered


def test_deeper_has_as_many_touched_weights_as_joint_and_arms_take_their_settings():
    world = World(replace(installs_arms.spec("towers", 0.05, 0), users=60, apps=100))
    train = logged(world, 2000, 0, installs_arms.TRAIN)
    base = installs_arms.schema(world)
    deeper = installs_arms.arm_schema("deeper", base, train, {"deep.l2": 7.0})
    assert deeper.deep.hidden[0] > base.deep.hidden[0] and not deeper.wide.columns and deeper.deep.l2 == 7.0
    joint = installs_arms.arm_schema("joint", base, train, {"training.wide.rate": 0.01})
    assert joint.wide.columns and joint.training.wide.rate == 0.01


def test_the_best_trial_of_each_arm_is_kept():
    found = [{"kind": "towers", "share": 0.05, "impressions": 5000, "arm": arm, "settings": {"deep.l2": l2}, "valid_auc": auc}
             for arm, l2, auc in (("joint", 1.0, 0.6), ("joint", 2.0, 0.7), ("deep", 3.0, 0.5))]
    assert installs_tuning.best(found) == {"towers": {"0.05": {"5000": {"joint": {"deep.l2": 2.0}, "deep": {"deep.l2": 3.0}}}}}
    trials = installs_tuning.trials(2)
    assert len(set(trials)) == len(trials) and {one.number for one in trials[:len(trials) // 2]} == {0}


def test_every_arm_of_the_committed_studies_has_settings_from_as_many_trials():
    kept = record.committed("installs/settings")
    assert kept["budget"]["unfinished"] == 0
    for kind in installs_arms.KINDS:
        for arm in installs_arms.ARMS:
            assert arm in kept["settings"][kind][f"{installs.SHARE:g}"][str(installs.IMPRESSIONS)]
        for share in installs_map.SHARES:
            for size in installs_map.SIZES:
                assert set(installs_map.ARMS) <= set(kept["settings"][kind][f"{share:g}"][str(size)])


@pytest.fixture
def data(tmp_path):
    """A log and a table of apps like Frappe's: 60 users, 120 apps."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 60, 1500), np.minimum(rng.geometric(0.03, 1500), 120) - 1
    pq.write_table(pa.table({"user": user, "item": item}), tmp_path / "log.parquet")
    text = {name: [f"{name} {i % 7}" for i in range(120)] for name in ("category", *frappe_visits.OF_APPS)}
    rating = ["unknown" if i % 9 == 0 else f"{3 + i % 3}.5" for i in range(120)]
    pq.write_table(pa.table({"item": range(120), "rating": rating, **text}), tmp_path / "apps.parquet")
    return str(tmp_path)


def test_visits_hold_one_pair_of_the_test_rows_among_apps_the_user_has_in_no_part(data):
    rows = frappe_visits.tables(data)
    users, items, labels = (rows["test"][name].to_numpy().reshape(-1, frappe_visits.CANDIDATES)
                            for name in ("user", "item", "label"))
    owned = set(zip(*(pq.read_table(f"{data}/log.parquet")[name].to_pylist() for name in ("user", "item"))))
    assert (labels.sum(axis=1) == 1).all() and 150 < len(labels) < 350
    assert all(len(set(slate)) == frappe_visits.CANDIDATES for slate in items)
    assert [(user, item) in owned for user, item in zip(users.ravel(), items.ravel())] == (labels.ravel() == 1).tolist()
    assert 0.85 < (labels.argmax(axis=1) > 0).mean() < 1   # at a random place
    trained = {(user, item) for user, item, label in zip(*(rows["train"][name].to_pylist()
                                                           for name in ("user", "item", "label"))) if label}
    assert not trained & set(zip(users[labels == 1], items[labels == 1]))
    assert rows["test"]["rating"].null_count and rows["test"]["category"][0].as_py().startswith("category")


def test_gains_on_real_visits_hold_seeds_and_users():
    old = np.tile([1.0, 0.0, 1.0, 0.0], (2, 25))
    new = old.copy()
    new[:, ::10] = 1.0
    found = installs_frappe._gain(new, old, np.arange(100) // 2)
    assert found["gain"] == pytest.approx(new.mean() / old.mean() - 1) and found["low"] < found["gain"] < found["high"]
    assert installs_frappe._gain(old, old, np.arange(100) // 2)["gain"] == 0
