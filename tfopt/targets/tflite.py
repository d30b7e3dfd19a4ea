"""Convert a model to a TensorFlow Lite file with TensorFlow's own converter."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tfopt.formats.tensorflow import tf  # isort: split

from numpy.typing import NDArray
from tensorflow.lite.python.convert_phase import ConverterError

from tfopt.data import Samples
from tfopt.errors import ConversionError
from tfopt.formats.native_stderr import captured_stderr
from tfopt.ir import Model
from tfopt.store.disk import writing
from tfopt.targets.base import Artifact
from tfopt.targets.saved_model import write_saved_model
from tfopt.targets.tflite_refusal import refusal
from tfopt.targets.tflite_signatures import check_names, with_aliases
from tfopt.targets.twin_signatures import twins


def write_tflite(
    model: Model,
    path: Path,
    *,
    precision: Literal["float32", "int8"] = "float32",
    calibration: Mapping[str, Samples] | None = None,
) -> Artifact:
    """Write every signature of `model` into one file. Keys, names and dtypes of inputs and outputs stay.

    `int8` quantizes weights per output channel and activations per tensor, with the ranges that the `calibration`
    samples (by signature) show; ops that have no integer kernel stay float, and so do inputs and outputs.
    Signatures that are one program share one subgraph, converted and calibrated once. A .tflite file holds no default
    values: every input must be given.

    Raises ConversionError when the converter refuses the model or loses a name, OutputExists, OutputError.
    """
    aliases = twins(model)
    keys = sorted(model.signatures.keys() - aliases.keys())
    samples = _samples(model, keys, calibration or {}) if precision == "int8" else None
    with tempfile.TemporaryDirectory(prefix="tfopt-") as scratch:
        # All weights as constants: the converter would turn variables into state of the file.
        source = write_saved_model(model, Path(scratch, "model"), variables_over=None).path
        content = with_aliases(_convert(source, keys, samples), aliases)
    check_names(content, model)
    with writing(path), path.open("xb") as file:
        file.write(content)
    return Artifact("tflite", path)


def _samples(model: Model, keys: list[str], calibration: Mapping[str, Samples]) -> Mapping[str, Samples]:
    with_inputs = [key for key in keys if model.signatures[key].inputs]
    for key in with_inputs:
        if key not in calibration or not calibration[key].count:
            raise ConversionError(f"int8 needs calibration samples for the signature {key}", hint="give some as data")
    return {key: calibration[key] for key in with_inputs}


def _convert(source: Path, keys: list[str], samples: Mapping[str, Samples] | None) -> bytes:
    with _refusals():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=keys)
        if samples is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _calls(samples)
        content: bytes = converter.convert()
        return content


def _calls(samples: Mapping[str, Samples]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """One example a call: the calibrator prepares a signature for one shape, and takes the same ranges from any."""
    for key in sorted(samples):
        for inputs in samples[key].batches(1):
            yield key, inputs


@contextmanager
def _refusals() -> Iterator[None]:
    """Keep the converter's talk, which is pages long, off the terminal; say in one line why it gave up."""
    with captured_stderr() as talk:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
            return
        except (ConverterError, ValueError, RuntimeError, tf.errors.OpError) as error:
            refused = error
    raise ConversionError(f"the TFLite converter refuses the model: {refusal(str(refused), talk.text)}") from refused
