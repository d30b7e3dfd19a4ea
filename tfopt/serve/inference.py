"""What Predict, Classify, Regress and MultiInference mean, for both faces.

Names are held against the signature as TensorFlow Serving does, with its texts and codes; shapes and types are the
engine's to judge. Sources: servables/tensorflow/{predict_util,classifier,regressor,multi_inference}.cc of TensorFlow
Serving, cc/saved_model/util.cc of TensorFlow.

Every call raises RequestError, and ExecutionError with the engine's own words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import Code, RequestError
from tfopt.formats.serving.tensorflow_messages import data_type_name
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.types import DType, dtype_of
from tfopt.runtimes.base import SignatureInfo
from tfopt.serve.signatures import signature_def
from tfopt.serve.versions.servable import Servable

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

Sent = TypeVar("Sent")


@dataclass(frozen=True, eq=False)
class Classification:
    """A row for each example, a column for each class; a model gives labels, scores or both."""

    labels: list[list[bytes]] | None
    scores: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.labels if self.labels is not None else self.scores if self.scores is not None else ())


@dataclass(frozen=True)
class Task:
    """One part of a MultiInference."""

    model: str
    signature: str
    method: str


def predict(
    servable: Servable,
    signature: str,
    inputs: Mapping[str, Sent],
    *,
    outputs: Sequence[str] = (),
    timeout: float | None = None,
    read: Callable[[str, Sent], NDArray[Any]] = lambda name, sent: np.asarray(sent),
    check_method_name: bool = False,
) -> dict[str, NDArray[Any]]:
    """The outputs named, all without any. `read` makes an array of what was sent for an input, once the names are
    right. `timeout` in seconds."""
    info = servable.signatures.get(signature or DEFAULT_SIGNATURE)
    if info is None:
        what = f'Serving signature key "{signature or DEFAULT_SIGNATURE}" not found.'
        raise RequestError(what, code=Code.FAILED_PRECONDITION)
    if check_method_name and info.method_name not in (PREDICT, CLASSIFY, REGRESS):
        methods = f"{{{PREDICT}, {CLASSIFY}, {REGRESS}}}"
        what = f"Expected prediction signature method_name to be one of {methods}. Was: {info.method_name}"
        raise RequestError(what, code=Code.INTERNAL)
    _check_inputs(info, inputs.keys())
    arrays = {name: read(name, sent) for name, sent in inputs.items()}
    if outputs:
        _check_outputs(info, outputs)
    return servable.run(signature or DEFAULT_SIGNATURE, arrays, outputs=outputs or None, timeout=timeout)


def classify(
    servable: Servable,
    signature: str,
    examples: Sequence[bytes],
    *,
    timeout: float | None = None,
    check_method_name: bool = False,
) -> Classification:
    """Classes of serialized tensorflow.Examples."""
    info = _find_signature(servable, signature)
    wanted = _check_classifier(info, check_method_name)
    results = _run(servable, signature, examples, wanted, timeout, api="Classify")
    return _classification(results, len(examples))


def regress(
    servable: Servable,
    signature: str,
    examples: Sequence[bytes],
    *,
    timeout: float | None = None,
    check_method_name: bool = False,
) -> NDArray[np.float32]:
    """A number for each of the serialized tensorflow.Examples."""
    info = _find_signature(servable, signature)
    wanted = _check_regressor(info, check_method_name)
    return _regression(_run(servable, signature, examples, wanted, timeout, api="Regress"), len(examples))


def infer_all(
    servable: Servable,
    tasks: Sequence[Task],
    examples: Sequence[bytes],
    *,
    timeout: float | None = None,
    check_method_name: bool = False,
) -> list[Classification | NDArray[np.float32]]:
    """MultiInference: each task's answer, of the same examples."""
    plans = [
        (task, _plan(servable, task, tasks[:index], check_method_name=check_method_name))
        for index, task in enumerate(tasks)
    ]
    answers: list[Classification | NDArray[np.float32]] = []
    for task, wanted in plans:
        results = _run(servable, task.signature, examples, wanted, timeout, api="MultiInference")
        judge = _classification if task.method == CLASSIFY else _regression
        answers.append(judge(results, len(examples)))
    return answers


def _check_inputs(info: SignatureInfo, sent: Collection[str]) -> None:
    known = info.inputs.keys()
    if sent == known:
        return
    if len(sent) > len(known) or (len(sent) < len(known) and not info.defaults):
        counts = f"{len(sent)}!={len(known)} len({_set(sent)}) != len({_set(known)})"
        differ = f"Sent extra: {_set(sent - known)}. Missing but required: {_set(known - sent)}."
        raise RequestError(f"input size does not match signature: {counts}. {differ}")
    for name in sorted(sent - known):
        expected = f"Inputs expected to be in the set {_set(known)}."
        raise RequestError(f"input tensor alias not found in signature: {name}. {expected}")
    for name in sorted(known - sent - info.defaults.keys()):
        missing = f"Signature input alias: {name}(feed name: {info.inputs[name].name}) not found in request"
        given = f"Inputs expected to be in the request {_set(sent)}, or default input alias set: "
        raise RequestError(f"{missing} and no default value provided. {given}{','.join(sorted(info.defaults))}")


def _check_outputs(info: SignatureInfo, asked: Sequence[str]) -> None:
    seen = set()
    for name in asked:
        if name not in info.outputs:
            expected = f"Outputs expected to be in the set {_set(info.outputs)}."
            raise RequestError(f"output tensor alias not found in signature: {name} {expected}")
        if name in seen:
            raise RequestError(f"duplicate output tensor alias: {name}")
        seen.add(name)


def _set(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"


def _find_signature(servable: Servable, signature: str) -> SignatureInfo:
    info = servable.signatures.get(signature or DEFAULT_SIGNATURE)
    if info is None:
        raise RequestError(f"No signature was found with the name: {signature or DEFAULT_SIGNATURE}")
    return info


def _check_classifier(info: SignatureInfo, check_method_name: bool) -> tuple[str, ...]:
    """The outputs that a classification reads."""
    if check_method_name and info.method_name != CLASSIFY:
        expected = f"Expected classification signature method_name to be {CLASSIFY}"
        raise RequestError(f"{expected}. Was: {info.method_name}")
    if len(info.inputs) != 1:
        raise RequestError("Expected one input Tensor.")
    if len(info.outputs) not in (1, 2):
        raise RequestError(f"Expected one or two output Tensors, found {len(info.outputs)}")
    if "inputs" not in info.inputs:
        raise RequestError(f"No classification inputs found in SignatureDef: {signature_def(info)}")
    found = tuple(name for name in ("classes", "scores") if name in info.outputs)
    if not found:
        expected = 'Expected classification signature outputs to contain at least one of "classes" or "scores"'
        raise RequestError(f"{expected}. Signature was: {signature_def(info)}")
    return found


def _check_regressor(info: SignatureInfo, check_method_name: bool) -> tuple[str, ...]:
    if check_method_name and info.method_name != REGRESS:
        expected = f"Expected regression signature method_name to be {REGRESS}"
        raise RequestError(f"{expected}. Was: {info.method_name}")
    if len(info.inputs) != 1:
        raise RequestError("Expected one input Tensor.")
    if len(info.outputs) != 1:
        raise RequestError("Expected one output Tensor.")
    if "inputs" not in info.inputs:
        raise RequestError(f"No regression inputs found in SignatureDef: {signature_def(info)}")
    if "outputs" not in info.outputs:
        raise RequestError(f"No regression outputs found in SignatureDef: {signature_def(info)}")
    return ("outputs",)


def _plan(servable: Servable, task: Task, before: Sequence[Task], *, check_method_name: bool) -> tuple[str, ...]:
    """The outputs that one task of a MultiInference reads."""
    if not task.model:
        raise RequestError("Found ModelSpec with an empty model name.")
    if before and task.model != before[0].model:
        raise RequestError("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    signature = task.signature or DEFAULT_SIGNATURE
    if signature in (other.signature or DEFAULT_SIGNATURE for other in before):
        raise RequestError(f"Duplicate evaluation of signature: {signature}")
    info = servable.signatures.get(signature)
    if info is None:
        raise RequestError(f"Requested signature not found in model graph: {signature}")
    checks = {CLASSIFY: _check_classifier, REGRESS: _check_regressor}
    if task.method not in checks:
        raise RequestError(f"Unsupported signature method_name: {task.method}", code=Code.UNIMPLEMENTED)
    return checks[task.method](info, check_method_name)


def _run(
    servable: Servable,
    signature: str,
    examples: Sequence[bytes],
    outputs: tuple[str, ...],
    timeout: float | None,
    *,
    api: str,
) -> dict[str, NDArray[Any]]:
    if not examples:
        raise RequestError("Input is empty.")
    fed = np.empty(len(examples), object)
    fed[:] = examples
    return servable.run(signature or DEFAULT_SIGNATURE, {"inputs": fed}, outputs=outputs, timeout=timeout, api=api)


def _classification(results: Mapping[str, NDArray[Any]], count: int) -> Classification:
    classes, scores = results.get("classes"), results.get("scores")
    for name, array, wanted in (("classes", classes, DType.STRING), ("scores", scores, DType.FLOAT32)):
        if array is not None:
            _check_matrix(name, array, wanted, count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        sizes = f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        raise RequestError(f"Tensors class and score should match in dim_size(1). {sizes}")
    return Classification(None if classes is None else classes.tolist(), scores)


def _check_matrix(name: str, array: NDArray[Any], wanted: DType, count: int) -> None:
    if array.ndim != 2:
        raise RequestError(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if dtype_of(array) is not wanted:
        kinds = f"of {data_type_name(wanted)}. Got: {data_type_name(dtype_of(array))}"
        raise RequestError(f"Expected {name} Tensor {kinds}")
    if len(array) != count:
        raise RequestError(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def _regression(results: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.float32]:
    array = results["outputs"]
    if array.ndim != 1 and array.shape[1:] != (1,):
        expected = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1]"
        raise RequestError(f"{expected} but got {_shape(array)}")
    if len(array) != count:
        raise RequestError(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if dtype_of(array) is not DType.FLOAT32:
        raise RequestError(f"Expected output Tensor of DT_FLOAT.  Got: {data_type_name(dtype_of(array))}")
    return array.reshape(count)


def _shape(array: NDArray[Any]) -> str:
    return f"[{','.join(map(str, array.shape))}]"
