"""PredictionService, from the bytes of a request to those of its answer.

Source: model_servers/prediction_service_impl.cc, and the sources of `serve.inference`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import Code, RequestError, TfoptError
from tfopt.formats.serving.api import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    RawClassificationResponse,
    RawMultiInferenceRequest,
    RawMultiInferenceResponse,
    RawPredictRequest,
    RawPredictResponse,
    RawSingleRequest,
    RegressionResponse,
)
from tfopt.formats.serving.tensors import read_tensor, write_tensor
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.types import DType, dtype_of
from tfopt.runtimes.base import TensorInfo
from tfopt.serve import inference
from tfopt.serve.inference import Classification, Task
from tfopt.serve.plane import Plane
from tfopt.serve.refusals import told
from tfopt.serve.rpc.specs import answer_spec, parse, read_spec, spec_of
from tfopt.serve.signatures import signature_def_map

#: Bytes that a tensor may have which lists fewer values than its shape: some bytes of a request would else fill the
#: memory.
LARGEST_EXPANDED = 256 * 2**20


Call = Callable[[bytes, float | None], bytes]


@dataclass
class _Seen:
    """What comes to be known of a request while it is answered."""

    model: str = ""
    signature: str = ""
    version: int | None = None


class PredictionCalls:
    """The calls by name, each `(body, timeout in seconds) -> answer's body`; they raise TfoptError.

    `as_content`: tensors are answered in tensor_content, not in the fields of their type.
    """

    def __init__(self, plane: Plane, *, as_content: bool = False) -> None:
        self._plane = plane
        self._as_content = as_content
        self._check = plane.check_method_names
        self.methods: Mapping[str, Call] = {
            "Predict": self._counting("Predict", self._predict),
            "Classify": self._counting("Classify", self._classify),
            "Regress": self._counting("Regress", self._regress),
            "MultiInference": self._multi_inference,
            "GetModelMetadata": self._get_model_metadata,
        }

    def _predict(self, seen: _Seen, body: bytes, timeout: float | None) -> bytes:
        request = parse(RawPredictRequest, body)
        spec = self._see(seen, spec_of(request))
        answer = RawPredictResponse()
        with self._plane.servable(read_spec(spec)) as servable:
            seen.version = servable.number
            outputs = inference.predict(
                servable,
                spec.signature_name,
                request.inputs,
                outputs=request.output_filter,
                timeout=timeout,
                read=_read,
                check_method_name=self._check,
            )
            infos = servable.signatures[seen.signature].outputs
        for name, array in outputs.items():
            write_tensor(answer.outputs[name], array, _answered(array, infos[name]), as_content=self._as_content)
        answer_spec(answer.model_spec, spec, seen.version)
        return _serialized(answer)

    def _classify(self, seen: _Seen, body: bytes, timeout: float | None) -> bytes:
        request = parse(RawSingleRequest, body)
        spec = self._see(seen, spec_of(request))
        answer = RawClassificationResponse()
        with self._plane.servable(read_spec(spec)) as servable:
            seen.version = servable.number
            examples = _examples(request.input)
            found = inference.classify(
                servable, spec.signature_name, examples, timeout=timeout, check_method_name=self._check
            )
        _fill_classes(answer.result, found)
        answer_spec(answer.model_spec, spec, seen.version)
        return _serialized(answer)

    def _regress(self, seen: _Seen, body: bytes, timeout: float | None) -> bytes:
        request = parse(RawSingleRequest, body)
        spec = self._see(seen, spec_of(request))
        answer = RegressionResponse()
        with self._plane.servable(read_spec(spec)) as servable:
            seen.version = servable.number
            examples = _examples(request.input)
            found = inference.regress(
                servable, spec.signature_name, examples, timeout=timeout, check_method_name=self._check
            )
        _fill_values(answer.result, found)
        answer_spec(answer.model_spec, spec, seen.version)
        return _serialized(answer)

    def _multi_inference(self, body: bytes, timeout: float | None) -> bytes:
        """The first task says which version answers all."""
        request = parse(RawMultiInferenceRequest, body)
        if not request.tasks:
            raise RequestError("ModelSpec has no name specified.")
        specs = [task.model_spec for task in request.tasks]
        tasks = [Task(task.model_spec.name, task.model_spec.signature_name, task.method_name) for task in request.tasks]
        answer = RawMultiInferenceResponse()
        with self._plane.servable(read_spec(specs[0])) as servable:
            version = servable.number
            examples = _examples(request.input)
            answers = inference.infer_all(servable, tasks, examples, timeout=timeout, check_method_name=self._check)
        self._plane.metrics.examples(specs[0].name, len(examples))
        for spec, found in zip(specs, answers, strict=True):
            result = answer.results.add()
            if isinstance(found, Classification):
                _fill_classes(result.classification_result, found)
            else:
                _fill_values(result.regression_result, found)
            answer_spec(result.model_spec, spec, version)
        return _serialized(answer)

    def _get_model_metadata(self, body: bytes, timeout: float | None) -> bytes:
        request = parse(GetModelMetadataRequest, body)
        spec = spec_of(request)
        if not request.metadata_field:
            raise RequestError("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise RequestError(f"Metadata field {field} is not supported")
        answer = GetModelMetadataResponse()
        with self._plane.servable(read_spec(spec)) as servable:
            answer.model_spec.name = spec.name
            answer.model_spec.version.value = servable.number
            answer.metadata["signature_def"].Pack(signature_def_map(servable.signatures))
        return _serialized(answer)

    def _see(self, seen: _Seen, spec: Any) -> Any:
        seen.model = spec.name
        seen.signature = spec.signature_name or DEFAULT_SIGNATURE
        return spec

    def _counting(self, api: str, answer: Callable[[_Seen, bytes, float | None], bytes]) -> Call:
        def counted(body: bytes, timeout: float | None) -> bytes:
            seen, code, start = _Seen(), Code.INTERNAL, perf_counter()
            try:
                answered = answer(seen, body, timeout)
                code = Code.OK
            except TfoptError as error:
                code, _ = told(error)
                raise
            finally:
                self._plane.metrics.request(
                    model=seen.model,
                    api=api,
                    entrypoint="GRPC",
                    code=code,
                    seconds=perf_counter() - start,
                    version=seen.version,
                    signature=seen.signature,
                )
            return answered

        return counted


def _read(name: str, message: Any) -> NDArray[Any]:
    try:
        return read_tensor(message, largest=LARGEST_EXPANDED)
    except ValueError as error:
        raise RequestError(f"tensor parsing error: {name}") from error


def _answered(array: NDArray[Any], info: TensorInfo) -> DType:
    """Quantized types travel in the integers that carry them."""
    return info.type.dtype if info.type.dtype.is_quantized else dtype_of(array)


def _examples(message: Any) -> Sequence[bytes]:
    """Serialized examples, each behind what the context says for all: so messages are merged on the wire."""
    kind = message.WhichOneof("kind")
    if kind == "example_list_with_context":
        context = message.example_list_with_context.context
        return [context + example for example in message.example_list_with_context.examples]
    return list(message.example_list.examples)


def _fill_classes(message: Any, found: Classification) -> None:
    message.SetInParent()
    scores = None if found.scores is None else found.scores.tolist()
    for row in range(len(found)):
        classes = message.classifications.add().classes
        labels = found.labels[row] if found.labels is not None else None
        numbers = scores[row] if scores is not None else None
        for column in range(len(labels if labels is not None else numbers or ())):
            one = classes.add()
            if labels is not None:
                one.label = labels[column]
            if numbers is not None:
                one.score = numbers[column]


def _fill_values(message: Any, found: NDArray[np.float32]) -> None:
    message.SetInParent()
    for value in found.tolist():
        message.regressions.add(value=value)


def _serialized(message: Any) -> bytes:
    body: bytes = message.SerializeToString()
    return body
