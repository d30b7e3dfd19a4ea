"""TensorFlow's converter in a process of its own: `python -m tfopt.targets.tflite_conversion TASK`.

TASK is a `Task` as JSON. The file that it names is written, or the refusal, as the converter words it.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.ir.types import DType, dtype_of
from tfopt.passes.tflite import Precision

#: Those that take ranges of activations from samples.
CALIBRATED: Final = frozenset({"int8", "int16"})


@dataclass(frozen=True)
class Task:
    """`source` is a SavedModel, `keys` the signatures to convert, `calibration` the files of examples (`save_calls`)
    for each of them that has inputs (`CALIBRATED` alone; None where the model itself has ranges, in FakeQuant ops);
    `output` is written when all goes well, `refusal` when it does not. `sparse` leaves zeros of weights out of the
    file."""

    source: str
    keys: tuple[str, ...]
    precision: Precision
    calibration: Mapping[str, Mapping[str, str]] | None
    output: str
    refusal: str
    sparse: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def save_calls(samples: Samples, directory: Path) -> dict[str, str]:
    """Write one example a call, since the calibrator prepares a signature for one shape and takes the same ranges from
    any. Gives the file by input name; only one example is in memory at a time."""
    directory.mkdir()
    files: dict[str, str] = {}
    for name, example in next(samples.batches(1)).items():
        rows = (np.asarray(call[name]) for call in samples.batches(1))
        files[name] = str(directory / f"{len(files)}.npy")
        if dtype_of(example) is DType.STRING:
            np.save(files[name], _packed(np.stack(list(rows))))
            continue
        count = samples.count // samples.batching.block
        file = np.lib.format.open_memmap(files[name], "w+", example.dtype, (count, *example.shape))
        for number, row in enumerate(rows):
            file[number] = row
        file.flush()
    return files


def load_calls(files: Mapping[str, str]) -> Iterator[dict[str, NDArray[Any]]]:
    """The calls that `save_calls` wrote."""
    arrays = {name: np.load(file, mmap_mode="r") for name, file in files.items()}
    for number in range(len(next(iter(arrays.values())))):
        yield {name: _unpacked(np.array(array[number])) for name, array in arrays.items()}


def _packed(array: NDArray[Any]) -> NDArray[Any]:
    """Strings as numpy's fixed-width ones; a mark behind each keeps the zeros that it may end in."""
    return np.array([bytes(item) + b"|" for item in array.flat], np.bytes_).reshape(array.shape)


def _unpacked(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "S":
        return array
    return np.array([item[:-1] for item in array.flat], object).reshape(array.shape)


def convert(task: Task) -> None:
    from tfopt.formats.tensorflow import tf  # isort: split
    from tensorflow.lite.python.convert_phase import ConverterError

    warnings.simplefilter("ignore")
    try:
        converter = tf.lite.TFLiteConverter.from_saved_model(task.source, signature_keys=list(task.keys))
        optimizations = [tf.lite.Optimize.DEFAULT] if task.precision != "float32" else []
        if task.sparse:
            optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
        converter.optimizations = optimizations
        if task.precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if task.precision == "int16":
            sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            # The second set is for what has no kernel of 16 bits, and stays float.
            converter.target_spec.supported_ops = [sixteen, tf.lite.OpsSet.TFLITE_BUILTINS]
        if task.precision in CALIBRATED:
            calibration = task.calibration
            if calibration is not None:
                converter.representative_dataset = lambda: _calls(calibration)
        content: bytes = converter.convert()
    except (ConverterError, ValueError, RuntimeError, tf.errors.OpError) as error:
        Path(task.refusal).write_text(str(error), encoding="utf-8")
        return
    Path(task.output).write_bytes(content)


def _calls(calibration: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    for key in sorted(calibration):
        for inputs in load_calls(calibration[key]):
            yield key, inputs


def main() -> None:
    from tfopt.processes import end_with_parent

    end_with_parent()
    convert(Task(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
