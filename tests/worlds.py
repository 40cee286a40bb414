"""Small generated tables whose right answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

import widedeep as wd


def xor(rows: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The label is whether a and b are both even or both odd: each alone says nothing."""
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 6, rows) for _ in range(2))
    return pd.DataFrame({"a": [f"a{i}" for i in a], "b": b, "x": rng.normal(size=rows), "y": (a + b + 1) % 2})


def xor_schema(**training: object) -> wd.Schema:
    """A wide tower with the cross that decides, a deep one without."""
    return wd.Schema(
        wd.Label("y"),
        {"a": wd.Categorical(), "b": wd.Categorical(), "x": wd.Numeric(), "a_x_b": wd.Crossed(("a", "b"), bins=512)},
        wide=wd.Wide(("a", "b", "a_x_b")), deep=wd.Deep(("a", "b", "x"), hidden=(16,), width=4),
        training=wd.Training(**{"epochs": 8, "batch": 64, "wide": wd.Optimizer("ftrl", rate=0.1)} | training))
