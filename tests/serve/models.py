"""Models that hold what JSON and HTTP find hard. See tests/models.py for the rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tests.models import save

DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "half")
#: Those too that JSON has no way to carry.
ALL_DTYPES = (*DTYPES, "bfloat16", "uint16", "complex64", "complex128", "string")


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

    typed = {dtype: identity(getattr(tf, dtype)) for dtype in ALL_DTYPES}
    odd = {"text": text, "scalar": scalar, "uneven": uneven, "divide": divide, "pair": pair}
    return save(module, directory, serving_default=identity(tf.float32), **typed, **odd)


def counter(directory: Path) -> Path:
    """`serving_default(x float32[]) -> y float32[]`: counts up to x one by one, so that a large x takes its time."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.while_loop(lambda y: y < x, lambda y: [y + 1.0], [0.0])[0]}

    return save(tf.Module(), directory, serving_default=serve)


def examples(directory: Path) -> Path:
    """Signatures of serialized tf.Examples that have one float x each, for Classify and Regress.

    `serving_default(inputs) -> outputs [batch, 1]`, which is x / 2 + 2; `flat -> outputs [batch]`;
    `classify -> classes [["a", "b\\xff"]], scores [[x, -x]]` for each, `labels`, `scores` one of them;
    and those that answer what they must not: `wide`, `late`, `whole`, `ranked`, `fewer`, `uneven`.
    """
    module = tf.Module()
    serialized = [tf.TensorSpec([None], tf.string, "inputs")]

    def parsed(inputs: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]

    def labels(x: tf.Tensor) -> tf.Tensor:
        return tf.tile(tf.constant([[b"a", b"b\xff"]]), [tf.size(x), 1])

    def answering(**made: Callable[[tf.Tensor], tf.Tensor]) -> tf.types.experimental.GenericFunction:
        @tf.function(input_signature=serialized)
        def serve(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            x = parsed(inputs)
            return {name: make(x) for name, make in made.items()}

        return serve

    def scores(x: tf.Tensor) -> tf.Tensor:
        return tf.stack([x, -x], axis=1)

    return save(
        module,
        directory,
        serving_default=answering(outputs=lambda x: x[:, None] / 2 + 2),
        flat=answering(outputs=lambda x: x / 2 + 2),
        classify=answering(classes=labels, scores=scores),
        labels=answering(classes=labels),
        scores=answering(scores=scores),
        wide=answering(outputs=scores),
        late=answering(outputs=lambda x: x[:-1]),
        whole=answering(outputs=lambda x: tf.cast(x, tf.int32)),
        ranked=answering(scores=lambda x: x),
        fewer=answering(scores=lambda x: scores(x)[:-1]),
        uneven=answering(classes=lambda x: labels(x)[:, :1], scores=scores),
    )
