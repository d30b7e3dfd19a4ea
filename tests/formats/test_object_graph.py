from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tests import models
from tfopt.formats.object_graph import read_callables


def test_public_callables_of_the_object_are_named(tmp_path: Path) -> None:
    class Loaded(tf.Module):
        @tf.function(input_signature=[models.floats(None, name="x")])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return x + 1

        @tf.function(input_signature=[models.floats(None, name="x")])
        def embed(self, x: tf.Tensor) -> tf.Tensor:
            return x * 2

        @tf.function(input_signature=[models.floats(None, name="x")])
        def _inner(self, x: tf.Tensor) -> tf.Tensor:
            return x

    module = Loaded()
    module.weight = tf.Variable(1.0)
    model = models.save(module, tmp_path / "model", serving_default=module.embed)
    assert read_callables(model) == ("loaded(...)", "loaded.embed(...)")


def test_signatures_are_no_callables(built: Callable[..., Path]) -> None:
    assert read_callables(built(models.linear)) == ()
