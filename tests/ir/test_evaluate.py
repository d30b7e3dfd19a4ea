"""The evaluator, held against TensorFlow's kernels, op by op."""

from __future__ import annotations

from typing import Any

import ml_dtypes  # noqa: F401  makes numpy know bfloat16
import numpy as np
import pytest

from tests.running import run_graph
from tfopt.errors import ExecutionError, UnsupportedModel
from tfopt.formats.graph_def import from_graph_def, to_graph_def
from tfopt.ir.evaluate import EVALUABLE, evaluate
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import DType, Shape, Tensor, dtype_of

F = np.array([[-2.5, -0.5, 0.0, 0.5], [1.5, 2.5, 3.0, 7.25]], np.float32)
G = np.array([[1.5, -2.0, 3.0, -0.25], [0.1, 2.5, -3.0, 2.0]], np.float32)
POSITIVE = np.abs(F) + np.float32(0.1)
I = np.array([[-7, -1, 0, 1], [7, 5, 2147483647, -2147483648]], np.int32)  # noqa: E741
J = np.array([[2, -2, 3, -3], [-2, 5, 2, 3]], np.int32)
SMALL = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
B = np.array([[True, False, True, True], [False, False, True, False]])
C = np.array([[True, True, False, True], [False, True, True, False]])


def i32(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def scalar(number: float, dtype: str = "int32") -> np.ndarray:
    return np.array(number, dtype)


Case = tuple[str, "list[np.ndarray]", "dict[str, AttrValue]"]

T = "T"
ELEMENTWISE: list[Case] = [
    *[(op, [F], {}) for op in ("Abs", "Ceil", "Floor", "Neg", "Rint", "Round", "Sign", "Square", "Relu", "Relu6")],
    *[(op, [F], {}) for op in ("Atan", "Cos", "Exp", "Expm1", "Sigmoid", "Sin", "Softplus", "Tanh")],
    *[(op, [POSITIVE], {}) for op in ("Inv", "Log", "Log1p", "Reciprocal", "Rsqrt", "Sqrt")],
    *[(op, [np.float32([np.nan, np.inf, -np.inf, 1])], {}) for op in ("IsFinite", "IsInf", "IsNan", "Abs")],
    *[(op, [I], {}) for op in ("Abs", "Neg", "Sign", "Square", "Relu")],
    ("LogicalNot", [B], {}),
    *[(op, [B, C], {}) for op in ("LogicalAnd", "LogicalOr")],
    *[(op, [F, G], {}) for op in ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Maximum", "Minimum")],
    *[(op, [F, G], {}) for op in ("SquaredDifference", "FloorDiv", "FloorMod", "TruncateDiv", "Mod")],
    *[(op, [F, G], {}) for op in ("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual")],
    ("SquaredDifference", [np.complex64([1 + 2j, 3]), np.complex64([3 + 1j, 1j])], {}),
    *[(op, [I, J], {}) for op in ("Add", "AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference")],
    *[(op, [I, J], {}) for op in ("Div", "FloorDiv", "FloorMod", "TruncateDiv", "TruncateMod", "Mod")],
    *[(op, [I, J], {}) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Less", "Equal")],
    *[(op, [F, F[::-1].copy() * np.float32(0)], {}) for op in ("DivNoNan", "MulNoNan")],
    ("DivNoNan", [np.float32([1, np.nan, np.inf]), np.float32([0, 0, 2])], {}),
    ("MulNoNan", [np.float32([1, np.nan, np.inf]), np.float32([0, 0, 0])], {}),
    ("FloorDiv", [np.float32([1.0, 6.0]), np.float32([0.1, 0.1])], {}),
    ("Pow", [POSITIVE, G], {}),
    ("Pow", [J, np.abs(J)], {}),
    ("AddV2", [np.int8([127, -128]), np.int8([1, -1])], {}),
    ("Mul", [np.uint8([200, 3]), np.uint8([2, 100])], {}),
    ("AddV2", [F.astype(np.float16), G.astype(np.float16)], {}),
    ("Mul", [F.astype("bfloat16"), G.astype("bfloat16")], {}),
    ("AddV2", [F[:1], G[:, :1]], {}),
    ("AddN", [F, G, F], {"N": 3}),
    ("Equal", [np.array([b"a", b"b"], object), np.array(b"b", object)], {}),
    ("ClipByValue", [F, scalar(-1, "float32"), scalar(2, "float32")], {}),
    *[("Cast", [F], {"DstT": DType(to)}) for to in ("int32", "int8", "float16", "bfloat16", "bool", "float64")],
    *[("Cast", [I], {"DstT": DType(to)}) for to in ("int8", "uint8", "int64", "float32", "bool")],
    ("Cast", [B], {"DstT": DType.FLOAT32}),
    ("Cast", [np.float64([0.1, 1e300, -1e-300])], {"DstT": DType.FLOAT32}),
]

AXES = [i32(), i32(0), i32(1), i32(-1), i32(0, 1), scalar(1)]
REDUCTIONS: list[Case] = [
    *[(op, [F, axes], {"keep_dims": False}) for op in ("Sum", "Mean", "Prod", "Max", "Min") for axes in AXES],
    *[(op, [SMALL, axes], {"keep_dims": True}) for op in ("Sum", "Prod", "Max", "Min") for axes in AXES],
    ("Sum", [np.full(4, 2**30, np.int32), i32(0)], {}),
    *[(op, [B, axes], {"keep_dims": keep}) for op in ("All", "Any") for axes in AXES for keep in (True, False)],
    *[(op, [F, scalar(axis)], {"output_type": DType.INT32}) for op in ("ArgMax", "ArgMin") for axis in (0, 1, -1)],
    ("ArgMax", [np.float32([1, 3, 3]), scalar(0)], {}),
    *[
        (op, [x, scalar(axis)], {"exclusive": exclusive, "reverse": reverse})
        for op in ("Cumsum", "Cumprod")
        for x in (F, SMALL)
        for axis in (0, -1)
        for exclusive in (True, False)
        for reverse in (True, False)
    ],
]


def strided(x: np.ndarray, first: Any, last: Any, step: Any, **masks: int) -> Case:
    return (
        "StridedSlice",
        [x, i32(*first), i32(*last), i32(*step)],
        {f"{name}_mask": mask for name, mask in masks.items()},
    )


CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
WORDS = np.array([b"a", b"bc", b""], object)
LAYOUT: list[Case] = [
    *[(op, [F], {}) for op in ("Identity", "Snapshot", "StopGradient", "PreventGradient", "OnesLike", "ZerosLike")],
    ("IdentityN", [F, I], {T: (DType.FLOAT32, DType.INT32)}),
    ("PlaceholderWithDefault", [F], {"dtype": DType.FLOAT32, "shape": Shape(None)}),
    ("EnsureShape", [F], {"shape": Shape.of(None, 4)}),
    ("Reshape", [CUBE, i32(4, -1)], {}),
    ("Reshape", [WORDS, i32(3, 1)], {}),
    ("Reshape", [F[:0], i32(0, 7)], {}),
    *[("ExpandDims", [F, scalar(axis)], {}) for axis in (0, 1, -1)],
    ("Squeeze", [CUBE[:, :1]], {}),
    ("Squeeze", [CUBE[:1, :1]], {"squeeze_dims": (-2,)}),
    ("Transpose", [CUBE, i32(2, 0, 1)], {}),
    *[("Pack", [F, G], {"N": 2, "axis": axis}) for axis in (0, 1, -1)],
    *[("Unpack", [CUBE], {"num": CUBE.shape[axis], "axis": axis}) for axis in (0, 1, -1)],
    *[("ConcatV2", [F, G, scalar(axis)], {"N": 2}) for axis in (0, 1, -1)],
    ("Concat", [scalar(1), F, G, F], {"N": 3}),
    *[("Split", [scalar(axis), CUBE], {"num_split": 2}) for axis in (0, 2, -1)],
    *[("SplitV", [CUBE, i32(*sizes), scalar(2)], {"num_split": len(sizes)}) for sizes in ((1, 3), (1, -1, 1), (4,))],
    ("Slice", [CUBE, i32(0, 1, 2), i32(1, 2, -1)], {}),
    strided(CUBE, (0, 1), (2, 3), (1, 1)),
    strided(CUBE, (0, -1), (2, -4), (1, -1)),
    strided(CUBE, (1, 0), (9, 9), (1, 2), begin=1),
    strided(CUBE, (1, 2), (0, 0), (1, 1), end=3),
    strided(CUBE, (-1, 0), (0, 3), (1, 1), shrink_axis=1),
    strided(CUBE, (0, 0, 1), (0, 0, 2), (1, 1, 1), ellipsis=1, new_axis=2),
    strided(CUBE, (0, 3), (0, 4), (1, 1), ellipsis=1, shrink_axis=2),
    strided(CUBE, (9,), (10,), (1,)),
    ("Gather", [F, i32(1, 0, 1)], {}),
    *[("GatherV2", [CUBE, SMALL[:, :1] % 2, scalar(axis)], {"batch_dims": 0}) for axis in (0, 1, -1)],
    ("Fill", [i32(2, 3), scalar(1.5, "float32")], {}),
    ("Fill", [i32(), np.array(b"x", object)], {}),
    *[("Range", [scalar(a), scalar(b), scalar(c)], {}) for a, b, c in ((0, 5, 1), (5, 0, -2), (3, 3, 1), (0, 7, 3))],
    ("Range", [scalar(0, "float32"), scalar(1, "float32"), scalar(0.1, "float32")], {}),
    ("LinSpace", [scalar(0, "float32"), scalar(1, "float32"), scalar(5)], {}),
    ("Tile", [F, i32(2, 3)], {}),
    ("BroadcastTo", [F[:1], i32(3, 2, 4)], {}),
    ("BroadcastArgs", [i32(3, 1), i32(2, 1, 5)], {}),
    ("Pad", [F, np.array([[1, 0], [0, 2]], np.int32)], {}),
    ("PadV2", [F, np.array([[1, 0], [0, 2]], np.int32), scalar(9, "float32")], {}),
    *[("MirrorPad", [F, np.array([[1, 0], [1, 1]], np.int32)], {"mode": mode}) for mode in (b"REFLECT", b"SYMMETRIC")],
    *[("ReverseV2", [CUBE, i32(*axes)], {}) for axes in ((0,), (1, -1), ())],
    ("InvertPermutation", [i32(2, 0, 1)], {}),
    *[
        ("OneHot", [i32(0, 2, -1, 5), scalar(3), scalar(5, "float32"), scalar(-1, "float32")], {"axis": axis})
        for axis in (-1, 0, 1)
    ],
    ("Where", [B], {T: DType.BOOL}),
    ("SelectV2", [B, F, scalar(0, "float32")], {}),
    ("Select", [B, F, G], {}),
    ("Select", [np.array([True, False]), F, G], {}),
    ("Shape", [CUBE], {"out_type": DType.INT64}),
    ("ShapeN", [F, G], {"N": 2}),
    ("Size", [CUBE], {}),
    ("Rank", [CUBE], {}),
]

WIDE = np.linspace(-3, 3, 5000, dtype=np.float32).reshape(-1, 2)
ENDS = ((-1.0, 1.0), (0.0, 2.5), (-0.3, 1.7), (0.4, 2.0), (-2.0, -0.1), (0.0, 0.0))
ROUNDING: list[Case] = [
    *[("FakeQuantWithMinMaxArgs", [WIDE], {"min": a, "max": b}) for a, b in ((-1.0, 1.0), (0.0, 6.0))],
    *[
        ("FakeQuantWithMinMaxVars", [WIDE, scalar(low, "float32"), scalar(high, "float32")], {"narrow_range": narrow})
        for low, high in ENDS
        for narrow in (False, True)
    ],
    ("FakeQuantWithMinMaxVars", [WIDE, scalar(-1, "float32"), scalar(2, "float32")], {"num_bits": 4}),
    ("FakeQuantWithMinMaxVarsPerChannel", [WIDE, np.float32([-1, -2.7]), np.float32([1, 2.7])], {"narrow_range": True}),
    ("FakeQuantWithMinMaxVarsPerChannel", [WIDE, np.float32([0, -1]), np.float32([0, 0.5])], {}),
]

CASES = [*ELEMENTWISE, *REDUCTIONS, *LAYOUT, *ROUNDING]

#: Attributes that name the dtype of the input with this number.
DTYPES = {
    "Cast": {"SrcT": 0},
    "StridedSlice": {"T": 0, "Index": 1},
    "Slice": {"T": 0, "Index": 1},
    "SplitV": {"T": 0, "Tlen": 1},
    "GatherV2": {"Tparams": 0, "Tindices": 1, "Taxis": 2},
    "Gather": {"Tparams": 0, "Tindices": 1},
    "Fill": {"T": 1, "index_type": 0},
    "Range": {"Tidx": 0},
    "LinSpace": {"T": 0, "Tidx": 2},
    "OneHot": {"T": 2, "TI": 0},
    "Split": {"T": 1},
    "Concat": {"T": 1},
    "Transpose": {"T": 0, "Tperm": 1},
    "Tile": {"T": 0, "Tmultiples": 1},
    "BroadcastTo": {"T": 0, "Tidx": 1},
    "Select": {"T": 1},
    "SelectV2": {"T": 1},
    "LogicalNot": {},
    "LogicalAnd": {},
    "LogicalOr": {},
    "All": {},
    "Any": {},
    "PlaceholderWithDefault": {},
    **{case[0]: {} for case in ROUNDING},
}


def node_and_graph(case: Case) -> tuple[Node, Graph]:
    """The op on constants, with the types that TensorFlow infers, in a graph that gives out all it makes."""
    op, arrays, attrs = case
    constants = [constant_node(f"c{number}", Tensor(array)) for number, array in enumerate(arrays)]
    dtypes = {key: dtype_of(arrays[at]) for key, at in DTYPES.get(op, {"T": 0}).items()}
    node = Node("op", op, tuple(c.value() for c in constants), {**dtypes, **attrs})
    typed = from_graph_def(to_graph_def(Graph((*constants, node))))
    return typed["op"], Graph(typed.nodes, outputs=tuple(Value("op", p) for p in range(len(typed["op"].outputs))))


def case_id(case: Case) -> str:
    op, arrays, attrs = case
    return "-".join([op, str(dtype_of(arrays[0])), *(f"{k}={v}" for k, v in attrs.items() if k != "T")])


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_computes_what_tensorflow_computes(case: Case) -> None:
    node, graph = node_and_graph(case)
    made = evaluate(node, [Tensor(array) for array in case[1]])
    expected = run_graph(graph, {})
    assert len(made) == len(expected)
    for tensor, wanted, out in zip(made, expected, node.outputs, strict=True):
        assert tensor.dtype is out.dtype
        assert out.shape.admits(tensor.array.shape)
        assert (tensor.array.dtype, tensor.array.shape) == (wanted.dtype, wanted.shape)
        assert_close(tensor.array, wanted)


def assert_close(made: np.ndarray, wanted: np.ndarray) -> None:
    """Equal, or for floats within four units of the last place: kernels of TensorFlow approximate some functions."""
    if made.dtype.kind == "f":
        np.testing.assert_array_max_ulp(made, wanted, 4)
    else:
        np.testing.assert_array_equal(made, wanted)


def test_every_op_has_a_case() -> None:
    assert {case[0] for case in CASES} == EVALUABLE


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (("FloorDiv", [SMALL, SMALL * 0], {}), "integer division by zero"),
        (("Cast", [np.float32([300])], {"DstT": DType.INT8}), "a value does not fit int8"),
        (("Cast", [np.float32([np.nan])], {"DstT": DType.INT32}), "a value does not fit int32"),
        (("Cast", [F], {"DstT": DType.FLOAT16, "Truncate": True}), "casts with Truncate"),
        (("Mean", [SMALL, i32(0)], {}), "the mean of integers"),
        (("GatherV2", [F, i32(0), scalar(1)], {"batch_dims": 1}), "batch_dims"),
    ],
)
def test_what_is_not_defined_or_not_known_is_refused(case: Case, words: str) -> None:
    node = node_and_graph(case)[0] if words != "batch_dims" else Node("op", case[0], (), case[2], ())
    with pytest.raises(ExecutionError, match=f"op: {case[0]} cannot be computed: .*{words}"):
        evaluate(node, [Tensor(array) for array in case[1]])


@pytest.mark.parametrize(
    ("op", "arrays"),
    [
        ("Gather", [F, i32(-1)]),
        ("Gather", [F, i32(2)]),
        ("Slice", [F, i32(0, 3), i32(1, 2)]),
        ("Reshape", [F, i32(3, -1)]),
        ("AddV2", [F, SMALL.astype(np.float32)]),
        ("SplitV", [F, i32(1, 2), scalar(1)]),
        ("Range", [scalar(0), scalar(1), scalar(0)]),
        ("Transpose", [F, i32(0, 0)]),
    ],
)
def test_what_tensorflow_refuses_is_refused(op: str, arrays: list[np.ndarray]) -> None:
    node = Node("op", op, (), {}, ())
    with pytest.raises(ExecutionError, match=f"op: {op} cannot be computed"):
        evaluate(node, [Tensor(array) for array in arrays])


def test_an_unknown_op_is_unsupported() -> None:
    with pytest.raises(UnsupportedModel, match="op: StringLower is not computed here"):
        evaluate(Node("op", "StringLower"), [Tensor(WORDS)])


def test_views_share_the_memory_of_what_they_show() -> None:
    (made,) = evaluate(node_and_graph(("Reshape", [CUBE, i32(-1)], {}))[0], [Tensor(CUBE), Tensor(i32(-1))])
    assert np.shares_memory(made.array, CUBE)
