"""Integers at the edges of an artifact, and the real numbers that they stand for.

Only .tflite files have such edges: a TensorInfo with a grid. Whoever holds real numbers rounds them himself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import ExecutionError
from tfopt.ir import DType, TensorType
from tfopt.runtimes.base import Closing, Runtime, SignatureInfo, TensorInfo, find_signature

Arrays: TypeAlias = "Mapping[str, NDArray[Any]]"
_Infos: TypeAlias = Mapping[str, TensorInfo]
_NOTHING: Final = SignatureInfo({}, {})


def has_integer_edges(info: SignatureInfo) -> bool:
    return any(each.grid is not None for each in (*info.inputs.values(), *info.outputs.values()))


def described(info: SignatureInfo) -> dict[str, Any]:
    """{"inputs": {name: {"dtype", "scale", "zero_point"}}, "outputs": ...} of the integer edges, as JSON carries it."""
    return {
        side: {
            name: {"dtype": end.type.dtype.value, "scale": end.grid.scale, "zero_point": end.grid.zero_point}
            for name, end in ends.items()
            if end.grid is not None
        }
        for side, ends in (("inputs", info.inputs), ("outputs", info.outputs))
    }


def in_reals(info: SignatureInfo) -> SignatureInfo:
    """The signature with float32 for every integer that stands for a real number."""
    return replace(info, inputs=_in_reals(info.inputs, info.inputs), outputs=_in_reals(info.outputs, info.outputs))


def on_edges(info: SignatureInfo, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """The inputs with every array of real numbers for an integer edge on its grid: what lies beyond becomes the grid's
    end. Integers are taken for levels and stay. Raises ExecutionError for a NaN, which no level stands for."""
    return {name: _levels(name, array, info.inputs.get(name)) for name, array in inputs.items()}


def ready(runtime: Runtime, signature: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """The inputs as a runtime takes them, which is its caller's work. Raises NotFound, and as `on_edges`."""
    return on_edges(find_signature(runtime.signatures, signature), inputs)


def off_edges(info: SignatureInfo, outputs: Arrays) -> dict[str, NDArray[Any]]:
    """The outputs with the real numbers, as float32, that levels stand for."""
    grids = {name: info.outputs[name].grid for name in outputs}
    return {name: array if (grid := grids[name]) is None else grid.reals(array) for name, array in outputs.items()}


def under(contract: Mapping[str, SignatureInfo], runtime: Runtime) -> Runtime:
    """The runtime, or, where it has integers for real numbers of the contract, one that takes and gives these."""
    edges = _edges(contract, runtime.signatures)
    return _UnderContract(runtime, contract, edges) if any(map(has_integer_edges, edges.values())) else runtime


def signatures_under(
    contract: Mapping[str, SignatureInfo], signatures: Mapping[str, SignatureInfo]
) -> dict[str, SignatureInfo]:
    """What a runtime with these signatures offers under the contract."""
    return _changed(contract, signatures, _in_reals)


class _UnderContract(Closing):
    """`edges` are the signatures of the runtime, with the grids of what is to be real numbers."""

    def __init__(
        self, runtime: Runtime, contract: Mapping[str, SignatureInfo], edges: Mapping[str, SignatureInfo]
    ) -> None:
        self.kind = runtime.kind
        self.signatures: Mapping[str, SignatureInfo] = signatures_under(contract, runtime.signatures)
        self._runtime = runtime
        self._edges = edges

    def run(
        self,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        info = find_signature(self._edges, signature)
        made = self._runtime.run(signature, on_edges(info, inputs), outputs=outputs, timeout=timeout)
        return off_edges(info, made)

    def close(self) -> None:
        self._runtime.close()


def _edges(contract: Mapping[str, SignatureInfo], signatures: Mapping[str, SignatureInfo]) -> dict[str, SignatureInfo]:
    """The signatures with the grids of what is floating point in the contract, and no others."""
    return _changed(contract, signatures, _grids)


def _changed(
    contract: Mapping[str, SignatureInfo],
    signatures: Mapping[str, SignatureInfo],
    change: Callable[[_Infos, _Infos], _Infos],
) -> dict[str, SignatureInfo]:
    """Each signature with its inputs and outputs changed, given those that are floating point in the contract."""
    found = {}
    for key, info in signatures.items():
        promised = contract.get(key, _NOTHING)
        inputs, outputs = change(info.inputs, _real(promised.inputs)), change(info.outputs, _real(promised.outputs))
        found[key] = replace(info, inputs=inputs, outputs=outputs)
    return found


def _real(infos: _Infos) -> _Infos:
    return {name: info for name, info in infos.items() if info.type.dtype.is_floating}


def _in_reals(infos: _Infos, names: _Infos) -> dict[str, TensorInfo]:
    return {name: _in_real(info) if name in names else info for name, info in infos.items()}


def _in_real(info: TensorInfo) -> TensorInfo:
    return info if info.grid is None else TensorInfo(info.name, TensorType(DType.FLOAT32, info.type.shape))


def _grids(infos: _Infos, names: _Infos) -> dict[str, TensorInfo]:
    return {name: info if name in names else replace(info, grid=None) for name, info in infos.items()}


def _levels(name: str, array: NDArray[Any], info: TensorInfo | None) -> NDArray[Any]:
    given = np.asarray(array)
    if info is None or info.grid is None or given.dtype.kind != "f":
        return given
    if np.isnan(given).any():
        raise ExecutionError(f"the input {name} holds NaN, which {info.type.dtype} has no number for")
    return info.grid.levels(given).astype(info.type.dtype.value)
