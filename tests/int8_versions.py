"""Versions whose SavedModel computes on integers, as `compress` writes them, and machines to run them on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.targets import networks
from tfopt.compression import compress
from tfopt.recipe import recipe_from_flags

#: What oneDNN is told to pretend that the processor is.
NO_VNNI = ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"})


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """float32[count,12,12,3], smooth: of noise alone a network makes the same whatever the noise."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 3, 3, 3))
    return np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.float32)


def eight_bits(directory: Path) -> Path:
    """`networks.branched` on 8-bit integers, which requires VNNI, with a model.tflite beside it."""
    return _compressed(directory, reduce_range=False)


def seven_bits(directory: Path) -> Path:
    """The same with weights of 7 bits, which any x86 processor multiplies right."""
    return _compressed(directory, reduce_range=True)


def _compressed(directory: Path, *, reduce_range: bool) -> Path:
    original = networks.branched(directory.with_name("branched"))
    samples = directory.with_name("images.npz")
    np.savez(samples, image=images(64))
    recipe = recipe_from_flags(quantize="int8", reduce_range=reduce_range)
    return compress(original, directory, recipe=recipe, data=samples, min_cosine=0.9).path
