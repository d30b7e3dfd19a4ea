"""tensorflow-model-optimization, imported late and with the Keras 2 that it is made for."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

from tfopt.errors import MissingExtra

MODULE = "tensorflow_model_optimization"
_PACKAGE, _EXTRA = "tensorflow-model-optimization", "tfmot"
_CHOICE = "TF_USE_LEGACY_KERAS"


def check_installed(purpose: str) -> None:
    """Raises MissingExtra."""
    for module, package in ((MODULE, _PACKAGE), ("tf_keras", "tf-keras")):
        if find_spec(module) is None:
            raise MissingExtra.of(package, _EXTRA, purpose)


def tfmot(purpose: str) -> Any:
    """The package. Raises MissingExtra."""
    check_installed(purpose)
    import tensorflow as tf

    # When imported it asks for Keras 2 in the environment, for this process and all that it starts. TensorFlow settles
    # which Keras `tf.keras` is when it is first used: here, so that it stays the caller's.
    _ = tf.keras.layers
    before = os.environ.get(_CHOICE)
    import tensorflow_model_optimization

    if before is None:
        os.environ.pop(_CHOICE, None)
    else:
        os.environ[_CHOICE] = before
    return tensorflow_model_optimization


def scope() -> AbstractContextManager[Any]:
    """In which Keras 2 finds the wrappers of tensorflow-model-optimization, where that is installed."""
    if find_spec(MODULE) is None:
        return nullcontext()
    package = tfmot("reading a wrapped model")
    import tf_keras

    scopes = (
        package.sparsity.keras.prune_scope(),
        package.clustering.keras.cluster_scope(),
        package.quantization.keras.quantize_scope(),
    )
    known = {name: kind for one in scopes for given in one.custom_objects for name, kind in given.items()}
    opened: AbstractContextManager[Any] = tf_keras.utils.custom_object_scope(known)
    return opened
