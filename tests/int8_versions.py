"""Versions whose SavedModel computes on integers, as `compress` writes them, and machines to run them on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.targets import networks

#: What oneDNN is told to pretend that the processor is.
NO_VNNI = ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"})


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """float32[count,12,12,3], smooth: of noise alone a network makes the same whatever the noise."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 3, 3, 3))
    return np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.float32)


def eight_bits(directory: Path) -> Path:
    """`networks.branched` on 8-bit integers, which requires VNNI, with a model.tflite beside it."""
    return _compressed(directory, {})


def seven_bits(directory: Path) -> Path:
    """The same with weights of 7 bits, which any x86 processor multiplies right; made by one that has no VNNI."""
    return _compressed(directory, {**NO_VNNI[0], "TF_ENABLE_ONEDNN_OPTS": "1"}, "reduce_range: true")


def _compressed(directory: Path, machine: Mapping[str, str], option: str = "reduce_range: false") -> Path:
    """By the machine that is named, in a process of its own. The network is so small that float would be faster."""
    original = networks.branched(directory.with_name("branched"))
    samples, recipe = directory.with_name("images.npz"), directory.with_name(f"{directory.name}.yaml")
    np.savez(samples, image=images(64))
    steps = f"{{include: exact}}, smooth, {{quantize: {{round_results: true, {option}}}}}"
    recipe.write_text(
        f"name: int8\nsteps: [{steps}, {{saved_model: {{faster_only: false}}}}, {{tflite: {{precision: int8}}}}]\n"
    )
    arguments = [original, directory, "--recipe", recipe, "--data", samples, "--min-cosine", "0.9"]
    command = [sys.executable, "-m", "tfopt", "compress", *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, **machine})
    return directory
