"""Recorded requests are replayed before a version is available.

By case the tests of TensorFlow Serving's saved_model_warmup_util_test.cc and saved_model_warmup_test.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.serve.engines import Multiplier
from tfopt.errors import Code, InvalidModel, TfoptError, UnsupportedModel
from tfopt.formats.serving.api import PredictionLog
from tfopt.formats.serving.tensors import fill_tensor
from tfopt.formats.serving.warmup import WARMUP_PATH
from tfopt.formats.tfrecord import encode_records
from tfopt.ir import DType, Shape, TensorType
from tfopt.runtimes.base import SignatureInfo, TensorInfo
from tfopt.serve.inference import CLASSIFY, REGRESS
from tfopt.serve.versions.warming import Warmup, warm_up


def info(dtype: DType) -> TensorInfo:
    return TensorInfo("t:0", TensorType(dtype, Shape.of(None)))


class Recorder(Multiplier):
    """Answers as a model of each kind, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(1)
        text, real = info(DType.STRING), info(DType.FLOAT32)
        self.signatures |= {
            "classify": SignatureInfo({"inputs": text}, {"scores": real}),
            "regress": SignatureInfo({"inputs": text}, {"outputs": real}),
        }
        self.asked: list[tuple[str, list[Any]]] = []

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        (array,) = inputs.values()
        self.asked.append((signature, array.tolist()))
        if signature == "classify":
            return {"scores": np.zeros((len(array), 2), np.float32)}
        if signature == "regress":
            return {"outputs": np.zeros(len(array), np.float32)}
        return super().run(signature, inputs)


@pytest.fixture
def model() -> Recorder:
    runtime = Recorder()
    runtime.close()
    runtime._closed = False  # what is not counted needs no closing
    return runtime


def example(value: bytes) -> Any:
    """A tf.Example with one feature x."""
    from tfopt.formats.serving.tensorflow_messages import TENSORFLOW

    made = TENSORFLOW.message("Example")()
    made.features.feature["x"].bytes_list.value.append(value)
    return made


def predict_log(signature: str = "serving_default") -> Any:
    log = PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    fill_tensor(log.predict_log.request.inputs["x"], np.ones(1))
    return log


def single_log(kind: str, signature: str) -> Any:
    log = PredictionLog()
    request = getattr(log, kind).request
    request.model_spec.signature_name = signature
    request.input.example_list.examples.append(example(b"a"))
    return log


def multi_log(method: str = REGRESS) -> Any:
    log = PredictionLog()
    request = log.multi_inference_log.request
    for signature, name in (("classify", CLASSIFY), ("regress", method)):
        task = request.tasks.add(method_name=name)
        task.model_spec.name = "m"
        task.model_spec.signature_name = signature
    with_context = request.input.example_list_with_context
    with_context.examples.append(example(b"a"))
    with_context.context.CopyFrom(example(b"context"))
    return log


def write(version: Path, *records: Any) -> Path:
    file = version / WARMUP_PATH
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(
        encode_records([each if isinstance(each, bytes) else each.SerializeToString() for each in records])
    )
    return file


def test_mixed_warmup_data(tmp_path: Path, model: Recorder) -> None:
    records = (predict_log(), single_log("classify_log", "classify"), single_log("regress_log", "regress"), multi_log())
    write(tmp_path, *records)
    told: list[tuple[str, int]] = []
    warm_up(model, tmp_path, (), Warmup(told=lambda path, seconds, records: told.append((path, records))))
    serialized = example(b"a").SerializeToString()
    both = example(b"context").SerializeToString() + serialized
    assert model.asked == [
        ("serving_default", [1.0]),
        ("classify", [serialized]),
        ("regress", [serialized]),
        ("classify", [both]),
        ("regress", [both]),
    ]
    assert told == [(str(tmp_path), 4)]


def test_requests_may_be_run_several_times_or_not_at_all(tmp_path: Path, model: Recorder) -> None:
    write(tmp_path, predict_log())
    warm_up(model, tmp_path, (), Warmup(iterations=3))
    assert len(model.asked) == 3
    warm_up(model, tmp_path, (), Warmup(enabled=False))
    assert len(model.asked) == 3
    warm_up(model, tmp_path, ("serving_default",))
    assert len(model.asked) == 3, "a signature that is left out"


def test_no_warmup_data_file(tmp_path: Path, model: Recorder) -> None:
    warm_up(model, tmp_path, ())
    assert model.asked == []


def test_as_many_records_as_there_may_be(tmp_path: Path, model: Recorder) -> None:
    write(tmp_path, *[predict_log()] * 1000)
    warm_up(model, tmp_path, ())
    assert len(model.asked) == 1000
    file = write(tmp_path, *[predict_log()] * 1001)
    refused(model, tmp_path, f"{file}: Number of warmup records exceeds the maximum (1000)")


def refused(model: Recorder, version: Path, said: str, kind: type[TfoptError] = InvalidModel) -> None:
    with pytest.raises(kind) as caught:
        warm_up(model, version, ())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (lambda: b"no message", "Failed to parse warmup record"),
        (lambda: predict_log("nope"), 'warmup request 0 fails: Serving signature key "nope" not found.'),
        (lambda: single_log("classify_log", "regress"), "warmup request 0 fails: Expected classification signature"),
        (lambda: single_log("regress_log", "nope"), "No signature was found with the name: nope"),
        (lambda: multi_log("tensorflow/serving/predict"), "Unsupported signature method_name"),
        (PredictionLog, "is a PredictionLog without a request"),
    ],
)
def test_records_that_fail_the_load(tmp_path: Path, model: Recorder, record: Callable[[], Any], said: str) -> None:
    write(tmp_path, record())
    refused(model, tmp_path, said)


def test_kinds_of_requests_that_cannot_be_replayed(tmp_path: Path, model: Recorder) -> None:
    for kind, number in (("predict_streamed_log", 7), ("session_run_log", 5)):
        log = PredictionLog()
        getattr(log, kind).SetInParent()
        write(tmp_path, log)
        refused(model, tmp_path, f"Unsupported log_type for warmup: {number}", UnsupportedModel)
    assert UnsupportedModel.code is Code.UNIMPLEMENTED


def test_what_is_no_file_of_records(tmp_path: Path, model: Recorder) -> None:
    file = write(tmp_path, predict_log())
    file.write_bytes(file.read_bytes()[:-3])
    refused(model, tmp_path, "Please verify your warmup data is in TFRecord format.")
