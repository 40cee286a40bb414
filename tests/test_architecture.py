"""The house stands as drawn: imports point downward, the wall holds, and nothing gets in that executes what it reads."""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import widedeep

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "widedeep"

ABOVE_THE_WALL = ["errors", "arguments", "declarations", "columns", "space", "reprs", "schema", "sketches", "ahead", "rows",
                  "stream", "tally", "samples", "values", "labels", "layout", "evaluation", "evaluation.metrics",
                  "evaluation.calibration", "evaluation.influence", "evaluation.clustered", "evaluation.statistics",
                  "evaluation.ranking", "evaluation.permutation", "evaluation.drift", "calibrator", "arrays", "atomic",
                  "strict_json", "manifest", "checkpoints", "checkpoint_options", "cache", "parquet_footers",
                  "vocabulary_files", "parquet_files", "csv_files", "tables", "views", "splits", "datasets.dataset",
                  "datasets.adult", "datasets.mnist", "datasets.frappe_pairs", "datasets.frappe", "datasets.movielens",
                  "datasets.criteo", "datasets.avazu", "datasets", "profiles", "crosses", "inference", "pages",
                  "pages.numerals", "pages.pictures", "pages.sections", "pages.reliability", "explanations",
                  "explanations.text", "explanations.page", "explanations.options", "comparison", "comparison.limits",
                  "comparison.options", "comparison.checks", "comparison.text", "comparison.page", "serving",
                  "serving.options", "serving.fingerprints", "serving.oracle", "serving.requests", "ablation", "ablation.arms",
                  "ablation.brief", "ablation.figures", "ablation.page", "ablation.capacity", "ablation.search",
                  "ablation.sealed", "ablation.progress", "ablation.study", "ablation.samplers", "ablation.tuning",
                  "ablation.report", "installs", "installs.policy", "installs.spec", "installs.population",
                  "installs.retrieval", "installs.truth", "installs.bayes", "installs.features", "installs.log_files",
                  "installs.world", "installs.logged", "installs.off_policy", "installs.acquisition", "installs.options",
                  "recommend", "recommend.interactions", "recommend.top_k", "recommend.splits", "recommend.baselines",
                  "recommend.als", "recommend.judge", "recommend.histories", "recommend.lists", "recommend.sides",
                  "recommend.catalogue",
                  "recommend.negatives", "recommend.next_item", "recommend.made", "recommend.options"]
BELOW_THE_WALL = ["_keras", "estimator_arguments", "feature_columns", "hashing", "fitted", "fitting", "encoder",
                  "encoder_layer", "towers", "optimizers", "tracing", "keeping", "training", "baselines", "baselines.linear",
                  "baselines.mnist", "model", "saved_weights", "artifact", "remapping", "rescaling", "carried", "warm_start",
                  "serving.cells", "serving.golden", "serving.tables", "serving.graph", "serving.wire", "serving.self_test",
                  "serving.export", "inputs", "run", "mlflow", "estimator", "serving.parts", "serving.shares",
                  "serving.forward", "serving.scorer", "explanations.names", "explanations.weights", "explanations.neighbours",
                  "explanations.split", "explanations.row", "explanations.importance", "explanations.explain",
                  "recommend.index", "recommend.retrieval", "recommend.retriever", "recommend.ranked_rows", "recommend.pairs",
                  "recommend.ranker", "recommend.recommender", "recommend.evaluated", "recommend.saved", "recommend.answered",
                  "comparison.scoring", "comparison.golden_rows", "comparison.latency", "comparison.compare",
                  "ablation.trees", "ablation.runs", "ablation.trials", "ablation.jobs",
                  "ablation.ablate", "ablation.tune", "installs.rankers", "installs.acquire", "cli", "__main__"]
ROOMS = [*ABOVE_THE_WALL, *BELOW_THE_WALL]
"""A room may import those before it, never those after it. A new room has to be placed."""

TENSORFLOW = {"tensorflow", "tf_keras", "keras", "tensorflow_recommenders"}
EXECUTES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "eval", "exec", "Lambda", "allow_pickle"}
ELSEWHERE = re.compile(rb"pypi[.]org|pythonhosted[.]org|npmjs[.]com|crates[.]io|anaconda[.]org|--(?:extra-)?index-url"
                       rb"|(?<![\w.])/(?:home|root|Users)/\w")


@cache
def house() -> dict[str, ast.Module]:
    """The package's modules by room; the front door, `widedeep/__init__.py`, is none."""
    paths = {path.relative_to(PACKAGE).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    rooms = {".".join(p for p in name.parts if p != "__init__"): path for name, path in paths.items()}
    return {room: ast.parse(path.read_text(encoding="utf-8"), str(path)) for room, path in rooms.items() if room}


def imported(node: ast.AST) -> list[str]:
    """The dotted names that one statement imports, relative ones with their dot."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return []


def at_once(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: all but the insides of functions."""
    yield node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from at_once(child)


def names(nodes: Iterable[ast.AST]) -> list[str]:
    return [name for node in nodes for name in imported(node)]


def words_of(node: ast.AST) -> list[str]:
    """The identifiers that a node uses; an argument that is given as False does not count."""
    if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant) and node.value.value is False:
        return []
    field = {ast.Name: "id", ast.Attribute: "attr", ast.keyword: "arg"}.get(type(node))
    return [getattr(node, field)] if field else [part for name in imported(node) for part in name.split(".")]


def rooms_of(names: list[str]) -> set[str]:
    """The rooms that names like `widedeep.columns.Hashed` come from; of the front door, only the version may be imported."""
    own = [name.split(".")[1:] for name in names if name.split(".")[0] in ("widedeep", "") and name != "widedeep.__version__"]
    return {next((r for r in (".".join(p), ".".join(p[:-1])) if r in house()), "the front door") for p in own}


@pytest.mark.parametrize(("name", "room"), [
    ("widedeep.columns", "columns"), ("widedeep.columns.Hashed", "columns"), (".columns.Hashed", "columns"),
    ("widedeep.evaluation.metrics.auc", "evaluation.metrics"), ("widedeep.fit", "the front door"),
    ("widedeep.__version__", None), ("numpy.linalg", None),
])
def test_the_check_knows_where_a_name_comes_from(name, room):
    assert rooms_of([name]) == ({room} if room else set())


def test_every_room_has_its_place_and_every_place_its_room():
    assert sorted(house()) == sorted(ROOMS)


def test_the_picture_in_the_documentation_shows_the_rooms_on_their_side_of_the_wall():
    picture = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("```")[1]
    for drawn, rooms in zip(re.split("-{9,}.*", picture), (ABOVE_THE_WALL, BELOW_THE_WALL)):
        names = re.findall(r"^  (\w+)(?:\.py|/)", drawn, re.MULTILINE)
        assert names == [room for room in rooms if "." not in room]


def test_imports_point_downward_only():
    upward = {room: rooms_of(names(ast.walk(tree))) - set(ROOMS[:ROOMS.index(room)]) for room, tree in house().items()}
    assert {room: found for room, found in upward.items() if found} == {}


def test_the_command_line_loads_nothing_from_below_the_wall_until_a_function_needs_it():
    assert rooms_of(names(at_once(house()["cli"]))) <= set(ABOVE_THE_WALL)


def test_tensorflow_and_keras_come_through_one_door():
    packages = {room: {name.split(".")[0] for name in names(ast.walk(tree))} for room, tree in house().items()}
    assert [room for room, found in packages.items() if found & TENSORFLOW] == ["_keras"]


def test_every_public_name_is_there_and_says_what_it_is_for():
    assert [name for name in widedeep.__all__ if not getattr(widedeep, name).__doc__] == []


def test_nothing_can_execute_what_it_reads():
    words = {room: {word for node in ast.walk(tree) for word in words_of(node)} for room, tree in house().items()}
    assert {room: found & EXECUTES for room, found in words.items() if found & EXECUTES} == {}


def test_no_error_is_swallowed():
    nodes = [(room, node) for room, tree in house().items() for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    assert [(room, node.lineno) for room, node in nodes if all(isinstance(step, ast.Pass) for step in node.body)] == []


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="asks git which files the project has")
def test_no_file_names_a_package_registry_or_a_home_directory():
    listed = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others",
                             "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    files = [ROOT / name for name in listed if (ROOT / name).is_file()]
    assert ROOT / "setup.cfg" in files
    assert {str(file): found[0] for file in files if (found := ELSEWHERE.findall(file.read_bytes()))} == {}


def test_the_data_is_what_its_checksums_say():
    expected = dict(reversed(line.split()) for line in (ROOT / "data/SHA256SUMS").read_text().splitlines())
    files = [path for path in (ROOT / "data").rglob("*") if path.suffix in (".parquet", ".npz")]
    assert {str(f.relative_to(ROOT / "data")): hashlib.sha256(f.read_bytes()).hexdigest() for f in files} == expected
