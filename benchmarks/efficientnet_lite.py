"""EfficientNet-Lite0 in Keras with ImageNet weights that were published for PyTorch.

Tan & Le, "EfficientNet" (2019), in the Lite form: ReLU6, no squeeze-and-excite, stem and head of fixed width.
Input: float32 [n, 224, 224, 3], (rgb - 127) / 128. Output: logits [n, 1000] in ImageNet's usual order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 224
EPSILON: Final = 1e-3


class Stage(NamedTuple):
    """Inverted residual blocks of one width; only the first of them strides."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


STAGES: Final = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)

StateDict = Mapping[str, NDArray[Any]]


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images uint8 [n, 224, 224, 3] as the network takes them, float32 in about -1..1."""
    scaled: NDArray[np.float32] = (images.astype(np.float32) - np.float32(127)) / np.float32(128)
    return scaled


def build() -> Any:
    """The Keras model {"image"} -> {"logits"}, untrained; its layers are named after the state dict's."""
    import keras

    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = _conv(image, 32, 3, 2, "conv_stem", "bn0")
    index = 0
    for stage in STAGES:
        for repeat in range(stage.blocks):
            x = _block(x, stage, stage.stride if repeat == 0 else 1, f"blocks.{index}.")
            index += 1
    x = _conv(x, 1280, 1, 1, "conv_head", "bn1")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model({"image": image}, {"logits": keras.layers.Dense(1000, name="fc")(x)}, name="efficientnet_lite0")


def _block(x: Any, stage: Stage, stride: int, name: str) -> Any:
    import keras

    width = x.shape[-1]
    y = x
    if stage.expansion > 1:
        y = _conv(y, width * stage.expansion, 1, 1, f"{name}expand_conv", f"{name}bn0")
    depthwise = f"{name}depthwise_conv"
    y = keras.layers.DepthwiseConv2D(stage.kernel, stride, padding="same", use_bias=False, name=depthwise)(y)
    y = _normalised(y, f"{name}bn1")
    y = _conv(y, stage.width, 1, 1, f"{name}project_conv", f"{name}bn2", activation=False)
    return keras.layers.Add(name=f"{name}add")([x, y]) if stride == 1 and width == stage.width else y


def _conv(x: Any, width: int, kernel: int, stride: int, name: str, norm: str, activation: bool = True) -> Any:
    import keras

    x = keras.layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=name)(x)
    return _normalised(x, norm, activation)


def _normalised(x: Any, name: str, activation: bool = True) -> Any:
    import keras

    x = keras.layers.BatchNormalization(epsilon=EPSILON, name=name)(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu6")(x) if activation else x


def assign(model: Any, weights: StateDict) -> None:
    """Give every layer that has weights its own from the state dict."""
    for layer in model.layers:
        if layer.weights:
            name = re.sub(r"(^|\.)(?=[a-z])", r"\1_", layer.name)
            layer.set_weights(_layer_weights(type(layer).__name__, name, weights))


def _layer_weights(kind: str, name: str, weights: StateDict) -> list[NDArray[Any]]:
    """PyTorch keeps [out, in, h, w]; Keras [h, w, in, out], and [h, w, in, 1] for a depthwise kernel."""
    if kind == "BatchNormalization":
        return [weights[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    if kind == "Dense":
        return [weights[f"{name}.weight"].T, weights[f"{name}.bias"]]
    order = (2, 3, 0, 1) if kind == "DepthwiseConv2D" else (2, 3, 1, 0)
    return [weights[f"{name}.weight"].transpose(order)]
