"""SavedModels with loops in them, exported the way users export; see tests/models.py for the fixture that builds them.

| builder | signature | what it has |
|---|---|---|
| `layers` | `series float32[?,20,3]` | every recurrent layer of Keras, sequences, backwards, both ways, stacked |
| `open_layers` | `series float32[?,?,3]` | the same of unknown length |
| `masked_layers` | `ids int32[?,?]` | an embedding that masks, so that the loops select |
| `tensor_arrays` | `x float32[?,3]`, `n int32[]` | map, scan, an array that is read again, one that grows |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers as nn

from tests.models import export, floats, save


def layers(directory: Path) -> Path:
    return export(_of_every_kind(keras.Input((20, 3), name="series")), directory)


def open_layers(directory: Path) -> Path:
    return export(_of_every_kind(keras.Input((None, 3), name="series")), directory)


def _of_every_kind(series: Any) -> keras.Model:
    sequences = nn.LSTM(5, return_sequences=True)(series)
    lstm, *states = nn.LSTM(4, return_state=True)(series)
    outputs = {
        "lstm": lstm,
        "states": nn.Concatenate()(states),
        "sequences": sequences,
        "stacked": nn.LSTM(3)(sequences),
        "gru": nn.GRU(4)(series),
        "gru_before": nn.GRU(4, reset_after=False, return_sequences=True)(series),
        "simple": nn.SimpleRNN(4, go_backwards=True)(series),
        "both_ways": nn.Bidirectional(nn.GRU(4, return_sequences=True))(series),
    }
    return _with_biases(keras.Model(series, outputs))


def masked_layers(directory: Path) -> Path:
    ids = keras.Input((None,), name="ids", dtype="int32")
    embedded = nn.Embedding(9, 3, mask_zero=True)(ids)
    outputs = {
        "lstm": nn.LSTM(4)(embedded),
        "both_ways": nn.Bidirectional(nn.LSTM(4, return_sequences=True))(embedded),
        "gru": nn.GRU(4)(embedded),
    }
    return export(_with_biases(keras.Model(ids, outputs)), directory)


def _with_biases(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) * 0.4 for weight in model.weights])
    return model


def tensor_arrays(directory: Path) -> Path:
    module = tf.Module()

    @tf.function(input_signature=[floats(None, 3, name="x"), tf.TensorSpec([], tf.int32, "n")])
    def serve(x: tf.Tensor, n: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mapped": _mapped(x), "scanned": _scanned(x), "fibonacci": _fibonacci(), "growing": _growing(n)}

    return save(module, directory, serving_default=serve)


def _mapped(x: tf.Tensor) -> tf.Tensor:
    return tf.map_fn(lambda row: tf.tanh(row) * 2.0, x)


def _scanned(x: tf.Tensor) -> tf.Tensor:
    return tf.scan(lambda total, row: total * 0.5 + row, x, initializer=tf.zeros([3]))


def _fibonacci() -> tf.Tensor:
    """Each item of the two before it."""
    numbers = tf.TensorArray(tf.int32, 10, element_shape=[], clear_after_read=False).write(0, 1).write(1, 1)

    def step(i: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return i + 1, found.write(i, found.read(i - 1) + found.read(i - 2))

    return tf.while_loop(lambda i, _: i < 10, step, (2, numbers))[1].stack()


def _growing(n: tf.Tensor) -> tf.Tensor:
    """As many items as the caller says, in an array that is made without a size."""
    squares = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=[])
    step = lambda i, found: (i + 1, found.write(i, i * i))  # noqa: E731
    return tf.while_loop(lambda i, _: i < n, step, (0, squares))[1].stack()
