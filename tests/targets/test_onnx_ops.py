"""Every rule of the ONNX lowering, held against TensorFlow's kernels, with the oldest and the newest opset."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.running import run_graph
from tests.targets import ir_models
from tfopt.formats.graph_def import from_graph_def
from tfopt.ir import Model, Value
from tfopt.passes.onnx import NEWEST, OLDEST
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.targets.onnx import write_onnx
from tfopt.targets.onnx_lowering import RULES

raw = tf.raw_ops
RNG = np.random.default_rng(5)
IMAGE = RNG.standard_normal((2, 8, 6, 4)).astype(np.float32)
ROWS = RNG.standard_normal((3, 5)).astype(np.float32)
POSITIVE = np.abs(ROWS) + 0.5
INSIDE = np.tanh(ROWS)
ODD = np.array([[np.nan, np.inf, -np.inf, 0.0, -2.5]], np.float32)
WHOLE = np.array([[7, -7, 3], [-3, 6, 5]], np.int32)
PARTS = np.array([[2, 2, -2], [2, -4, 5]], np.int32)
FLAGS = np.array([[True, False, True], [False, False, True]])
CUBE = RNG.standard_normal((2, 3, 4)).astype(np.float32)


def weights(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(7).standard_normal(shape).astype(np.float32))


def of(op: str) -> Callable[..., tf.Tensor]:
    """The op with its inputs in their order."""
    definition = getattr(raw, op)
    names = inspect.signature(definition).parameters
    return lambda *inputs: definition(**dict(zip(names, inputs, strict=False)))


def conv(x: tf.Tensor, **attrs: object) -> tf.Tensor:
    defaults = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    return raw.Conv2D(input=x, filter=weights(3, 3, 4, 6), **{**defaults, **attrs})


def batch_norm(op: Callable[..., tuple[tf.Tensor, ...]], x: tf.Tensor) -> tf.Tensor:
    scale, offset, mean, variance = (tf.constant(POSITIVE[row % 3, :4]) for row in range(4))
    return op(x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=0.01, is_training=False)[0]


def resized(op: str, **how: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: getattr(raw, op)(images=x, size=[13, 5], **how)


def reduced(op: str) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: getattr(raw, op)(input=x, axis=[0, -1], keep_dims=True)


UNARY = (
    "Abs Atan Ceil Cos Cosh Elu Erf Erfc Exp Expm1 Floor Identity Neg Relu Relu6 Rint Round Selu Sigmoid Sign Sin Sinh "
    "Softplus Softsign Square Tan Tanh Asinh Snapshot StopGradient PreventGradient ZerosLike OnesLike LeakyRelu"
)
BINARY = (
    "Add AddV2 Sub Mul RealDiv Div DivNoNan Maximum Minimum SquaredDifference FloorDiv FloorMod Greater "
    "GreaterEqual Less LessEqual Equal NotEqual"
)
CASES: dict[str, tuple[Callable[..., object], tuple[np.ndarray, ...]]] = {
    **{op: (of(op), (ROWS,)) for op in UNARY.split()},
    **{op: (of(op), (POSITIVE,)) for op in ("Log", "Log1p", "Rsqrt", "Sqrt", "Inv", "Reciprocal")},
    **{op: (of(op), (INSIDE,)) for op in ("Acos", "Asin", "Atanh")},
    **{op: (of(op), (ODD,)) for op in ("IsNan", "IsInf", "IsFinite")},
    "Acosh": (lambda x: raw.Acosh(x=x), (POSITIVE + 1,)),
    "LogicalNot": (lambda x: raw.LogicalNot(x=x), (FLAGS,)),
    "CheckNumerics": (lambda x: raw.CheckNumerics(tensor=x, message="m"), (ROWS,)),
    "EnsureShape": (lambda x: raw.EnsureShape(input=x, shape=[None, 5]), (ROWS,)),
    "IdentityN": (lambda x, y: raw.IdentityN(input=[x, y]), (ROWS, WHOLE)),
    **{op: (of(op), (ROWS, POSITIVE[:1])) for op in BINARY.split()},
    "DivNoNan of zero": (lambda x: raw.DivNoNan(x=x, y=tf.zeros_like(x)), (ROWS,)),
    "Pow": (lambda x: raw.Pow(x=x, y=tf.constant(1.7)), (POSITIVE,)),
    **{
        f"{op} of integers": (of(op), (WHOLE, PARTS))
        for op in ("FloorDiv", "FloorMod", "TruncateDiv", "TruncateMod", "Div", "Add", "Mul", "Less", "Equal")
    },
    "Mod": (lambda x, y: raw.Mod(x=x, y=y), (WHOLE, PARTS)),
    "LogicalAnd": (lambda x, y: raw.LogicalAnd(x=x, y=y), (FLAGS, ~FLAGS[:1])),
    "LogicalOr": (lambda x, y: raw.LogicalOr(x=x, y=y), (FLAGS, FLAGS[:1])),
    "AddN": (lambda x, y: raw.AddN(inputs=[x, y, x]), (ROWS, POSITIVE)),
    "ClipByValue": (lambda x: raw.ClipByValue(t=x, clip_value_min=-0.5, clip_value_max=0.7), (ROWS,)),
    "BiasAdd": (lambda x: raw.BiasAdd(value=x, bias=weights(4)), (IMAGE,)),
    "BiasAddV1": (lambda x: raw.BiasAddV1(value=x, bias=weights(5)), (ROWS,)),
    "BiasAdd behind a convolution": (lambda x: raw.BiasAdd(value=conv(x), bias=weights(6)), (IMAGE,)),
    "Cast to integers": (lambda x: raw.Cast(x=x * 9, DstT=tf.int64), (ROWS,)),
    "Cast": (lambda x: raw.Cast(x=raw.Cast(x=x, DstT=tf.int64), DstT=tf.bool), (WHOLE,)),
    "Select": (lambda c, x: raw.Select(condition=c, x=x, y=-x), (FLAGS, WHOLE)),
    "Select of rows": (lambda c, x: raw.Select(condition=c[0], x=x, y=-x), (FLAGS, ROWS)),
    "SelectV2": (lambda c, x: raw.SelectV2(condition=c, t=x, e=tf.constant(4)), (FLAGS, WHOLE[:1])),
    "Softmax": (lambda x: raw.Softmax(logits=x), (ROWS,)),
    "Softmax behind a convolution": (lambda x: raw.Softmax(logits=conv(x)), (IMAGE,)),
    "LogSoftmax": (lambda x: raw.LogSoftmax(logits=x), (ROWS,)),
    "Conv2D": (conv, (IMAGE,)),
    "Conv2D, valid": (lambda x: conv(x, padding="VALID", dilations=[1, 2, 2, 1]), (IMAGE,)),
    "Conv2D, strided": (lambda x: conv(x, strides=[1, 2, 2, 1]), (IMAGE,)),
    "Conv2D, padded": (
        lambda x: conv(x, padding="EXPLICIT", explicit_paddings=[0, 0, 1, 2, 0, 1, 0, 0]),
        (IMAGE,),
    ),
    "Conv2D of groups": (
        lambda x: raw.Conv2D(input=x, filter=weights(3, 3, 2, 6), strides=[1] * 4, padding="SAME"),
        (IMAGE,),
    ),
    "Conv2D of a computed filter": (
        lambda x: raw.Conv2D(input=x, filter=x[0, :3, :3, :, None], strides=[1] * 4, padding="VALID"),
        (IMAGE,),
    ),
    "Conv3D": (
        lambda x: raw.Conv3D(input=x[:, :, :, :, None], filter=weights(2, 2, 2, 1, 3), strides=[1] * 5, padding="SAME"),
        (IMAGE,),
    ),
    "DepthwiseConv2dNative": (
        lambda x: raw.DepthwiseConv2dNative(input=x, filter=weights(3, 3, 4, 2), strides=[1, 2, 2, 1], padding="SAME"),
        (IMAGE,),
    ),
    "Conv2DBackpropInput": (
        lambda x: raw.Conv2DBackpropInput(
            input_sizes=[2, 16, 12, 3], filter=weights(3, 3, 3, 4), out_backprop=x, strides=[1, 2, 2, 1], padding="SAME"
        ),
        (IMAGE,),
    ),
    "Conv2DBackpropInput, valid": (
        lambda x: raw.Conv2DBackpropInput(
            input_sizes=[2, 18, 13, 3],
            filter=weights(3, 3, 3, 4),
            out_backprop=x,
            strides=[1, 2, 2, 1],
            padding="VALID",
        ),
        (IMAGE,),
    ),
    "MaxPool": (lambda x: raw.MaxPool(input=x, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME"), (IMAGE,)),
    "MaxPool3D": (
        lambda x: raw.MaxPool3D(input=x[..., None], ksize=[1, 2, 2, 2, 1], strides=[1, 2, 2, 2, 1], padding="SAME"),
        (IMAGE,),
    ),
    "AvgPool": (lambda x: raw.AvgPool(value=x, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME"), (IMAGE,)),
    "AvgPool3D": (
        lambda x: raw.AvgPool3D(input=x[..., None], ksize=[1, 2, 2, 2, 1], strides=[1, 1, 1, 1, 1], padding="SAME"),
        (IMAGE,),
    ),
    "FusedBatchNorm": (lambda x: batch_norm(raw.FusedBatchNorm, x), (IMAGE,)),
    "FusedBatchNormV2": (lambda x: batch_norm(lambda **a: raw.FusedBatchNormV2(**a), x), (IMAGE,)),
    "FusedBatchNormV3": (lambda x: batch_norm(raw.FusedBatchNormV3, x), (IMAGE,)),
    "MatMul": (lambda x: raw.MatMul(a=x, b=weights(7, 3), transpose_a=True, transpose_b=True), (ROWS,)),
    "BatchMatMul": (lambda x: raw.BatchMatMul(x=x, y=weights(2, 3, 4), adj_x=True), (CUBE,)),
    "BatchMatMulV2": (lambda x: raw.BatchMatMulV2(x=x, y=weights(3, 4), adj_x=True), (CUBE,)),
    "BatchMatMulV3": (lambda x: raw.BatchMatMulV3(x=x, y=weights(2, 5, 4), Tout=tf.float32, adj_y=True), (CUBE,)),
    "Einsum": (lambda x: tf.einsum("...Sd,dhk->...Shk", x, weights(4, 2, 3)), (CUBE,)),
    "Reshape": (lambda x: raw.Reshape(tensor=x, shape=[2, -1]), (CUBE,)),
    "Reshape behind a convolution": (lambda x: raw.Reshape(tensor=conv(x), shape=[2, -1]), (IMAGE,)),
    "Reshape to a computed shape": (
        lambda x: raw.Reshape(tensor=x, shape=tf.stack([tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2]])),
        (CUBE,),
    ),
    "Transpose": (lambda x: raw.Transpose(x=x, perm=[2, 0, 1]) * 2.0, (CUBE,)),
    "Transpose behind a convolution": (lambda x: raw.Transpose(x=conv(x), perm=[3, 0, 2, 1]), (IMAGE,)),
    "Squeeze": (lambda x: raw.Squeeze(input=x[:, :1], axis=[1]), (CUBE,)),
    "Squeeze behind a convolution": (lambda x: raw.Squeeze(input=conv(x[:, :1]), axis=[1]) + 1.0, (IMAGE,)),
    "ExpandDims": (lambda x: raw.ExpandDims(input=x, axis=-2), (CUBE,)),
    "ExpandDims behind a convolution": (
        lambda x: raw.ExpandDims(input=raw.Squeeze(input=conv(x[:, :1]), axis=[1]), axis=1) * weights(6),
        (IMAGE,),
    ),
    "Concat": (lambda x: raw.Concat(concat_dim=1, values=[x, x]), (CUBE,)),
    "ConcatV2": (lambda x: raw.ConcatV2(values=[x, x * 2, weights(2, 3, 1)], axis=-1), (CUBE,)),
    "ConcatV2 behind convolutions": (lambda x: raw.ConcatV2(values=[conv(x), conv(x) * 2], axis=3), (IMAGE,)),
    "ConcatV2 of mixed orders": (lambda x: raw.ConcatV2(values=[x, conv(x)], axis=3), (IMAGE,)),
    "Pack": (lambda x: raw.Pack(values=[x, -x], axis=1), (CUBE,)),
    "Unpack": (lambda x: raw.Unpack(value=x, num=3, axis=1), (CUBE,)),
    "Unpack of one": (lambda x: raw.Unpack(value=x[:, :1], num=1, axis=1), (CUBE,)),
    "Split": (lambda x: raw.Split(axis=-1, value=x, num_split=2), (CUBE,)),
    "Split behind a convolution": (lambda x: raw.Split(axis=3, value=conv(x), num_split=2), (IMAGE,)),
    "SplitV": (lambda x: raw.SplitV(value=x, size_splits=[1, -1], axis=2, num_split=2), (CUBE,)),
    "Pad": (lambda x: raw.Pad(input=x, paddings=[[0, 0], [1, 2], [3, 0]]), (CUBE,)),
    "Pad behind a convolution": (lambda x: raw.Pad(input=conv(x), paddings=[[0, 0], [1, 2], [3, 0], [0, 1]]), (IMAGE,)),
    "PadV2": (lambda x: raw.PadV2(input=x, paddings=[[0, 1], [1, 0]], constant_values=7), (WHOLE,)),
    "Pad, computed": (lambda x: raw.Pad(input=x, paddings=tf.stack([[0, tf.shape(x)[0]], [1, 0]])), (ROWS,)),
    "MirrorPad": (lambda x: raw.MirrorPad(input=x, paddings=[[1, 1], [2, 0]], mode="REFLECT"), (ROWS,)),
    "Tile": (lambda x: raw.Tile(input=x, multiples=[2, 1, 3]), (CUBE,)),
    "BroadcastTo": (lambda x: raw.BroadcastTo(input=x, shape=[2, 3, 5]), (ROWS,)),
    "Fill": (lambda x: raw.Fill(dims=tf.shape(x), value=x[0, 0]), (ROWS,)),
    "Range": (lambda x: raw.Range(start=1, limit=tf.shape(x)[1] * 3, delta=2), (ROWS,)),
    "Shape": (lambda x: raw.Shape(input=x), (CUBE,)),
    "Shape behind a convolution": (lambda x: raw.Shape(input=conv(x), out_type=tf.int64), (IMAGE,)),
    "Size": (lambda x: raw.Size(input=x), (CUBE,)),
    "Rank": (lambda x: raw.Rank(input=x), (CUBE,)),
    "ReverseV2": (lambda x: raw.ReverseV2(tensor=x, axis=[0, -1]), (CUBE,)),
    "DepthToSpace": (lambda x: raw.DepthToSpace(input=x, block_size=2), (IMAGE,)),
    "SpaceToDepth": (lambda x: raw.SpaceToDepth(input=x, block_size=2), (IMAGE,)),
    **{
        f"{op}{' of corners' * corners}{' of centers' * centers}": (
            resized(op, align_corners=corners, half_pixel_centers=centers),
            (IMAGE,),
        )
        for op in ("ResizeBilinear", "ResizeNearestNeighbor")
        for corners, centers in ((False, False), (True, False), (False, True))
    },
    **{op: (reduced(op), (CUBE,)) for op in ("Mean", "Sum", "Max", "Min", "Prod", "EuclideanNorm")},
    "Mean of an image": (lambda x: raw.Mean(input=conv(x), axis=[1, 2]), (IMAGE,)),
    "Mean of an image, kept": (lambda x: raw.Mean(input=conv(x), axis=[1, 2], keep_dims=True) * conv(x), (IMAGE,)),
    "Max of channels": (lambda x: raw.Max(input=conv(x), axis=3), (IMAGE,)),
    "Sum of rows behind a convolution": (lambda x: raw.Sum(input=conv(x), axis=[1]), (IMAGE,)),
    "Sum of nothing": (lambda x: raw.Sum(input=x, axis=np.zeros(0, np.int32)), (ROWS,)),
    "All": (lambda x: raw.All(input=x, axis=1), (FLAGS,)),
    "Any": (lambda x: raw.Any(input=x, axis=[0], keep_dims=True), (FLAGS,)),
    "ArgMax": (lambda x: raw.ArgMax(input=x, dimension=-1, output_type=tf.int32), (ROWS,)),
    "ArgMax behind a convolution": (lambda x: raw.ArgMax(input=conv(x), dimension=3), (IMAGE,)),
    "ArgMin": (lambda x: raw.ArgMin(input=x, dimension=1), (CUBE,)),
    "ArgMin behind a convolution": (lambda x: raw.ArgMin(input=conv(x), dimension=1, output_type=tf.int32), (IMAGE,)),
    "Cumsum": (lambda x: raw.Cumsum(x=x, axis=1, exclusive=True, reverse=True), (CUBE,)),
    "TopKV2": (lambda x: raw.TopKV2(input=x, k=2), (ROWS,)),
    "StridedSlice": (lambda x: x[1, ..., tf.newaxis, -1:0:-2], (CUBE,)),
    "StridedSlice of the last": (lambda x: x[:, -1, 1:], (CUBE,)),
    "StridedSlice, computed": (lambda x: x[tf.shape(x)[0] - 2 :, : tf.shape(x)[1] - 1, tf.shape(x)[2] - 1], (CUBE,)),
    "Slice": (lambda x: raw.Slice(input=x, begin=[0, 1, 2], size=[2, -1, 1]), (CUBE,)),
    "Slice, computed": (lambda x: raw.Slice(input=x, begin=tf.shape(x) - 2, size=[-1, 1, 2]), (CUBE,)),
    "Gather": (lambda x, i: raw.Gather(params=x, indices=i), (ROWS, np.array([[2, 0]], np.int32))),
    "GatherV2": (lambda x, i: raw.GatherV2(params=x, indices=i, axis=-2), (CUBE, np.array([[2, 0]], np.int32))),
    "GatherV2 in batches": (
        lambda x, i: raw.GatherV2(params=x, indices=i, axis=1, batch_dims=1),
        (CUBE, np.array([[2, 0], [1, 1]], np.int32)),
    ),
    "GatherNd": (lambda x, i: raw.GatherNd(params=x, indices=i), (CUBE, np.array([[1, 0], [0, 2]], np.int32))),
    "ScatterNd": (
        lambda x, i: raw.ScatterNd(indices=i, updates=x, shape=[4, 5]),
        (ROWS, np.array([[1], [3], [1]], np.int32)),
    ),
    "TensorScatterUpdate": (
        lambda x, i: raw.TensorScatterUpdate(tensor=tf.zeros([4, 5]), indices=i, updates=x),
        (ROWS, np.array([[1], [3], [0]], np.int32)),
    ),
    "TensorScatterAdd": (
        lambda x, i: raw.TensorScatterAdd(tensor=tf.ones([4, 5]), indices=i, updates=x),
        (ROWS, np.array([[1], [3], [1]], np.int32)),
    ),
    "OneHot": (
        lambda i: raw.OneHot(indices=i, depth=4, on_value=2.0, off_value=-1.0, axis=1),
        (np.array([[0, 3], [-1, 9]], np.int32),),
    ),
    "Where": (lambda x: raw.Where(condition=x), (FLAGS,)),
    "MatrixBandPart": (lambda x: raw.MatrixBandPart(input=x, num_lower=1, num_upper=0), (CUBE,)),
    "InvertPermutation": (lambda x: raw.InvertPermutation(x=x), (np.array([2, 0, 1], np.int32),)),
}


def drawn(build: Callable[..., object], arrays: tuple[np.ndarray, ...], known: bool) -> Model:
    """A model of the one function. Unless `known`, its first input has an unknown batch."""

    def spec(number: int, array: np.ndarray) -> tf.TensorSpec:
        shape = array.shape if known or number else (None, *array.shape[1:])
        return tf.TensorSpec(shape, array.dtype, name=f"x{number}")

    specs = [spec(number, array) for number, array in enumerate(arrays)]
    function = tf.function(lambda *inputs: tf.nest.flatten(build(*inputs))).get_concrete_function(*specs)
    graph_def = function.graph.as_graph_def()
    outputs = [Value(tensor.op.name, tensor.value_index) for tensor in function.outputs]
    graph = from_graph_def(graph_def, inputs=[tensor.op.name for tensor in function.inputs], outputs=outputs)
    ends = {f"x{number}": name for number, name in enumerate(graph.inputs)}
    return ir_models.model_of(
        graph, {"serving_default": (ends, {f"y{number}": number for number in range(len(outputs))})}
    )


@pytest.mark.parametrize("opset", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", CASES)
def test_op(case: str, opset: int, tmp_path: Path) -> None:
    build, arrays = CASES[case]
    for known in (True, False):
        model = drawn(build, arrays, known)
        path = write_onnx(model, tmp_path / f"{known}.onnx", opset=opset).path
        expected = run_graph(model.graph, dict(zip(model.graph.inputs, arrays, strict=True)))
        with ONNXRuntime(path) as runtime:
            found = runtime.run("serving_default", {f"x{number}": array for number, array in enumerate(arrays)})
        for number, array in enumerate(expected):
            made = found[f"y{number}"]
            assert (made.shape, made.dtype) == (array.shape, array.dtype)
            if array.dtype.kind == "f":
                np.testing.assert_allclose(made, array, rtol=1e-5, atol=1e-5 * np.abs(array).max(initial=1.0))
            else:
                np.testing.assert_array_equal(made, array)


def test_every_rule_is_tried() -> None:
    tried = {case.split(",")[0].split(" ")[0] for case in CASES}
    assert RULES.keys() - tried == {"If", "While", "StatelessIf", "StatelessWhile"}, "which test_onnx.py tries"
