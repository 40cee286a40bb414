"""Random search: which settings a trial tries depends on its number and on what is tuned."""

from __future__ import annotations

from typing import Any

import numpy as np

from widedeep.errors import SchemaError
from widedeep.schema import SETTINGS_OF, Schema
from widedeep.space import USUAL, Space

FIXED = ("deep.hidden", "deep.width", "deep.batch_norm", "training.metric", "training.split")
"""What a study decides for all arms alike, or by their sizes."""


def space_of(schema: Schema) -> Space:
    """What a study tunes: the schema's space, or the usual one. Raises: SchemaError for what a study fixes itself.

    >>> from widedeep.columns import Categorical
    >>> from widedeep.schema import Label, Wide
    >>> sorted(space_of(Schema(Label("y"), {"a": Categorical()}, Wide(("a",)))))[:2]
    ['deep.dropout', 'deep.l2']
    """
    space = schema.search or USUAL
    if fixed := [place for place in space if place in FIXED]:
        raise SchemaError(f"An ablation gives its arms their sizes and judges them alike, so [search] must leave those "
                          f"settings alone. Got {fixed}. Take them out.")
    return space


def draw(schema: Schema, number: int, key: bytes) -> dict[str, Any]:
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
    drawn = {place: where.draw(rng) for place, where in space_of(schema).items()}
    return {place: value for place, value in drawn.items() if _applies(schema, place)}


def _applies(schema: Schema, place: str) -> bool:
    """Whether a schema has the tower that a setting is of, and its optimizer such a setting."""
    section, *path = place.split(".")
    tower = "deep" if section == "deep" else path[0] if path[0] in ("wide", "deep") else None
    if tower is None:
        return True
    optimizer = getattr(schema.training, tower).optimizer
    return bool(getattr(schema, tower).columns) and (section == "deep" or optimizer in SETTINGS_OF.get(path[-1], (optimizer,)))
