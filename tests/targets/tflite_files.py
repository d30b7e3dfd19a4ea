"""What a .tflite file holds: operators, tensors and their quantization, by signature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfopt.targets.base import Artifact


@dataclass(frozen=True)
class Op:
    """One operator of a file, with the tensors that it reads and makes."""

    name: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


class File:
    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._file = schema.Model.GetRootAs(artifact.path.read_bytes())
        names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
        codes = map(self._file.OperatorCodes, range(self._file.OperatorCodesLength()))
        self._codes = [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]

    def ops(self, signature: str) -> Iterator[Op]:
        definitions = map(self._file.SignatureDefs, range(self._file.SignatureDefsLength()))
        by_key = {found.SignatureKey().decode(): found.SubgraphIndex() for found in definitions}
        graph = self._file.Subgraphs(by_key[signature])
        for op in map(graph.Operators, range(graph.OperatorsLength())):
            inputs = tuple(graph.Tensors(op.Inputs(n)) for n in range(op.InputsLength()) if op.Inputs(n) >= 0)
            outputs = tuple(graph.Tensors(op.Outputs(n)) for n in range(op.OutputsLength()))
            yield Op(self._codes[op.OpcodeIndex()], inputs, outputs)

    def weights(self, signature: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Scales and levels of what the linear layers read as second input; the levels are rows of channels."""
        found = []
        for op in self.ops(signature):
            if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
                tensor = op.inputs[1]
                if tensor.Type() == schema.TensorType.INT8:
                    assert not tensor.Quantization().ZeroPointAsNumpy().any()
                    shape = [tensor.Shape(axis) for axis in range(tensor.ShapeLength())]
                    levels = self._file.Buffers(tensor.Buffer()).DataAsNumpy().view(np.int8).reshape(shape)
                    by_channel = np.moveaxis(levels, tensor.Quantization().QuantizedDimension(), 0)
                    found.append((tensor.Quantization().ScaleAsNumpy(), by_channel.reshape(len(by_channel), -1)))
        return found

    def activations(self, signature: str) -> set[tuple[float, int]]:
        """Scale and zero point of all that ops make in 8 bits."""
        made = (tensor for op in self.ops(signature) for tensor in op.outputs)
        return {
            (float(tensor.Quantization().Scale(0)), int(tensor.Quantization().ZeroPoint(0)))
            for tensor in made
            if tensor.Type() == schema.TensorType.INT8
        }

    def copies(self, payload: bytes) -> int:
        buffers = map(self._file.Buffers, range(self._file.BuffersLength()))
        return sum(found.DataLength() > 0 and found.DataAsNumpy().tobytes() == payload for found in buffers)
