"""The peers' side of benchmarks/speed.py: what is drawn, and how a peer's process is asked and fails. Installs nothing."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from peers import environments, shapes

OTHERS = [name for name in environments.PEERS if name != "widedeep"]
FAKE = '''
import protocol

VARIANTS = {"slow": {"seconds": 2.0}, "fast": {"seconds": 0.5}}


class System:
    def __init__(self, shape, data, precision, threads, seconds):
        print("Libraries print.")
        self.seconds, self.rounds = seconds, 0

    def joint(self):
        self.rounds += 1
        return self.seconds, 1 / self.rounds

    def bare(self):
        raise MemoryError("no room for the MLP")


if __name__ == "__main__":
    protocol.serve(System, VARIANTS, ("numpy",))
'''


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A peer called `fake` that runs in this environment, and nothing measured."""
    for name in ("protocol.py", "shapes.py"):
        shutil.copy(environments.HERE / name, tmp_path)
    (tmp_path / "run_fake.py").write_text(FAKE)
    monkeypatch.setattr(environments, "HERE", tmp_path)
    monkeypatch.setattr(environments, "FASTEST", tmp_path / "peers.json")
    monkeypatch.setattr(environments, "environment", lambda name: Path(sys.executable))
    monkeypatch.setitem(environments.PEERS, "fake", "Fake")
    return "fake"


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_rows_are_drawn_from_the_seed_and_lie_in_their_tables(name):
    shape = shapes.shape_of(name)
    first, again = (shapes.draw(shape, 500, seed=3) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert (first.ids < shape.rows).all() and (first.ids >= 0).all() and first.numbers.shape == (500, shape.numbers)
    wide = shapes.wide_ids(shape, first)
    assert wide.shape == (500, len(shape.wide_rows)) and wide.max() < sum(shape.wide_rows)
    assert 0 < first.labels.mean() < 1


def test_a_cross_is_a_function_of_its_two_columns():
    shape = shapes.shape_of("adult")
    data = shapes.draw(shape, 2000)
    a, b = shape.crosses[0]
    pairs = np.unique(np.stack([data.ids[:, a], data.ids[:, b]], 1), axis=0)
    triples = np.unique(np.stack([data.ids[:, a], data.ids[:, b], data.crosses[:, 0]], 1), axis=0)
    assert len(pairs) == len(triples)


@pytest.mark.parametrize("name", OTHERS)
def test_every_peer_has_pinned_requirements_and_named_variants(name):
    lines = (environments.HERE / f"{name}.txt").read_text().splitlines()
    assert lines and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert environments.variants(name)


def test_a_peer_answers_rounds_after_a_warm_up_and_ends(fake):
    with environments.Peer(fake, "adult", steps=2) as peer:
        assert peer.variant == "slow" and peer.versions["numpy"] == np.__version__
        assert peer.round("joint") == 2 * 256 / 2.0 and peer.loss == 1 / 2
        assert peer.round("joint") and peer.loss == 1 / 3
    assert peer._process.returncode == 0


def test_the_fastest_measured_variant_is_used(fake):
    tried = [{"peer": fake, "shape": "adult", "precision": "f32", "variant": "slow", "joint": 1.0},
             {"peer": fake, "shape": "adult", "precision": "f32", "variant": "fast", "joint": 2.0},
             {"peer": fake, "shape": "adult", "precision": "f32", "variant": "broken", "error": "…"}]
    environments.FASTEST.write_text(json.dumps({"variants": tried}))
    with environments.Peer(fake, "adult", steps=2) as peer:
        assert peer.variant == "fast"


def test_a_peer_that_fails_tells_what_it_said_last(fake):
    with environments.Peer(fake, "adult", steps=2) as peer:
        with pytest.raises(environments.PeerError, match="Fake failed with exit code 1(?s:.*)no room for the MLP"):
            peer.round("bare")
    (environments.HERE / "run_fake.py").write_text("raise SystemExit('no such thing')")
    with pytest.raises(environments.PeerError, match="no such thing"):
        environments.Peer(fake, "adult", variant="slow")


@pytest.mark.slow
def test_a_peer_that_cannot_be_installed_tells_why(tmp_path, monkeypatch):
    (tmp_path / "keras.txt").write_text("this is no requirement\n")
    monkeypatch.setattr(environments, "HERE", tmp_path)
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    with pytest.raises(environments.PeerError, match="Keras 3: could not install it:(?s:.*)this is no requirement"):
        environments.environment("keras")
    assert not (tmp_path / "keras" / "requirements.txt").exists()


def test_a_precision_that_a_peer_lacks_is_refused():
    with pytest.raises(environments.PeerError, match="FuxiCTR is run in f32 only. Got 'bf16'."):
        environments.Peer("fuxictr", "frappe", precision="bf16")
