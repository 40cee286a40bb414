"""The one place that decides which Keras: Keras 2 (`tf_keras`), because tensorflow-recommenders refuses Keras 3.

TensorFlow reads `TF_USE_LEGACY_KERAS` when `tf.keras` is first touched; this module sets it before that, or says that it
came too late. A program's own `import keras` (Keras 3) is not concerned.
"""

from __future__ import annotations

import os
import sys

from widedeep.errors import WidedeepError

_TOO_LATE = ("widedeep needs tf.keras to be Keras 2 (the package tf_keras), but TensorFlow has already made it Keras 3 in this "
             "process. Import widedeep's models first, or set the environment variable TF_USE_LEGACY_KERAS=1 before the "
             "program starts. `import keras` still gives Keras 3.")

if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf  # noqa: E402
import tf_keras  # noqa: E402

if tf.keras.Model is not tf_keras.Model:
    raise WidedeepError(_TOO_LATE)

try:
    import tensorflow_recommenders as tfrs
except tf.errors.NotFoundError:  # scann is there, but built for another TensorFlow: then tfrs does without, as if it were not
    sys.modules["scann"] = None
    try:
        import tensorflow_recommenders as tfrs
    finally:
        del sys.modules["scann"]

__all__ = ["tf", "tf_keras", "tfrs"]
