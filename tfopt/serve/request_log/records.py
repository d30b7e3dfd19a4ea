"""A run of a model as a PredictionLog, which warmup, `--data` and TensorFlow's own tools read.

Source: tensorflow_serving/apis/prediction_log.proto, apis/logging.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.formats.serving.api import PredictionLog
from tfopt.formats.serving.tensors import fill_tensor
from tfopt.serve.versions.servable import Run

#: What is written of a request's inputs: all, a SHA-256 in the place of each, or nothing.
Inputs = Literal["keep", "hash", "omit"]


def prediction_log(model: str, run: Run, *, inputs: Inputs, rate: float, seconds: int) -> bytes:
    """`rate` at which requests are chosen; `seconds` since 1970. The request names no version, so that it can be
    replayed on any; the answer and the metadata do."""
    log = PredictionLog()
    metadata = log.log_metadata
    _fill_spec(metadata.model_spec, model, run, with_version=True)
    metadata.sampling_config.sampling_rate = rate
    metadata.timestamp_secs = seconds
    if run.api == "Predict":
        _fill_predict(log.predict_log, model, run, inputs)
    elif "outputs" not in run.outputs:
        _fill_examples(log.classify_log, model, run, inputs)
        _fill_classifications(log.classify_log.response.result, run.outputs)
    else:  # a regression; a MultiInference is logged as the classifications and regressions that it is made of
        _fill_examples(log.regress_log, model, run, inputs)
        for value in next(iter(run.outputs.values())).reshape(-1):
            log.regress_log.response.result.regressions.add(value=float(value))
    serialized: bytes = log.SerializeToString()
    return serialized


def _fill_spec(spec: Any, model: str, run: Run, *, with_version: bool) -> None:
    spec.name = model
    spec.signature_name = run.signature
    if with_version:
        spec.version.value = run.version


def _fill_predict(log: Any, model: str, run: Run, inputs: Inputs) -> None:
    _fill_spec(log.request.model_spec, model, run, with_version=False)
    _fill_spec(log.response.model_spec, model, run, with_version=True)
    if inputs != "omit":
        for name, array in run.inputs.items():
            fill_tensor(log.request.inputs[name], array if inputs == "keep" else _digest(array))
    for name, array in run.outputs.items():
        fill_tensor(log.response.outputs[name], array)


def _digest(array: NDArray[Any]) -> NDArray[Any]:
    """Of dtype, shape and numbers: equal inputs have equal ones."""
    found = sha256(f"{array.dtype} {array.shape}".encode())
    if array.dtype == object:
        for item in array.flat:
            found.update(sha256(item if isinstance(item, bytes) else str(item).encode()).digest())
    else:
        found.update(np.ascontiguousarray(array).tobytes())
    return np.array(found.hexdigest().encode(), object)


def _fill_examples(log: Any, model: str, run: Run, inputs: Inputs) -> None:
    _fill_spec(log.request.model_spec, model, run, with_version=False)
    _fill_spec(log.response.model_spec, model, run, with_version=True)
    examples = log.request.input.example_list.examples
    for serialized in next(iter(run.inputs.values())).flat:
        if inputs == "keep":
            examples.add().ParseFromString(serialized)
        elif inputs == "hash":
            digest = sha256(serialized).hexdigest().encode()
            examples.add().features.feature["sha256"].bytes_list.value.append(digest)


def _fill_classifications(result: Any, outputs: Mapping[str, NDArray[Any]]) -> None:
    labels, scores = outputs.get("classes"), outputs.get("scores")
    count = len(next(iter(outputs.values())))
    for row in range(count):
        classes = result.classifications.add().classes
        for column in range(len((scores if scores is not None else labels)[row])):  # type: ignore[index]  # one is there
            one = classes.add()
            if labels is not None:
                label = labels[row][column]
                one.label = label.decode(errors="replace") if isinstance(label, bytes) else str(label)
            if scores is not None:
                one.score = float(scores[row][column])
