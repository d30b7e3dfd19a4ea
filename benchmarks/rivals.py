"""int8 as others make it of the same model and the same samples: TensorFlow's TFLite converter, ONNX Runtime."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import ConversionError
from tfopt.ir.graph import DEFAULT_SIGNATURE

_LONGEST: Final = 160

Arrays = Mapping[str, NDArray[Any]]


def stock_tflite(model: Path, samples: Arrays, out: Path) -> Path:
    """Full int8 with a representative dataset, float at the edges. The converter ends the process on some models, so it
    has one of its own; raises ConversionError with its last words.
    """
    with tempfile.TemporaryDirectory() as scratch:
        arrays = Path(scratch) / "samples.npz"
        held: dict[str, Any] = dict(samples)
        np.savez(arrays, **held)
        command = [sys.executable, "-m", "benchmarks.rivals", str(model), str(arrays), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not out.is_file():
        said = [line.strip() for line in done.stderr.splitlines() if "error: " in line.lower()]
        words = said[-1][:_LONGEST] if said else f"it ended with {done.returncode}"
        raise ConversionError(words, where="TensorFlow's TFLite converter")
    return out


def _convert(model: str, samples: str, out: str) -> None:
    import tensorflow as tf

    with np.load(samples) as held:
        arrays = dict(held)

    def examples() -> Iterator[dict[str, NDArray[Any]]]:
        for at in range(len(next(iter(arrays.values())))):
            yield {name: array[at : at + 1] for name, array in arrays.items()}

    converter = tf.lite.TFLiteConverter.from_saved_model(model, signature_keys=[DEFAULT_SIGNATURE])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(out).write_bytes(converter.convert())


def onnxruntime_static(model: Path, samples: Arrays, out: Path) -> Path:
    """ONNX Runtime's static int8 of a float .onnx: QDQ, per channel, min-max, behind its own preparation."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            count = len(next(iter(samples.values())))
            self.rows = iter([{name: array[at : at + 1] for name, array in samples.items()} for at in range(count)])

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self.rows, None)

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(out), Reader(), per_channel=True)
    return out


if __name__ == "__main__":
    _convert(*sys.argv[1:4])
