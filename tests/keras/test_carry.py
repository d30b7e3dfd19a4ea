"""Models of Keras 3 built again of Keras 2 layers: `carried` itself refuses what does not answer the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras", reason="models of Keras 2 need the extra tfmot")

from tfopt.errors import UnsupportedModel  # noqa: E402  behind what may skip all of it
from tfopt.keras.carry import carried  # noqa: E402

L = keras.layers


def within() -> Any:
    """Models within a model, one of them called twice, and a layer of the same name in both."""
    inner = keras.Sequential([keras.Input((8,)), L.Dense(4, activation="gelu", name="d"), L.LayerNormalization()])
    a, b = keras.Input((8,), name="a"), keras.Input((5, 8), name="b")
    x = L.Concatenate()([inner(a), inner(L.GlobalAveragePooling1D()(b))])
    return keras.Model([a, b], [L.Dense(2, name="d")(x), x])


def sequences() -> Any:
    b = keras.Input((None, 8), name="b")
    x = L.Bidirectional(L.GRU(4, return_sequences=True))(b)
    x = L.TimeDistributed(L.Dense(8))(x)
    x = L.MultiHeadAttention(2, 4)(x, x)
    return keras.Model(b, L.LSTM(3)(x))


def images() -> Any:
    i = keras.Input((16, 16, 3))
    x = L.SeparableConv2D(8, 3, pointwise_regularizer="l2")(i)
    x = L.Conv2DTranspose(4, 3, strides=2)(L.PReLU()(x))
    return keras.Model(i, L.Flatten()(L.Dropout(0.5)(L.MaxPooling2D()(x))))


def one_after_another() -> Any:
    return keras.Sequential([keras.Input((8,), name="x"), L.Dense(4, activation="relu"), L.Dense(2)])


def from_a_file(model: Any, path: Path) -> Any:
    """A model knows less of itself when it was read than when it was made."""
    model.save(path)
    return keras.models.load_model(path)


@pytest.mark.parametrize("build", [within, sequences, images, one_after_another])
def test_it_answers_as_before(build: Callable[[], Any], tmp_path: Path) -> None:
    model = from_a_file(build(), tmp_path / "model.keras")
    made = carried(model)
    assert isinstance(made, tf_keras.Model)
    assert made.count_params() == model.count_params()


def test_outputs_with_names_go_by_their_order(keras_file: Path) -> None:
    model = keras.models.load_model(keras_file)
    made = carried(model)
    image = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(made(image), model({"image": image})["probabilities"], rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: L.RMSNormalization(name="rms")(x), "layer rms: .* Keras 2 has no RMSNormalization"),
        (lambda x: keras.ops.relu(x), "layer relu: .* Relu is an operation, and no layer"),
        (lambda x: L.LayerNormalization(name="n", rms_scaling=True)(x), "layer n: .* no rms_scaling in Keras 2"),
    ],
)
def test_what_keras_2_has_not_is_refused_by_layer(make: Callable[[Any], Any], said: str) -> None:
    i = keras.Input((4,))
    with pytest.raises(UnsupportedModel, match=said):
        carried(keras.Model(i, make(L.Dense(3)(i))))
