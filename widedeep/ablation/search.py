"""Random search over a stated space: which settings a trial tries depends on its number and on what is tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from widedeep.schema import Schema


@dataclass(frozen=True)
class Between:
    """A number between two others, even on a logarithmic scale."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """One of them, to three digits."""
        return float(f"{np.exp(rng.uniform(np.log(self.low), np.log(self.high))):.3g}")


@dataclass(frozen=True)
class OneOf:
    """One of these values."""

    values: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> float:
        """One of them."""
        return self.values[rng.integers(len(self.values))]


SPACE: Mapping[str, Between | OneOf] = MappingProxyType({
    "training.wide.rate": Between(0.01, 0.5), "training.wide.l1": OneOf((0.0, 0.1, 1.0, 10.0)),
    "training.deep.rate": Between(0.005, 0.2), "deep.dropout": OneOf((0.0, 0.1, 0.2, 0.3, 0.5))})
"""What is tuned, and where it is sought: the same for every arm; an arm without a tower leaves its settings alone."""


def draw(schema: Schema, number: int, key: bytes) -> dict[str, float]:
    """The settings of a trial, by their place in the schema; number 0 is the schema as it is.

    >>> from widedeep.columns import Categorical
    >>> from widedeep.schema import Label, Wide
    >>> schema = Schema(Label("y"), {"a": Categorical()}, Wide(("a",)))
    >>> draw(schema, 0, b""), sorted(draw(schema, 1, b""))
    ({}, ['training.wide.l1', 'training.wide.rate'])
    """
    if number == 0:
        return {}
    rng = np.random.default_rng([number, *key])
    drawn = {place: where.draw(rng) for place, where in SPACE.items()}
    return {place: value for place, value in drawn.items() if _applies(schema, place)}


def _applies(schema: Schema, place: str) -> bool:
    tower = "wide" if ".wide." in place else "deep"
    if not getattr(schema, tower).columns:
        return False
    return place != "training.wide.l1" or schema.training.wide.optimizer == "ftrl"


def applied(schema: Schema, settings: Mapping[str, Any]) -> Schema:
    """The schema with these settings.

    >>> from widedeep.columns import Categorical
    >>> from widedeep.schema import Deep, Label
    >>> schema = Schema(Label("y"), {"a": Categorical()}, deep=Deep(("a",)))
    >>> applied(schema, {"deep.dropout": 0.5, "training.deep.rate": 0.1}).training.deep.rate
    0.1
    """
    for place, value in settings.items():
        schema = _set(schema, place.split("."), value)
    return schema


def _set(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    return replace(value, **{path[0]: _set(getattr(value, path[0]), path[1:], new)})
