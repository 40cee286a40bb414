"""MovieLens: who will like which film? The sets 100K and 1M, and those whose files are like those of "latest"."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from widedeep.columns import Bucketized, Categorical, Column, Crossed, Numeric
from widedeep.datasets.dataset import Dataset
from widedeep.errors import DataError, first_line
from widedeep.schema import Deep, Label, Optimizer, Schema, Training, Wide
from widedeep.splits import split
from widedeep.tables import Table

CITATION = ("Harper, F. M. and Konstan, J. A. (2015). The MovieLens Datasets: History and Context. ACM Transactions on "
            "Interactive Intelligent Systems 5, 4: 19:1-19:19. doi:10.1145/2827872. Not for commercial use; no endorsement by "
            "the University of Minnesota or GroupLens may be implied. The sets called latest change over time: they are for "
            "development, not for results to publish.")
LOST = ("load_movielens needs the folder of an unpacked MovieLens set: ratings.csv and movies.csv (latest, 20M, 25M, 32M), "
        "ratings.dat and movies.dat (1M, 10M), or u.data and u.item (100K). Get it from "
        "https://grouplens.org/datasets/movielens/ and give its folder.")

LIKED = 4.0
"""Who gives so many of five stars, or more, likes the film."""

TEST_SHARE = 0.2
GENRES = ("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
          "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western")
"""The genres of 100K, in the order of the last columns of u.item."""

NO_GENRE = "(no genres listed)"
RATINGS = {"user": pa.int32(), "item": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64()}
CROSSES = {("user", "genres"): 1 << 18, ("user", "year_bucket"): 1 << 16, ("genres", "year_bucket"): 1 << 12}


def load_movielens(path: str | os.PathLike) -> Dataset:
    """MovieLens: does a user give a film four stars or more? The latest fifth of the ratings are the test rows.

    `path` is the folder of an unpacked set: 100K, 1M (or 10M), or latest (or 20M, 25M, 32M). Beside user and item a row says
    the film's genres (a list, between bars) and year of release, the hour of the rating (UTC), the rating and its timestamp.
    What 100K and 1M tell of users' age, gender and occupation is left out, so that all sets are the same table. Everybody
    rates what he has chosen to watch: this is taste among chosen films, and says nothing of films that were never rated.

    Terms: not for commercial use, with the citation, without implying endorsement; the latest sets are for development, and
    results on them are not to be published.
    Raises: DataError, with where to get them, if the files are not there; and if they are not in the form that their names say.
    Source: Harper & Konstan 2015, "The MovieLens datasets: history and context".
    """
    asked, outer = schema(), Table.of(table_of(Path(path)))
    parts = split(outer, asked, TEST_SHARE, seed=0)
    return Dataset("movielens", parts.train, parts.valid, asked, CITATION)


def schema() -> Schema:
    """Users, films, genres and years for both towers; a user's taste by genre and by year crossed for the wide one.

    >>> schema().training.split, schema().label.column
    ('time', 'liked')
    """
    ids: dict[str, Column] = {"user": Categorical(), "item": Categorical(), "genres": Categorical(delimiter="|"),
                              "hour": Categorical(), "year_bucket": Bucketized("year", quantiles=16)}
    crosses: dict[str, Column] = {" x ".join(sources): Crossed(sources, bins) for sources, bins in CROSSES.items()}
    training = Training(batch=512, epochs=20, patience=3, split="time", wide=Optimizer("ftrl", rate=0.05, l1=1.0),
                        deep=Optimizer("adagrad", rate=0.02))
    return Schema(Label("liked"), {**ids, "year": Numeric(), **crosses}, wide=Wide((*ids, *crosses)),
                  deep=Deep((*ids, "year"), hidden=(128, 64), dropout=0.3, width=16, l2=100.0), training=training,
                  group="user", time="timestamp")


def table_of(folder: Path) -> pa.Table:
    """A set's ratings in memory, each with what is known of its film: user, item, liked, genres, year, hour, rating, timestamp.

    Raises: DataError if the folder holds no set, or a film that is rated and not listed.
    """
    ratings, films = read(folder)
    places = pc.index_in(ratings["item"].combine_chunks(), films["item"].combine_chunks())
    if places.null_count:
        lost = ratings["item"].filter(pc.is_null(places))[0].as_py()
        raise DataError(f"{folder}: every film that is rated must be listed. Got ratings of item {lost}, which the list of "
                        f"films lacks. Get the set again.")
    year, genres = _year(films), _genres(films).dictionary_encode()
    hour = pc.hour(ratings["timestamp"].cast(pa.timestamp("s"))).cast(pa.int8())
    liked = pc.greater_equal(ratings["rating"], LIKED).cast(pa.int8())
    return pa.table({"user": ratings["user"], "item": ratings["item"], "liked": liked, "genres": genres.take(places),
                     "year": year.take(places), "hour": hour, "rating": ratings["rating"], "timestamp": ratings["timestamp"]})


class Likes(NamedTuple):
    """What `wd.Recommender` is trained on: interactions (user, item, timestamp), items, a schema, and whom to cite."""

    interactions: pa.Table
    items: pa.Table
    schema: Schema
    citation: str


def load_movielens_likes(path: str | os.PathLike) -> Likes:
    """MovieLens for a recommender: who gave which film four stars or more, and when; every film's genres (a list) and year.

    `path`, its terms, and what is raised are those of `load_movielens`. The recommender's time is `timestamp`.
    """
    ratings, films = read(Path(path))
    liked = ratings.filter(pc.greater_equal(ratings["rating"], LIKED)).select(["user", "item", "timestamp"])
    genres = _genres(films)
    genres = pc.if_else(pc.equal(genres, ""), pa.scalar([], pa.list_(pa.string())), pc.split_pattern(genres, "|"))
    return Likes(liked, pa.table({"item": films["item"], "genres": genres, "year": _year(films)}), likes_schema(), CITATION)


def likes_schema() -> Schema:
    """Users, films, genres and years; a user's films and their genres, and each of these beside the candidate's.

    >>> likes_schema().wide.columns[-1]
    'user x genres'
    """
    columns: dict[str, Column] = {name: Categorical() for name in ("user", "item", "genres")}
    columns |= {"history": Categorical(combiner="sqrtn"), "history genres": Categorical("history.genres", combiner="mean")}
    columns["year_bucket"] = Bucketized("year", quantiles=16)
    crosses: dict[str, Column] = {"history x item": Crossed(("history", "item"), 1 << 22),
                                  "history x genres": Crossed(("history", "genres"), 1 << 18),
                                  "user x genres": Crossed(("user", "genres"), 1 << 16)}
    training = Training(batch=512, epochs=10, patience=2, wide=Optimizer("ftrl", rate=0.03, l1=1.0),
                        deep=Optimizer("adagrad", rate=0.02))
    return Schema(Label("liked"), columns | crosses, wide=Wide(("item", "genres", "year_bucket", *crosses)),
                  deep=Deep(tuple(columns), hidden=(64,), dropout=0.2, width=16, l2=10.0), training=training)


def _year(films: pa.Table) -> pa.Array:
    """The year that ends a title, where one does."""
    return pc.extract_regex(films["title"].combine_chunks(), r"\((?P<year>\d{4})\)\s*$").flatten()[0].cast(pa.int16())


def _genres(films: pa.Table) -> pa.Array:
    """Genres between bars; nothing where there are none."""
    genres = films["genres"].combine_chunks()
    return pc.if_else(pc.equal(genres, NO_GENRE), "", genres)


def read(folder: Path) -> tuple[pa.Table, pa.Table]:
    """The ratings, and the films with title and genres, of a set in any of its forms."""
    for rated, listed in (("ratings.csv", "movies.csv"), ("ratings.parquet", "movies.parquet")):
        if (folder / rated).is_file() and (folder / listed).is_file():
            return (_latest(folder / rated, ("userId", "movieId", "rating", "timestamp"), RATINGS),
                    _latest(folder / listed, ("movieId", "title", "genres"), FILMS))
    if (folder / "ratings.dat").is_file() and (folder / "movies.dat").is_file():
        return _ratings(folder / "ratings.dat", ":"), _films(folder / "movies.dat", "::")
    if (folder / "u.data").is_file() and (folder / "u.item").is_file():
        return _ratings(folder / "u.data", "\t"), _films(folder / "u.item", "|")
    raise DataError(f"{folder}: {LOST}")


FILMS = {"item": pa.int32(), "title": pa.string(), "genres": pa.string()}


def _latest(file: Path, columns: tuple[str, ...], kinds: dict[str, pa.DataType]) -> pa.Table:
    """Columns of a .csv file with a header, or of a Parquet file, under our names and types."""
    try:
        if file.suffix == ".parquet":
            found = parquet.read_table(file, columns=list(columns))
        else:
            types = dict(zip(columns, kinds.values()))
            found = csv.read_csv(file, convert_options=csv.ConvertOptions(include_columns=columns, column_types=types))
        return found.select(columns).rename_columns(list(kinds)).cast(pa.schema(kinds))
    except (pa.ArrowException, KeyError) as error:
        raise _broken(file, f"the columns {', '.join(columns)}", error) from error


def _ratings(file: Path, delimiter: str) -> pa.Table:
    """User, item, rating and timestamp without a header; between the two colons of the older sets stands nothing."""
    names = [name for column in RATINGS for name in (column, f"after {column}")][:-1] if delimiter == ":" else [*RATINGS]
    read = csv.ReadOptions(column_names=names, encoding="latin-1")
    convert = csv.ConvertOptions(include_columns=[*RATINGS], column_types=RATINGS)
    try:
        return csv.read_csv(file, read, csv.ParseOptions(delimiter=delimiter, quote_char=False), convert)
    except pa.ArrowException as error:
        raise _broken(file, "user, item, rating and timestamp in every line", error) from error


def _films(file: Path, delimiter: str) -> pa.Table:
    """Films of the older sets, whose lists are in Latin-1: of 1M with the names of genres, of 100K with a flag for each."""
    rows = list(_film_rows(file, delimiter))
    return pa.table([pa.array(column, kind) for column, kind in zip(zip(*rows), FILMS.values())], list(FILMS))


def _film_rows(file: Path, delimiter: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(file.read_text(encoding="latin-1").splitlines(), start=1):
        item, *said = line.split(delimiter)
        flags = said[-len(GENRES):]
        if not item.isdigit() or len(said) != (2 if delimiter == "::" else 4 + len(GENRES)):
            raise DataError(f"{file}, line {number}: a film is its number, title and genres, with {delimiter!r} between them. "
                            f"Got {line[:60]!r}. Get the set again.")
        genres = said[1] if delimiter == "::" else "|".join(name for name, flag in zip(GENRES, flags) if flag == "1")
        yield int(item), said[0], genres


def _broken(file: Path, rule: str, error: Exception) -> DataError:
    return DataError(f"{file}: must hold {rule}. Got: {first_line(error)}. Get the set again.")
