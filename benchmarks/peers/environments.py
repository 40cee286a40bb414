"""Other people's libraries, and ours, each in a process and an environment of its own, asked for one round at a time.

    with Peer("pytorch_widedeep", "criteo", rows=100_000, steps=20) as peer:
        peer.round("joint"), peer.round("bare"), peer.versions, peer.variant

`NAME.txt` pins what is installed; the environment is made once, under `benchmarks/.peers/NAME`, and again when the file
changes. `run_NAME.py` runs in it (see `protocol`). Ours, `widedeep`, runs in this environment.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".peers"
FASTEST = HERE.parent / "results" / "peers.json"
PEERS = {"widedeep": "widedeep", "pytorch_widedeep": "pytorch-widedeep", "deepctr_torch": "DeepCTR-Torch", "keras": "Keras 3",
         "torch_sparse": "torch, sparse gradients", "fuxictr": "FuxiCTR"}
PRECISIONS = {"widedeep": ("f32", "bf16"), "torch_sparse": ("f32", "bf16"), "keras": ("f32", "bf16")}
TAIL = 15


class PeerError(RuntimeError):
    """A peer that could not be installed, started or run; the text ends with what it said last."""


def environment(name: str) -> Path:
    """The Python of a peer's environment, made if there is none with these requirements.

    Raises: PeerError if it cannot be made.
    """
    if name == "widedeep":
        return Path(sys.executable)
    wanted = (HERE / f"{name}.txt").read_text(encoding="utf-8")
    folder = ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _run("make a place for", name, sys.executable, "-m", "venv", str(folder))
        _run("install", name, str(python), "-m", "pip", "install", "-q", "-r", str(HERE / f"{name}.txt"))
        stamp.write_text(wanted, encoding="utf-8")
    return python


def variants(name: str) -> list[str]:
    """The names of the settings that a peer's script knows; read, not imported, since that needs its environment.

    >>> variants("deepctr_torch")
    ['fused', 'plain']
    """
    script = ast.parse((HERE / f"run_{name}.py").read_text(encoding="utf-8"))
    known = next(node.value for node in script.body if isinstance(node, ast.Assign) and node.targets[0].id == "VARIANTS")
    return list(ast.literal_eval(known))


def fastest(name: str, shape: str, precision: str) -> str | None:
    """The fastest variant of the committed measurement; None (the script's first) if it was not measured."""
    if not FASTEST.exists():
        return None
    tried = json.loads(FASTEST.read_text(encoding="utf-8"))["variants"]
    ran = [one for one in tried if (one["peer"], one["shape"], one["precision"]) == (name, shape, precision) and "joint" in one]
    return max(ran, key=lambda one: one["joint"])["variant"] if ran else None


class Peer:
    """A peer's process, with its net built and its data drawn. A context manager; leaving it ends the process.

    `rows`: size of each id table; `wide`: with the wide tower or without; both as the shape has them if None. A round is
    `steps` steps. `variant`: the library's settings, the fastest measured if None. `loss` is that of the last round.

    Raises: PeerError if it cannot be installed or started.
    """

    def __init__(self, name: str, shape: str, rows: int | None = None, steps: int = 20, wide: bool | None = None,
                 precision: str = "f32", variant: str | None = None, seed: int = 0, threads: int | None = None):
        if precision not in PRECISIONS.get(name, ("f32",)):
            raise PeerError(f"{PEERS[name]} is run in {', '.join(PRECISIONS.get(name, ('f32',)))} only. Got {precision!r}.")
        self.name, self.loss = name, float("nan")
        python = environment(name)
        self._folder = tempfile.TemporaryDirectory()
        reading, writing = os.pipe()
        spec = {"shape": shape, "rows": rows, "steps": steps, "wide": wide, "precision": precision, "seed": seed,
                "variant": variant or fastest(name, shape, precision), "threads": threads or os.cpu_count(), "answers": writing}
        file = Path(self._folder.name) / "spec.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        self._output = (Path(self._folder.name) / "output").open("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen([str(python), str(HERE / f"run_{name}.py"), str(file)], cwd=self._folder.name,
                                         stdin=subprocess.PIPE, stdout=self._output, stderr=self._output, text=True,
                                         pass_fds=(writing,), env=_surroundings())
        os.close(writing)
        self._answers = os.fdopen(reading, encoding="utf-8")
        try:
            ready = self._heard()
        except BaseException:
            self.close()
            raise
        self.versions: dict[str, str] = ready["versions"]
        self.variant: str = ready["variant"]

    def round(self, kind: str = "joint") -> float:
        """Examples a second of one round of the whole net (`joint`) or of its MLP alone (`bare`).

        Raises: PeerError if the process failed.
        """
        try:
            self._process.stdin.write(kind + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has ended: `_heard` says how
        heard = self._heard()
        self.loss = heard["loss"]
        return heard["examples"] / heard["seconds"]

    def close(self) -> None:
        """End the process: by the end of its input, and after a while by force."""
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._answers.close()
        self._output.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _heard(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            code = self._process.wait()
            self._output.seek(0)
            raise PeerError(f"{PEERS[self.name]} failed with exit code {code}:\n{_tail(self._output.read())}")
        return json.loads(line)


def _run(what: str, name: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=_surroundings())
    if done.returncode:
        raise PeerError(f"{PEERS[name]}: could not {what} it:\n{_tail(done.stderr or done.stdout)}")


def _surroundings() -> dict[str, str]:
    """This process's environment without what would lead another Python to this one's packages."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TAIL:])
