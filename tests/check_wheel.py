"""The installed wheel, as a stranger meets it: run by `make wheel` with the Python of a clean environment.

Commands run in a temporary directory, where nothing can be borrowed from the source tree.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
WIDEDEEP = Path(sys.executable).with_name("widedeep")
ROWS = 400


def check_contents() -> None:
    """Every module and template of the package is installed, nothing else, and no package beyond the runtime dependencies."""
    files = [Path(file) for file in importlib.metadata.files("widedeep")]
    tops = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info")}
    assert tops == {"widedeep", ".."}, f"The wheel installs {tops}: the package and its script are expected."
    own = {file.as_posix() for file in files if file.suffix in (".py", ".j2")}
    sources = [file for file in (SOURCES / "widedeep").rglob("*") if file.suffix in (".py", ".j2")]
    assert own == {file.relative_to(SOURCES).as_posix() for file in sources}, own
    assert importlib.util.find_spec("pytest") is None, "The environment holds more than the runtime dependencies."


def run(here: Path, *command: str | Path) -> str:
    """What a command prints; one that fails ends the check."""
    print("$", *command, flush=True)
    return subprocess.run(command, cwd=here, check=True, text=True, stdout=subprocess.PIPE).stdout


def check_import(here: Path) -> None:
    """`import widedeep` finds the installed package."""
    found = run(here, sys.executable, "-c", "import widedeep; print(widedeep.__file__)")
    assert "site-packages" in Path(found).parts, f"Imported {found}"


def check_commands(here: Path) -> None:
    """From a table to scores with the four commands, on a label that one column decides."""
    table = [f"{'red' if row % 2 else 'blue'},{row % 7},{'yes' if row % 2 else 'no'}" for row in range(ROWS)]
    (here / "g.csv").write_text("\n".join(["colour,size,y", *table, ""]))
    run(here, WIDEDEEP, "--help")
    (here / "s.toml").write_text(run(here, WIDEDEEP, "init", "g.csv", "--label", "y", "--positive", "yes"))
    run(here, WIDEDEEP, "train", "g.csv", "--schema", "s.toml", "--out", "model", "--valid", "0.2", "--seed", "0")
    metrics = json.loads(run(here, WIDEDEEP, "evaluate", "model", "g.csv", "--json"))
    assert metrics["rows"] == ROWS and metrics["auc"] > 0.99, metrics
    run(here, WIDEDEEP, "predict", "model", "g.csv", "--out", "scores.parquet")
    scores = run(here, sys.executable, "-c", "import pyarrow.parquet as p; print(p.read_table('scores.parquet').num_rows)")
    assert int(scores) == ROWS, scores


if __name__ == "__main__":
    check_contents()
    with tempfile.TemporaryDirectory() as directory:
        check_import(Path(directory))
        check_commands(Path(directory))
    print("The wheel works on its own.")
