"""Write a dense layer as a 1x1 convolution, where TFLite takes a scale for each channel as it is told."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfopt.ir import DType, Graph, Shape, TensorType, Value
from tfopt.ir.fused import Fused
from tfopt.ir.graph import AttrValue, Node
from tfopt.ir.rewrite import Editor

DENSE = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2"})


def fits_convolution(graph: Graph, fused: Fused) -> bool:
    """Rows, or rows of several examples, whose channels come last."""
    node = fused.layer.node
    turned = node.attrs.get("transpose_a") or node.attrs.get("adj_x")
    return not turned and graph.type_of(fused.layer.data_value).shape.rank in (2, 3)


def write_convolution(editor: Editor, fused: Fused, kernel: Value, result: Value) -> None:
    """Put the convolution with `kernel` [1, 1, in, out], the bias and, where it comes next, the activation in the place
    of the node that makes `result`, the layer's last before a residual sum."""
    layer = fused.layer
    shape = editor.graph.type_of(layer.data_value).shape
    # [n, in] as [n, 1, 1, in], and [n, rows, in] as [n, 1, rows, in].
    size, rows = (shape.dims or ())[0], (1, *(shape.dims or ()))[-2] if shape.rank == 3 else 1
    made = TensorType(DType.FLOAT32, Shape.of(size, 1, rows, layer.channels))
    attrs: Mapping[str, AttrValue] = {"T": DType.FLOAT32, "strides": (1, 1, 1, 1), "padding": b"VALID"}
    image = _image(editor, layer.data_value, Shape.of(size, 1, rows, layer.in_channels))
    name = layer.node.name
    value = editor.add("Conv2D", f"{name}/convolution", [image, kernel], [made], attrs).value()
    if fused.bias is not None:
        bias = editor.constant(f"{name}/bias", fused.bias.astype(np.float32))
        value = editor.add("BiasAdd", f"{name}/biased", [value, bias], [made], {"T": DType.FLOAT32}).value()
    if fused.activation is not None and result == fused.output:
        value = editor.add(fused.activation, f"{name}/active", [value], [made], {"T": DType.FLOAT32}).value()
    squeezed: AttrValue = (1, 2) if shape.rank == 2 else (1,)
    attrs = {"T": DType.FLOAT32, "squeeze_dims": squeezed}
    editor.update(Node(result.node, "Squeeze", (value,), attrs, (editor.graph.type_of(result),)))


def _image(editor: Editor, data: Value, shape: Shape) -> Value:
    made = [TensorType(DType.FLOAT32, shape)]
    name = f"{data.node}/image"
    if editor.graph.type_of(data).shape.rank == 2:
        sizes = editor.constant(f"{name}/shape", np.array([-1, *(shape.dims or ())[1:]], np.int32))
        attrs: Mapping[str, AttrValue] = {"T": DType.FLOAT32, "Tshape": DType.INT32}
        return editor.add("Reshape", name, [data, sizes], made, attrs).value()
    axis = editor.constant(f"{name}/axis", np.array(1, np.int32))
    attrs = {"T": DType.FLOAT32, "Tdim": DType.INT32}
    return editor.add("ExpandDims", name, [data, axis], made, attrs).value()
