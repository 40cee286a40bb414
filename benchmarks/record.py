"""Where and when a figure was measured, and where it is kept."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("widedeep", "tensorflow", "tf_keras", "tensorflow-recommenders", "numpy", "pyarrow", "scikit-learn", "lightgbm")


def where_and_when() -> dict:
    """The machine, the versions of what was measured, and the date."""
    versions = {name: metadata.version(name) for name in LIBRARIES if _installed(name)}
    return {"machine": {"processor": _processor(), "cores": os.cpu_count(), "memory_gb": round(_memory() / 2**30), "system": platform.system()},
            "versions": {"python": platform.python_version()} | versions, "date": datetime.date.today().isoformat()}


def save(name: str, result: dict) -> Path:
    """Write a result to benchmarks/results/<name>.json; returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
