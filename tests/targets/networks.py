"""Small networks that are built as the well-known ones are, to be quantized whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.models import weights

layers = tf.keras.layers


def inverted(directory: Path) -> Path:
    """image float32[?,?,?,3] -> float32[?,5]: as MobileNetV2, with two sums in a row and a stride."""
    image = x = tf.keras.Input((None, None, 3), name="image")
    x = _normed(layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(x), relu6=True)
    x = _bottleneck(x, 8, 1)
    for _ in range(2):
        x = layers.add([x, _bottleneck(x, 8, 1)])
    x = _bottleneck(x, 12, 2)
    x = layers.add([x, _bottleneck(x, 12, 1)])
    x = _normed(layers.Conv2D(40, 1, use_bias=False)(x), relu6=True)
    return _exported(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)), directory)


def residual(directory: Path) -> Path:
    """image float32[?,24,24,3] -> float32[?,5]: as ResNet, with a padded pool and a projected shortcut."""
    image = tf.keras.Input((24, 24, 3), name="image")
    x = layers.ReLU()(_normed(layers.Conv2D(8, 5, 2, use_bias=False)(layers.ZeroPadding2D(2)(image))))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for width, stride in ((16, 1), (16, 1), (24, 2)):
        shortcut = x if width == x.shape[-1] else _normed(layers.Conv2D(width, 1, stride)(x))
        inner = layers.ReLU()(_normed(layers.Conv2D(8, 1, stride)(x)))
        inner = layers.ReLU()(_normed(layers.Conv2D(8, 3, padding="same")(inner)))
        x = layers.ReLU()(layers.add([shortcut, _normed(layers.Conv2D(width, 1)(inner))]))
    return _exported(image, layers.Dense(5)(layers.Flatten()(layers.AveragePooling2D(3)(x))), directory)


def branched(directory: Path) -> Path:
    """image float32[?,12,12,3] -> float32[?,5], features float32[?,12,12,19]: as Inception, with an output within."""
    image = tf.keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    parts = [layers.Conv2D(n, k, padding="same", activation="relu")(x) for n, k in ((4, 1), (7, 3), (8, 5))]
    joined = layers.Concatenate(name="features")(parts)
    x = layers.Conv2D(10, 3, 2, activation="relu")(joined)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(layers.MaxPooling2D()(x)))
    return _exported(image, {"logits": layers.Dense(5)(x), "features": joined}, directory)


def _bottleneck(x: tf.Tensor, width: int, stride: int) -> tf.Tensor:
    inner = _normed(layers.Conv2D(3 * x.shape[-1], 1, use_bias=False)(x), relu6=True)
    inner = _normed(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(inner), relu6=True)
    return _normed(layers.Conv2D(width, 1, use_bias=False)(inner))


def _normed(x: tf.Tensor, *, relu6: bool = False) -> tf.Tensor:
    made = layers.BatchNormalization()(x)
    return layers.ReLU(6.0)(made) if relu6 else made


def _exported(image: tf.Tensor, outputs: object, directory: Path) -> Path:
    model = tf.keras.Model(image, outputs)
    for seed, variable in enumerate(model.variables):
        drawn = weights(*variable.shape, seed=seed)
        if "kernel" in variable.path:
            drawn *= np.sqrt(2 / np.prod(variable.shape[:-1]))
        if "variance" in variable.path or "gamma" in variable.path:
            drawn = np.abs(drawn) * 0.3 + 0.7
        variable.assign(drawn * (0.3 if variable.path.endswith(("beta", "bias", "mean")) else 1.0))
    model.export(str(directory), verbose=False)
    return directory
