"""Models that hold what JSON and HTTP find hard. See tests/models.py for the rules."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tests.models import save

DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "half")


def echo(directory: Path) -> Path:
    """A signature for each dtype that gives its input back (`x -> y`, any shape), and some of odd outputs:

    `text(s) -> text, raw_bytes`; `scalar(x) -> y` of rank 0; `uneven(x) -> long, short` of two batch sizes;
    `divide(x) -> y`, which is 1 / x; `pair(a float32, b int32) -> y`, their sum.
    """
    module = tf.Module()

    def identity(dtype: tf.DType) -> tf.types.experimental.GenericFunction:
        @tf.function(input_signature=[tf.TensorSpec(None, dtype, "x")])
        def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.identity(x)}

        return serve

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string, "s")])
    def text(s: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"text": tf.identity(s), "raw_bytes": tf.identity(s)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def scalar(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def uneven(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"long": x, "short": x[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def divide(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 1.0 / x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "a"), tf.TensorSpec([None], tf.int32, "b")])
    def pair(a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": a + tf.cast(b, tf.float32)}

    typed = {dtype: identity(getattr(tf, dtype)) for dtype in DTYPES}
    odd = {"text": text, "scalar": scalar, "uneven": uneven, "divide": divide, "pair": pair}
    return save(module, directory, serving_default=identity(tf.float32), **typed, **odd)


def counter(directory: Path) -> Path:
    """`serving_default(x float32[]) -> y float32[]`: counts up to x one by one, so that a large x takes its time."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.while_loop(lambda y: y < x, lambda y: [y + 1.0], [0.0])[0]}

    return save(tf.Module(), directory, serving_default=serve)
