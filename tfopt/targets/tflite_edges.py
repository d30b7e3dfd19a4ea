"""Make the inputs and outputs of a .tflite file integers.

    input float32 -> QUANTIZE -> int8    ->    input int8
    int8 -> DEQUANTIZE -> output float32    ->    output int8

TensorFlow's converter can do that too, and then takes the float numbers from whoever else reads an output.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from tfopt.errors import ConversionError
from tfopt.targets.tflite_float_ops import OP_NAMES

_TYPES: Final = schema.TensorType
#: What the schema aligns weights to.
_ALIGNMENT: Final = 16
#: uint8 is int8 moved by so much.
_MOVED: Final = 128


def with_integer_edges(content: bytes, *, input_type: str, output_type: str) -> bytes:
    """The file with these dtypes, as `InferenceType` has them, in the place of float32. Raises ConversionError for an
    input or output that the file does not quantize, and so has no scale for."""
    if input_type == output_type == "float32":
        return content
    model = schema.ModelT.InitFromPackedBuf(content)
    for signature in model.signatureDefs:
        edges = _Edges(model, model.subgraphs[signature.subgraphIndex], signature)
        if input_type != "float32":
            edges.change_inputs(getattr(_TYPES, input_type.upper()))
        if output_type != "float32":
            edges.change_outputs(getattr(_TYPES, output_type.upper()))
    return _packed(model)


@dataclass(frozen=True)
class _Edges:
    """One signature; all of these are objects of the schema. Every signature has a subgraph of its own here."""

    model: Any
    graph: Any
    signature: Any

    def change_inputs(self, wanted: int) -> None:
        for entry in self.signature.inputs:
            if self.graph.tensors[entry.tensorIndex].type == _TYPES.FLOAT32:
                self._change_input(entry, wanted)

    def change_outputs(self, wanted: int) -> None:
        for entry in self.signature.outputs:
            if self.graph.tensors[entry.tensorIndex].type == _TYPES.FLOAT32:
                self._change_output(entry, wanted)

    def _change_input(self, entry: Any, wanted: int) -> None:
        tensors, at = self.graph.tensors, entry.tensorIndex
        readers = [op for op in self.graph.operators if at in op.inputs]
        strange = next((self._name(op) for op in readers if self._name(op) != "QUANTIZE"), None)
        levels = [tensors[op.outputs[0]] for op in readers]
        if strange or not levels or len({_meaning(tensor) for tensor in levels}) > 1 or at in self.graph.outputs:
            raise _unfit("input", entry, f"it is read by {strange} in floating point" if strange else "no op rounds it")
        _check(levels[0], wanted, "input", entry)
        tensors[at].type = wanted
        tensors[at].quantization = _quantization(levels[0], wanted)
        if levels[0].type == wanted:
            for op in readers:
                self._replace(op.outputs[0], at)
                self._remove(op)

    def _change_output(self, entry: Any, wanted: int) -> None:
        graph, at = self.graph, entry.tensorIndex
        makes = next((op for op in graph.operators if at in op.outputs), None)
        if makes is None or self._name(makes) != "DEQUANTIZE":
            how = "it is constant or an input" if makes is None else f"{self._name(makes)} makes it in floating point"
            raise _unfit("output", entry, how)
        source = graph.tensors[makes.inputs[0]]
        _check(source, wanted, "output", entry)
        levels = makes.inputs[0] if source.type == wanted else self._moved(makes.inputs[0], wanted)
        graph.outputs = [levels if index == at else index for index in graph.outputs]
        for other in self.signature.outputs:
            other.tensorIndex = levels if other.tensorIndex == at else other.tensorIndex
        if not any(at in op.inputs for op in graph.operators):
            self._remove(makes)

    def _moved(self, at: int, wanted: int) -> int:
        """The tensor in uint8."""
        graph, source = self.graph, self.graph.tensors[at]
        made = schema.TensorT(
            shape=source.shape,
            type=wanted,
            name=source.name + b"/moved",
            quantization=_quantization(source, wanted),
            hasRank=source.hasRank,
            shapeSignature=source.shapeSignature,
        )
        graph.tensors.append(made)
        code = self._code("QUANTIZE")
        op = schema.OperatorT(opcodeIndex=code, inputs=[at], outputs=[len(graph.tensors) - 1])
        graph.operators.append(op)
        return len(graph.tensors) - 1

    def _code(self, name: str) -> int:
        """The place of an op in the file's list, which it is added to if need be."""
        codes = self.model.operatorCodes
        for place, code in enumerate(codes):
            if _code_name(code) == name:
                return place
        number = getattr(schema.BuiltinOperator, name)
        codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number, version=1))
        return len(codes) - 1

    def _replace(self, old: int, new: int) -> None:
        """Let whoever reads `old` read `new`."""
        for op in self.graph.operators:
            op.inputs = [new if index == old else index for index in op.inputs]
        self.graph.outputs = [new if index == old else index for index in self.graph.outputs]
        for entry in self.signature.outputs:
            entry.tensorIndex = new if entry.tensorIndex == old else entry.tensorIndex

    def _remove(self, op: Any) -> None:
        self.graph.operators = [other for other in self.graph.operators if other is not op]

    def _name(self, op: Any) -> str:
        return _code_name(self.model.operatorCodes[op.opcodeIndex])


def _code_name(code: Any) -> str:
    # Numbers up to 127 stand in the old field of one byte.
    return code.customCode.decode() if code.customCode else OP_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _meaning(tensor: Any) -> tuple[int, float, int]:
    quantization = tensor.quantization
    return tensor.type, float(quantization.scale[0]), int(quantization.zeroPoint[0])


def _check(levels: Any, wanted: int, side: str, entry: Any) -> None:
    if levels.type != wanted and (levels.type, wanted) != (_TYPES.INT8, _TYPES.UINT8):
        raise _unfit(side, entry, "the file quantizes it to another dtype")


def _unfit(side: str, entry: Any, why: str) -> ConversionError:
    what = f"the {side} {entry.name.decode()} cannot be integers: {why}"
    return ConversionError(what, hint=f"leave inference_{side}_type out, and it stays float32")


def _quantization(source: Any, wanted: int) -> Any:
    kind, scale, zero_point = _meaning(source)
    moved = zero_point if kind == wanted else zero_point + _MOVED
    return schema.QuantizationParametersT(scale=[scale], zeroPoint=[moved])


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the schema's module has no types
    """Weights where runtimes need them, which flatbuffers' own writer does not see to."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's own name
        if self.data is None:
            return super().Pack(builder)
        payload = bytes(self.data)
        builder.StartVector(1, len(payload), _ALIGNMENT)
        builder.head -= len(payload)
        builder.Bytes[builder.head : builder.head + len(payload)] = payload
        builder.vectorNumElems = len(payload)
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def _packed(model: Any) -> bytes:
    model.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = flatbuffers.Builder(size + (1 << 16))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
