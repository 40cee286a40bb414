"""Each peer under the settings that its documentation offers: which is fastest, shape by shape.

    python benchmarks/peers/variants.py [--only pytorch_widedeep,keras] [--steps 10] [--rounds 3] [--json] [--save]

The fastest one is what `environments.Peer`, and with it `benchmarks/speed.py`, uses. One peer's variants take turns, so that
what slows the machine slows all of them. `loss` holds each measured epoch's loss: it falls, or the peer does not train.
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import record
from peers.environments import PEERS, PRECISIONS, Peer, PeerError, environment, variants

STEPS = {"criteo": 1, "adult": 10, "frappe": 1}
"""A shape's steps, as a multiple of `--steps`: small batches want more of them."""
PAUSE = 0.3
"""Seconds between rounds, in which another process's threads stop spinning."""


def main() -> None:
    parser = record.options(__doc__, "peers")
    names = [name for name in PEERS if name != "widedeep"]
    parser.add_argument("--only", default=",".join(names), help="peers to try (default all); what was measured of others stays")
    parser.add_argument("--steps", type=int, default=10, help="steps a round (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each variant (default 3)")
    chosen = parser.parse_args()
    asked = chosen.only.split(",")
    if unknown := set(asked) - set(names):
        parser.error(f"--only takes peers of {', '.join(names)}. Got {', '.join(sorted(unknown))}.")
    kept = [] if set(asked) == set(names) else _committed()
    tried = [one for one in kept if one["peer"] not in asked]
    for name in asked:
        try:
            environment(name)
        except PeerError as error:
            tried += [{"peer": name, "shape": "any", "precision": "f32", "variant": "any", "error": str(error)}]
            continue
        for precision in PRECISIONS.get(name, ("f32",)):
            for shape in STEPS:
                tried += _tried(name, shape, precision, chosen.steps * STEPS[shape], chosen.rounds)
    record.publish("peers", {"rounds": chosen.rounds, "steps": chosen.steps, "variants": tried}, chosen, _show)


def _committed() -> list[dict[str, Any]]:
    return record.committed("peers")["variants"] if (record.RESULTS / "peers.json").exists() else []


def _tried(name: str, shape: str, precision: str, steps: int, rounds: int) -> list[dict[str, Any]]:
    """All variants of one peer in turn: median examples a second of the whole net and of its MLP alone, or the error."""
    found: list[dict[str, Any]] = []
    with ExitStack() as closing:
        running: list[tuple[Peer, dict[str, Any]]] = []
        for variant in variants(name):
            one: dict[str, Any] = {"peer": name, "shape": shape, "precision": precision, "variant": variant}
            found.append(one | {"rates": [], "bare": [], "loss": []})
            try:
                peer = Peer(name, shape, steps=steps, precision=precision, variant=variant)
                running.append((closing.enter_context(peer), found[-1]))
            except PeerError as error:
                found[-1]["error"] = str(error)
        for _ in range(rounds):
            for peer, one in running:
                _round(peer, one)
    summaries = [_summary(one) for one in found]
    print(*map(_line, summaries), sep="\n", file=sys.stderr)
    return summaries


def _round(peer: Peer, one: dict[str, Any]) -> None:
    if "error" in one:
        return
    try:
        time.sleep(PAUSE)
        one["rates"].append(peer.round("joint"))
        one["loss"].append(round(peer.loss, 5))
        time.sleep(PAUSE)
        one["bare"].append(peer.round("bare"))
        one["versions"] = peer.versions
    except PeerError as error:
        one["error"] = str(error)


def _summary(one: dict[str, Any]) -> dict[str, Any]:
    """What is kept of one variant."""
    about = {key: one[key] for key in ("peer", "shape", "precision", "variant")}
    if "error" in one:
        return about | {"error": one["error"]}
    return about | {"joint": statistics.median(one["rates"]), "bare": statistics.median(one["bare"]),
                    "lowest": min(one["rates"]), "highest": max(one["rates"]), "loss": one["loss"], "versions": one["versions"]}


def _line(one: dict[str, Any]) -> str:
    said = f"{one['peer']:<17} {one['shape']:<7} {one['precision']:<5} {one['variant']:<42}"
    if "error" in one:
        return f"{said} failed: {one['error'].splitlines()[-1]}"
    return f"{said} {one['joint']:>9,.0f} bare {one['bare']:>9,.0f} loss {one['loss'][0]:.4f} to {one['loss'][-1]:.4f}"


def _show(result: dict[str, Any]) -> None:
    for one in result["variants"]:
        print(_line(one))


if __name__ == "__main__":
    main()
