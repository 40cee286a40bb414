"""How long a user waits before anything happens: `import widedeep`, `widedeep --help`, and what TensorFlow costs after that.

    python benchmarks/start.py [--json] [--save]

Whole processes, in turn, medians; an import costs what the process takes beyond one that imports nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

import record

ROUNDS = 15
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import widedeep": [sys.executable, "-c", "import widedeep"],
    "widedeep --help": [os.path.join(os.path.dirname(sys.executable), "widedeep"), "--help"],
    "import widedeep and its model": [sys.executable, "-c", "import widedeep; widedeep.WideDeep"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of a process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    chosen = record.options(__doc__, "start").parse_args()
    taken = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(ROUNDS)]
    median = {name: float(np.median([one[name] for one in taken])) for name in COMMANDS}
    figures = {"import_s": median["import widedeep"] - median["python"], "help_s": median["widedeep --help"],
               "import_model_s": median["import widedeep and its model"] - median["python"], "python_s": median["python"]}
    record.publish("start", {"figures": figures}, chosen, _show)


def _show(result: dict[str, Any]) -> None:
    for name, value in result["figures"].items():
        print(f"{name:<16} {value:.3f}")


if __name__ == "__main__":
    main()
