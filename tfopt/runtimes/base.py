"""What every runtime has in common: what a loaded artifact says of its signatures, and how it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import Code, ExecutionError, NotFound
from tfopt.ir import DType, Model, Shape, Tensor, TensorType
from tfopt.ir.grid import Grid
from tfopt.ir.tensor_json import tensor_as_dict, tensor_from_dict

if TYPE_CHECKING:
    from typing_extensions import Self

#: What a signature is for unless it says otherwise.
PREDICT: Final = "tensorflow/serving/predict"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output. `name` is the tensor's own, `image:0` in TensorFlow's way; nobody feeds by it. `grid` is
    there where integers stand for real numbers, at the edges of a .tflite file."""

    name: str
    type: TensorType
    grid: Grid | None = None

    def as_dict(self) -> dict[str, Any]:
        dims = self.type.shape.dims
        told = {"name": self.name, "dtype": self.type.dtype.value, "shape": None if dims is None else list(dims)}
        return told if self.grid is None else {**told, "scale": self.grid.scale, "zero_point": self.grid.zero_point}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TensorInfo:
        shape = Shape(None if data["shape"] is None else tuple(data["shape"]))
        dtype = DType(data["dtype"])
        grid = edge_grid(dtype, data["scale"], data["zero_point"]) if "scale" in data else None
        return cls(data["name"], TensorType(dtype, shape), grid)


def edge_grid(dtype: DType, scale: float, zero_point: int) -> Grid:
    """What all numbers of an integer dtype stand for."""
    limits = np.iinfo(dtype.value)
    return Grid((float(scale),), int(zero_point), bits=limits.bits, signed=limits.min < 0)


@dataclass(frozen=True, slots=True)
class SignatureInfo:
    """What a caller may ask of an artifact. `defaults` are the values of inputs that may be left out."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str = PREDICT
    defaults: Mapping[str, Tensor] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON carries it, for the manifest; a shape of unknown rank is null, an unknown dimension too."""
        return {
            "inputs": {name: info.as_dict() for name, info in self.inputs.items()},
            "outputs": {name: info.as_dict() for name, info in self.outputs.items()},
            "method_name": self.method_name,
            "defaults": {name: tensor_as_dict(tensor) for name, tensor in self.defaults.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SignatureInfo:
        """The signature that `as_dict` wrote. Raises KeyError and ValueError on what it did not write."""
        return cls(
            {name: TensorInfo.from_dict(info) for name, info in data["inputs"].items()},
            {name: TensorInfo.from_dict(info) for name, info in data["outputs"].items()},
            data["method_name"],
            {name: tensor_from_dict(tensor) for name, tensor in data["defaults"].items()},
        )


class Runtime(Protocol):
    """One loaded artifact, a context manager. `run` may be called by several threads at once.

    `kind` is "saved_model", "tflite" or "onnx".
    """

    @property
    def kind(self) -> str: ...

    @property
    def signatures(self) -> Mapping[str, SignatureInfo]: ...

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Outputs by name, in arrays of their own, all or those in `outputs`. Inputs with a default may be left out.
        `timeout` is in seconds: TensorFlow ends a run that takes longer, the others do not begin one when no
        interpreter was free for so long.

        Raises NotFound for an unknown signature, ExecutionError with the engine's own words for the rest.
        """

    def close(self) -> None:
        """Free the artifact; `run` after it raises ExecutionError."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Closing(ABC):
    """A context manager that closes itself."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def signatures_of(model: Model) -> dict[str, SignatureInfo]:
    """What a model in memory offers, in a runtime's words."""
    return {
        key: SignatureInfo(
            {name: TensorInfo(f"{entry.node}:0", entry.type) for name, entry in signature.inputs.items()},
            {
                name: TensorInfo("{0.node}:{0.port}".format(model.graph.outputs[out.position]), out.type)
                for name, out in signature.outputs.items()
            },
            signature.method_name,
            dict(signature.defaults),
        )
        for key, signature in model.signatures.items()
    }


def find_signature(signatures: Mapping[str, SignatureInfo], key: str) -> SignatureInfo:
    """Raises NotFound that lists the known ones."""
    found = signatures.get(key)
    if found is None:
        known = ", ".join(sorted(signatures)) or "none"
        raise NotFound(f'no signature is called "{key}"', hint=f"the model has: {known}")
    return found


def arguments(info: SignatureInfo, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inputs in the signature's order, defaults filled in. Raises ExecutionError on a missing or unknown name."""
    unknown = sorted(inputs.keys() - info.inputs.keys())
    missing = [name for name in info.inputs if name not in inputs and name not in info.defaults]
    if unknown or missing:
        said = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(missing)
        raise ExecutionError(
            f"the inputs do not match the signature ({'; '.join(said)})", hint=f"it takes: {', '.join(info.inputs)}"
        )
    return {name: inputs[name] if name in inputs else info.defaults[name].array for name in info.inputs}


def check_shapes(info: SignatureInfo, values: Mapping[str, NDArray[Any]]) -> None:
    """Raise ExecutionError for inputs whose shape is not the signature's: what came, and what the model takes."""
    wrong = (_misfit(name, value, info) for name, value in values.items() if not _admits(info, name, value))
    if said := "; ".join(wrong):
        raise ExecutionError(said)


def explained(info: SignatureInfo, values: Mapping[str, NDArray[Any]], error: str) -> str:
    """Why a run has failed: inputs that are not what the signature says are the reason, whatever the engine's words
    in `error` are; those are kept where all inputs fit."""
    wrong = (_misfit(name, value, info) for name, value in values.items() if not _fits(info, name, value))
    return "; ".join(wrong) or " ".join(error.split())


def failure(
    signature: str,
    info: SignatureInfo,
    values: Mapping[str, NDArray[Any]],
    error: str,
    status: Code = Code.INVALID_ARGUMENT,
) -> ExecutionError:
    """A run that has failed with the engine's words in `error`."""
    reason = explained(info, values, error)
    said = error if reason == " ".join(error.split()) else f"{error}; {reason}"
    return ExecutionError(reason, where=f"signature {signature}", said=said, status=status)


def timed_out(timeout: float | None) -> ExecutionError:
    """No interpreter or session was free in time."""
    return ExecutionError(f"no turn to run within {timeout or 0:.3g} s", status=Code.DEADLINE_EXCEEDED)


def _fits(info: SignatureInfo, name: str, value: NDArray[Any]) -> bool:
    # A quantized type is carried by the integer of its size.
    expected = info.inputs[name].type.dtype.value.removeprefix("q")
    return _admits(info, name, value) and _dtype(value) == expected


def _admits(info: SignatureInfo, name: str, value: NDArray[Any]) -> bool:
    return info.inputs[name].type.shape.admits(value.shape)


def _misfit(name: str, value: NDArray[Any], info: SignatureInfo) -> str:
    came = f"{_dtype(value)}{Shape(value.shape)}"
    return f"the input {name} is {came}, the model takes {info.inputs[name].type}"


def _dtype(value: NDArray[Any]) -> str:
    return "string" if value.dtype.kind in "OSU" else value.dtype.name
