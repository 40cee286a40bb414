"""Known public sets: two tables (the standard split), a schema that is ready to train, and whom to cite."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from widedeep.atomic import file_sha256
from widedeep.columns import Bucketized, Categorical, Column, Crossed, Numeric
from widedeep.errors import DataError
from widedeep.schema import Deep, Label, Optimizer, Schema, Training, Wide
from widedeep.tables import Table

DATA = Path(__file__).resolve().parents[1] / "data"
"""Where a checkout keeps its data; an installed package has none."""

ADULT_FILES = {"train.parquet": "36cd65bfab3e1a7c5b9b9cef30288b125d77b40a8f575237c50b873daceeecc4",
               "test.parquet": "5f4162b6741e1defef2936b9070f66c18bfb77fa578dcf5d1e1ba59c1e82df22"}
ADULT_CITATION = "Becker, B. and Kohavi, R. (1996). Adult. UCI Machine Learning Repository. doi:10.24432/C5XW20. CC BY 4.0."
ADULT_NUMBERS = ("age", "educational-num", "capital-gain", "capital-loss", "hours-per-week")
ADULT_CATEGORIES = ("workclass", "education", "marital-status", "occupation", "relationship", "race", "gender",
                    "native-country")
ADULT_CROSSES = {("education", "occupation"): 2_048, ("age_bucket", "relationship"): 2_048,
                 ("capital-gain_bucket", "relationship"): 2_048}
"""Crossed columns and their bins, several times the combinations that occur, so that few of them share one."""

ADULT_TRAINING = Training(batch=256, epochs=60, patience=3, wide=Optimizer("ftrl", rate=0.1, l1=10.0),
                          deep=Optimizer("adagrad", rate=0.02, warmup=50))
"""Chosen by cross-validation within the training rows; the same for every arm."""


@dataclass(frozen=True)
class Dataset:
    """A public set: its standard training and test rows, a schema for them, and the citation its licence asks for."""

    name: str
    train: Table
    test: Table
    schema: Schema
    citation: str


def load_adult(path: str | os.PathLike | None = None) -> Dataset:
    """UCI Adult: does a person of the 1994 US census earn more than $50,000? Official halves, 32,561 and 16,281 rows.

    `path`: the folder that holds train.parquet and test.parquet; in a checkout, data/adult unless given.
    Raises: DataError if the files are not there or are not the known ones (sha256).
    Source: Becker & Kohavi 1996, UCI Machine Learning Repository, CC BY 4.0.

    >>> load_adult().train.num_rows
    32561
    """
    folder = DATA / "adult" if path is None else Path(path)
    for file, digest in ADULT_FILES.items():
        verify(folder / file, digest, ADULT_LOST, "must be the file whose sha256 is", "data/adult")
    schema = adult_schema()
    train, test = (Table.of(folder / file, schema) for file in ADULT_FILES)
    return Dataset("adult", train, test, schema, ADULT_CITATION)


def adult_schema() -> Schema:
    """Adult as in Cheng et al. 2016: buckets and crosses for the wide tower; numbers and embedded buckets for the deep one."""
    numbers: dict[str, Column] = {name: Numeric(scale="quantile") for name in ADULT_NUMBERS}
    buckets: dict[str, Column] = {f"{name}_bucket": Bucketized(name, quantiles=32) for name in ADULT_NUMBERS}
    categories: dict[str, Column] = {name: Categorical() for name in ADULT_CATEGORIES}
    crosses: dict[str, Column] = {"_x_".join(sources): Crossed(sources, bins) for sources, bins in ADULT_CROSSES.items()}
    return Schema(Label("income", positive=">50K", negative="<=50K"), numbers | buckets | categories | crosses,
                  wide=Wide((*buckets, *categories, *crosses)),
                  deep=Deep((*numbers, *categories, *buckets), hidden=(256, 128), dropout=0.3), training=ADULT_TRAINING,
                  missing=("?",))


ADULT_LOST = ("load_adult needs this file, and the package does not carry it. Take data/adult from the project's repository "
              "(the content is UCI Adult, Becker & Kohavi 1996, CC BY 4.0, https://archive.ics.uci.edu/dataset/2/adult) and "
              "give the folder: load_adult(path=...).")


def verify(file: Path, digest: str, lost: str, rule: str, source: str) -> None:
    """Check that a data file is there (else say `lost`) and has this sha256 (else say `rule` and its `source`).

    Raises: DataError naming the file.
    """
    if not file.is_file():
        raise DataError(f"{file}: {lost}")
    if (got := file_sha256(file)) != digest:
        raise DataError(f"{file}: {rule} {digest}. Got {got}. Take {source} from the project's repository again.")
