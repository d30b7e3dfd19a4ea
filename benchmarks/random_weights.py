"""Seeded random weights that behave like trained ones, for speed and exactness, never for accuracy."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SEED: Final = 20


def randomise(model: Any, shape: tuple[int, ...]) -> None:
    """Give a Keras model (3, or tf_keras) weights with which no channel dies or explodes, no batch norm is an identity.

    The moving statistics are those of one batch of noise, then each is bent a little, as a training set's would be.
    """
    rng = np.random.default_rng(SEED)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    paths = [(getattr(weight, "path", weight.name), weight.shape) for weight in model.weights]  # tf_keras has no path
    model.set_weights([_tamed(path, _plausible(path, shape, rng)) for path, shape in paths])
    for norm in norms:
        norm.momentum = 0.0
    model([rng.uniform(-1, 1, shape).astype(np.float32)], training=True)
    for norm in norms:
        gamma, beta, mean, variance = norm.get_weights()
        mean = mean + 0.1 * np.sqrt(variance) * rng.standard_normal(mean.shape)
        variance = variance * np.exp(0.2 * rng.standard_normal(variance.shape))
        norm.set_weights([gamma, beta, mean, variance])


def _plausible(path: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """One weight by its role, noise about what it starts from; kernels after He et al. (2015), https://arxiv.org/abs/1502.01852."""
    role = path.rpartition("/")[2].partition(":")[0]
    noise: NDArray[np.float32] = rng.standard_normal(tuple(shape)).astype(np.float32)
    if role.endswith("kernel"):
        inputs = np.prod(shape[:2] if role == "depthwise_kernel" else shape[:-1])
        noise *= np.float32(np.sqrt(2 / inputs))
        return noise
    noise *= np.float32(0.1)
    if role in ("gamma", "moving_variance"):
        noise += np.float32(1)
    return noise


def _tamed(path: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Let ResNet50's residual branches add little to what they are added to, as training has it from the start.

    Goyal et al. (2017), https://arxiv.org/abs/1706.02677, section 5.1, start the last scale of each branch at zero.
    With scales about one, sixteen random branches amplify rounding until float32 itself is 1e-5 off the same network
    in float64, and no comparison of two float32 results can be tighter.
    """
    return weight * np.float32(0.25) if path.endswith("_3_bn/gamma") else weight


def randomise_recurrent(model: Any) -> None:
    """Give a Keras model of recurrent and dense layers weights with which gates stay between open and shut."""
    rng = np.random.default_rng(SEED)
    model.set_weights([_recurrent(weight.name, weight.shape, rng) for weight in model.weights])


def _recurrent(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of variance one over the inputs for kernels, small biases."""
    noise: NDArray[np.float32] = rng.standard_normal(tuple(shape)).astype(np.float32)
    return noise / np.float32(np.sqrt(shape[0])) if "kernel" in name else noise * np.float32(0.1)
