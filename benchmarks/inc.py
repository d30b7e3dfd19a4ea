"""Intel's Neural Compressor 3.10: what it makes of a SavedModel, in a virtual environment of its own.

Its answers are under other names: of several signatures one survives, and its outputs are called Identity, Identity_1,
..., in the order of the original's sorted names. Assets and tables are not written. It warns that it has not been
verified with TensorFlow later than 2.16.1.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.cached import built
from benchmarks.environments import environment
from tfopt.errors import ConversionError

VERSION: Final = "3.10"
TENSORFLOW: Final = "2.21.0"
RUNNER: Final = Path(__file__).with_name("inc_runner.py")
_LAST: Final = 3

Arrays = Mapping[str, NDArray[Any]]


def inc_saved_model(model: Path, samples: Arrays) -> Path:
    """Its int8 SavedModel with its default settings, calibrated on all samples; made once for this model and these.

    Raises NotFound when pip cannot install it, ConversionError with its last words when it makes nothing.
    """
    digest = hashlib.sha256(str(model.resolve()).encode())
    for name in sorted(samples):
        digest.update(name.encode() + np.ascontiguousarray(samples[name]).tobytes())
    return built(f"inc_{model.name}_{digest.hexdigest()[:12]}", lambda folder: _quantized(model, samples, folder))


def _quantized(model: Path, samples: Arrays, folder: Path) -> None:
    wheels = [f"neural-compressor-tf=={VERSION}", f"tensorflow=={TENSORFLOW}"]
    python = environment(f"neural-compressor-{VERSION}", wheels)
    with tempfile.TemporaryDirectory() as scratch:
        arrays = Path(scratch) / "samples.npz"
        held: dict[str, Any] = dict(samples)
        np.savez(arrays, **held)
        command = [str(python), str(RUNNER), str(model.resolve()), str(arrays), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
    if done.returncode or not (folder / "saved_model.pb").is_file():
        words = " ".join(done.stderr.strip().splitlines()[-_LAST:])
        raise ConversionError(f"Neural Compressor made no SavedModel: {words}", where=str(model))


def named_as(outputs: Arrays, original: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Outputs of Neural Compressor's SavedModel under the names that the original has for them."""
    if set(outputs) == set(original):
        return dict(outputs)
    places = ["Identity", *(f"Identity_{at}" for at in range(1, len(original)))]
    return {name: outputs[place] for name, place in zip(sorted(original), places, strict=True)}
