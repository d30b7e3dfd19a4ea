"""The one import of TensorFlow: quiet, and with an error that helps when it is missing.

Every module that needs TensorFlow writes `from tfopt.formats.tensorflow import tf`.
"""

from __future__ import annotations

import os
import re

from tfopt.errors import MissingExtra
from tfopt.formats.native_libraries import load_libraries
from tfopt.formats.native_stderr import without_lines

# Read while TensorFlow is imported; what the user has set wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Otherwise the first session in the process decides the number of kernel threads for all later ones.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")

# Written before absl reads the level above.
_NOISE = re.compile(
    r"WARNING: All log messages before absl|I\d{4} .*\b(port|cudart_stub|cpu_feature_guard)\.cc|To enable the "
)

try:
    with without_lines(_NOISE):
        load_libraries("tensorflow", "libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
        import tensorflow as tf
except ModuleNotFoundError as error:
    raise MissingExtra.of("tensorflow", "tensorflow", "reading, writing or running a SavedModel") from error

__all__ = ["tf"]
