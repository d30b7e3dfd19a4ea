"""The bundled model is what its record says, and weights get where they belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import cached, efficientnet_lite, models, train_fashion_cnn

DEMO = train_fashion_cnn.DEMO


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEMO / "fashion_cnn.json").read_text())
    return found


def test_the_bundled_model_has_the_recorded_parameters_once(record: dict[str, Any]) -> None:
    import tensorflow as tf

    checkpoint = tf.train.load_checkpoint(str(DEMO / "fashion_cnn" / "variables" / "variables"))
    shapes = checkpoint.get_variable_to_shape_map()
    stored = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith("VARIABLE_VALUE"))
    assert stored == record["parameters"] == train_fashion_cnn.build().count_params()


def test_the_bundled_model_is_as_accurate_as_recorded(record: dict[str, Any]) -> None:
    images = np.load(DEMO / "fashion_mnist.npz")["image"]
    labels = np.load(DEMO / "fashion_mnist_labels.npy")
    assert (images.shape, images.dtype) == ((400, 28, 28, 1), np.float32)
    right = train_fashion_cnn.correct(DEMO / "fashion_cnn", images, labels)
    assert record["accuracy"] >= 0.915
    assert abs(right / len(labels) - record["accuracy"]) <= 0.015


def test_the_bundled_model_has_speaking_names() -> None:
    import tensorflow as tf

    served = tf.saved_model.load(str(DEMO / "fashion_cnn")).signatures["serving_default"]
    (image,) = served.structured_input_signature[1].values()
    assert (image.name, image.dtype, image.shape.as_list()) == ("image", tf.float32, [None, 28, 28, 1])
    (name, spec), *more = served.structured_outputs.items()
    assert (name, spec.dtype, spec.shape.as_list(), more) == ("probabilities", tf.float32, [None, 10], [])


def test_the_bundle_is_small_and_holds_no_path_of_the_machine_that_made_it() -> None:
    files = [path for path in DEMO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    content = (DEMO / "fashion_cnn" / "saved_model.pb").read_bytes()
    assert not [part for part in (b"site-packages", b".py", b"/home/") if part in content]


def test_efficientnet_lite0_takes_pytorch_weights_in_its_own_order() -> None:
    model = efficientnet_lite.build()
    assert model.count_params() == 4_694_024
    weights = pytorch_weights(model)
    efficientnet_lite.assign(model, weights)
    conv, depthwise, norm, dense = (
        model.get_layer(name).get_weights() for name in ("conv_stem", "blocks.3.depthwise_conv", "blocks.3.bn1", "fc")
    )
    assert conv[0][0, 1, 2, 3] == weights["_conv_stem.weight"][3, 2, 0, 1]
    assert depthwise[0][4, 1, 7, 0] == weights["_blocks.3._depthwise_conv.weight"][7, 0, 4, 1]
    assert (norm[3] == weights["_blocks.3._bn1.running_var"]).all()
    assert dense[0][5, 9] == weights["_fc.weight"][9, 5]


def pytorch_weights(model: Any) -> dict[str, Any]:
    """Random weights for every layer, under PyTorch's names and in its shapes."""
    rng = np.random.default_rng(0)
    orders = {"Conv2D": (3, 2, 0, 1), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (1, 0)}
    weights = {}
    for layer in (layer for layer in model.layers if layer.weights):
        name = ".".join(part if part.isdigit() else f"_{part}" for part in layer.name.split("."))
        first, *rest = (tuple(weight.shape) for weight in layer.weights)
        order = orders.get(type(layer).__name__, (0,))
        weights[f"{name}.weight"] = rng.random([first[axis] for axis in order], np.float32)
        for suffix, shape in zip(("bias", "running_mean", "running_var"), rest, strict=False):
            weights[f"{name}.{suffix}"] = rng.random(shape, np.float32)
    return weights


def test_keras_2_and_keras_3_write_a_random_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built anew: what lies in the cache would hide that it can no longer be built."""
    pytest.importorskip("tf_keras", reason="tf_keras is not installed")
    monkeypatch.setattr(cached, "CACHE", tmp_path)
    for build in (models.keras2_style_cnn, models.lstm):
        assert (build() / "saved_model.pb").is_file()
    assert (models.keras2_style_cnn() / "keras_metadata.pb").is_file()
