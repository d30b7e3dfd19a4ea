"""Random graphs of the IR, and what it means for two to be the same."""

from __future__ import annotations

import ml_dtypes  # noqa: F401  makes numpy know bfloat16
import numpy as np
from hypothesis import strategies as st

from tfopt.ir.graph import AttrValue, FunctionRef, Graph, Node, Value
from tfopt.ir.types import DType, Shape, Tensor, TensorType, numpy_dtype

NAMES = st.from_regex(r"[A-Za-z0-9.][A-Za-z0-9_./>-]{0,8}", fullmatch=True)
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True) | st.sampled_from(
    ["inf", "nan_mode", "a.b", "tf:x"]
)
OPS = st.from_regex(r"[A-Z][A-Za-z0-9>]{0,8}", fullmatch=True)
SHAPES = st.none().map(Shape) | st.lists(st.none() | st.integers(0, 9), max_size=4).map(lambda d: Shape(tuple(d)))
HELD = [dtype for dtype in DType if dtype not in (DType.RESOURCE, DType.VARIANT)]
TYPES = st.builds(TensorType, st.sampled_from(DType), SHAPES)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(HELD))
    dims = draw(st.lists(st.integers(0, 3), max_size=3))
    size = int(np.prod(dims))
    if dtype is DType.STRING:
        array = np.empty(dims, object)
        array.flat[:] = draw(st.lists(st.binary(max_size=5), min_size=size, max_size=size)) if size else []
        return Tensor(array, dtype)
    # Any bits: NaNs, infinities, denormals and minus zero among them; a NaN's payload is not kept by the text.
    raw = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    used = {DType.BOOL: 1, DType.INT4: 7, DType.UINT4: 15}
    bits = np.frombuffer(raw, np.uint8) & used.get(dtype, 255)
    return Tensor(bits.view(numpy_dtype(dtype)).reshape(dims), dtype)


SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.binary(max_size=6)
    | st.sampled_from(DType)
    | SHAPES
    | tensors()
    | st.text(min_size=1, max_size=6).map(FunctionRef)
)


@st.composite
def graphs(draw: st.DrawFn, depth: int = 1) -> Graph:
    """Functions in attributes are nested at most `depth` deep."""
    attr_values = SCALARS | graphs(depth - 1) if depth else SCALARS
    attrs = st.dictionaries(KEYS, attr_values | st.lists(attr_values, max_size=3).map(tuple), max_size=3)
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    nodes: list[Node] = []
    for name in names:
        values = [Value(node.name, port) for node in nodes for port in range(len(node.outputs))]
        inputs = draw(st.lists(st.sampled_from(values), max_size=3)) if values else []
        controls = draw(st.lists(st.sampled_from([n.name for n in nodes]), max_size=2)) if nodes else []
        outputs = draw(st.lists(TYPES, max_size=3))
        nodes.append(Node(name, draw(OPS), tuple(inputs), draw(attrs), tuple(outputs), tuple(controls)))
    values = [Value(node.name, port) for node in nodes for port in range(len(node.outputs))]
    some = st.lists(st.sampled_from(names), max_size=2).map(tuple)
    outputs = draw(st.lists(st.sampled_from(values), max_size=3)) if values else []
    return Graph(tuple(nodes), draw(some), tuple(outputs), draw(some))


def same_graph(left: Graph, right: Graph) -> bool:
    roots = all(getattr(left, part) == getattr(right, part) for part in ("inputs", "outputs", "targets"))
    return roots and len(left) == len(right) and all(map(same_node, left.nodes, right.nodes))


def same_node(left: Node, right: Node) -> bool:
    fields = ("name", "op", "inputs", "outputs", "controls")
    return (
        all(getattr(left, name) == getattr(right, name) for name in fields)
        and left.attrs.keys() == right.attrs.keys()
        and all(same_attr(left.attrs[key], right.attrs[key]) for key in left.attrs)
    )


def same_attr(left: AttrValue, right: AttrValue) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same_attr, left, right))
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.type == right.type and _same_array(left, right)
    if isinstance(left, Graph) and isinstance(right, Graph):
        return same_graph(left, right)
    if isinstance(left, float):
        return np.float64(left).tobytes() == np.float64(right).tobytes() or (left != left and right != right)
    return left == right


def _same_array(left: Tensor, right: Tensor) -> bool:
    if left.dtype.is_floating or left.dtype in (DType.COMPLEX64, DType.COMPLEX128):
        with np.errstate(invalid="ignore"):  # a signalling NaN
            a, b = left.array.astype(np.complex128), right.array.astype(np.complex128)
        return all(_same_numbers(getattr(a, part), getattr(b, part)) for part in ("real", "imag"))
    return left.array.dtype == right.array.dtype and np.array_equal(left.array, right.array)


def _same_numbers(a: np.ndarray, b: np.ndarray) -> bool:
    """Zeros by their sign too, NaNs whatever their bits."""
    signs = np.signbit(a) == np.signbit(b)
    return np.array_equal(a, b, equal_nan=True) and bool(np.all(signs | np.isnan(a)))
