"""What an import loads: declarations and `--help` wait for nothing heavy, and a program's own Keras 3 is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = {"numpy", "pandas", "pyarrow", "scipy", "sklearn", "tensorflow", "tf_keras", "keras", "tensorflow_recommenders"}
HELP = "from widedeep.cli import main; raise SystemExit(main(['--help']))"
BESIDE_KERAS_3 = """
import widedeep
widedeep.WideDeep
import keras, numpy, tensorflow, tf_keras
assert tensorflow.keras.Model is tf_keras.Model
assert keras.__version__.startswith("3"), keras.__version__
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
assert model.predict(numpy.array([[1.0, 2.0]]), verbose=0).tolist() == [[3.0]]
"""


BROKEN_SCANN = """
import sys
from importlib.abc import MetaPathFinder
import tensorflow

class OfAnother(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "scann":
            raise tensorflow.errors.NotFoundError(None, None, "_scann_ops.so: undefined symbol")

sys.meta_path.insert(0, OfAnother())
from widedeep._keras import tfrs
assert "scann" not in sys.modules and not tfrs.layers.factorized_top_k._HAVE_SCANN
"""


TOO_LATE = """
import tensorflow as tf
tf.keras.Model
import widedeep
widedeep.WideDeep
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def _loaded(code: str) -> set[str]:
    """The top-level names that the interpreter reports to have imported."""
    report = _run("-X", "importtime", "-c", code).stderr.splitlines()
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in report if line.startswith("import time:")}


@pytest.mark.parametrize("code", ["import widedeep", HELP])
def test_the_declarations_and_the_help_load_no_heavy_library(code):
    loaded = _loaded(code)
    assert "widedeep" in loaded and not loaded & HEAVY


def test_the_check_sees_what_is_loaded():
    assert "numpy" in _loaded("import numpy")


def test_help_names_every_command():
    printed = _run("-c", HELP).stdout
    assert [command for command in ("init", "train", "evaluate", "predict") if command not in printed] == []


def test_a_programs_own_keras_3_works_beside_the_models():
    _run("-c", BESIDE_KERAS_3)


def test_a_scann_that_was_built_for_another_tensorflow_is_no_hindrance():
    _run("-c", BROKEN_SCANN)


def test_coming_too_late_is_said_with_the_remedy():
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", TOO_LATE], text=True, capture_output=True, check=False, env=environment)
    assert done.returncode == 1
    assert "WidedeepError: widedeep needs tf.keras to be Keras 2" in done.stderr and "TF_USE_LEGACY_KERAS=1" in done.stderr
