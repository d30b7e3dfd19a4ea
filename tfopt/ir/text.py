"""The graph as text: what tests are written in and what people read.

    graph {
      %x = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]
      %w = Const() {dtype: float32, value: float32[4,2] random(1)} -> float32[4,2]
      %y = MatMul(%x, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
      inputs %x
      outputs %y
    }

A tensor is written `dtype[shape] literal`, where the literal is a nested list, `splat(v)`, `range(start, step)` or
`random(seed)` (standard normal), or for strings a list of quoted strings; a complex number is a pair. The printer
writes lists up to `limit` elements and `elided(sha256 prefix)` beyond, which the parser refuses. Control inputs are
written `^name`, `%name:1` is a node's second output, `@name` a function (`@'name'` where it has odd characters). An
attribute that is a function's body is a graph within the node's braces. A quantized value's grid stands at the end:

      grid %w {axes: (1), bits: 8, narrow: true, scales: float32[2] [0.5, 0.25], signed: true, zero_point: 0}
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel
from tfopt.ir.graph import AttrScalar, AttrValue, FunctionRef, Graph, Node, Value
from tfopt.ir.grid import Grid
from tfopt.ir.types import DType, Shape, Tensor, TensorType, numpy_dtype


def to_text(graph: Graph, limit: int | None = 16) -> str:
    """Print a graph. Tensors of more than `limit` elements are elided; None prints everything."""
    return f"{_graph(graph, limit)}\n"


def _graph(graph: Graph, limit: int | None) -> str:
    lines = [_node(node, limit) for node in graph.nodes]
    lines += _roots("inputs", [f"%{name}" for name in graph.inputs])
    lines += _roots("outputs", [str(value) for value in graph.outputs])
    lines += _roots("targets", [f"^{name}" for name in graph.targets])
    lines += [f"grid {value} {{{_attrs(_grid_attrs(grid), limit)}}}" for value, grid in sorted(graph.grids.items())]
    # No token holds a line break, so that every one of them is the end of a line, a body's as well.
    indented = (f"  {line}".replace("\n", "\n  ") for line in lines)
    return "\n".join(["graph {", *indented, "}"])


def _roots(word: str, names: list[str]) -> list[str]:
    return [f"{word} {', '.join(names)}"] if names else []


def _node(node: Node, limit: int | None) -> str:
    inputs = ", ".join([*map(str, node.inputs), *(f"^{name}" for name in node.controls)])
    attrs = _attrs(node.attrs, limit)
    outputs = f" -> {', '.join(map(str, node.outputs))}" if node.outputs else ""
    return f"%{node.name} = {node.op}({inputs})" + (f" {{{attrs}}}" if attrs else "") + outputs


def _attrs(attrs: Mapping[str, AttrValue], limit: int | None) -> str:
    return ", ".join(f"{_key(key)}: {_attr(value, limit)}" for key, value in sorted(attrs.items()))


def _grid_attrs(grid: Grid) -> Mapping[str, AttrValue]:
    return {**asdict(grid), "scales": Tensor(np.array(grid.scales, np.float32))}


def _grid(attrs: Mapping[str, Any]) -> Grid:
    return Grid(**{**attrs, "scales": tuple(attrs["scales"].array.tolist())})


def _key(key: str) -> str:
    is_word = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) and key not in ("inf", "nan")
    return key if is_word else _quoted(key)


def _attr(value: AttrValue, limit: int | None) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_attr(item, limit) for item in value)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return repr(value)[1:]
    if isinstance(value, Tensor):
        return f"{value.type} {_literal(value, limit)}"
    if isinstance(value, Graph):
        return _graph(value, limit)
    if isinstance(value, FunctionRef):
        return f"@{value.name}" if _FUNCTION_NAME.fullmatch(value.name) else f"@{_quoted(value.name)}"
    return repr(value) if isinstance(value, (int, float)) else str(value)


def _literal(tensor: Tensor, limit: int | None) -> str:
    array = tensor.array
    if limit is not None and array.size > limit:
        raw = repr(array.tolist()).encode() if tensor.dtype is DType.STRING else np.ascontiguousarray(array).tobytes()
        return f"elided({hashlib.sha256(raw).hexdigest()[:12]})"
    if tensor.dtype in _COMPLEX_PART:
        array = np.stack([array.real, array.imag], axis=-1)
    if tensor.dtype in _NOT_NUMPYS:
        array = array.astype(np.float32 if tensor.dtype.is_floating else np.int32)
    return _listed(array.tolist())


def _listed(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_listed, value))}]"
    return _quoted(value) if isinstance(value, (bytes, str)) else _attr(value, None)


def _quoted(value: bytes | str) -> str:
    return repr(value if isinstance(value, bytes) else value.encode())[1:]


#: numpy lists their elements as objects of their own.
_NOT_NUMPYS = {DType.BFLOAT16, DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN, DType.INT4, DType.UINT4}

_COMPLEX_PART = {DType.COMPLEX64: np.float32, DType.COMPLEX128: np.float64}

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_.\\/>-]+")

_TOKEN = re.compile(
    r"""\s*(?:(?P<comment>\#[^\n]*)
    |(?P<value>%[A-Za-z0-9_.\\/>-]+?(?::\d+)?(?=[\s,)}]|$))
    |(?P<control>\^[A-Za-z0-9_.\\/>-]+)
    |(?P<function>@(?:[A-Za-z0-9_.\\/>-]+|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
    |(?P<arrow>->)
    |(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<number>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|(?:inf|nan)\b))
    |(?P<word>[A-Za-z_][A-Za-z0-9_>]*)
    |(?P<mark>[=(){}\[\],:?*]))""",
    re.VERBOSE,
)


def parse(text: str) -> Graph:
    """The graph that `to_text` printed, or that a test wrote. Raises InvalidModel with the line of a mistake."""
    return _Parser(text).graph()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._scan())
        self.at = 0

    def _scan(self) -> Iterator[tuple[str, str, int]]:
        place, end = 0, len(self.text.rstrip())
        while place < end:
            found = _TOKEN.match(self.text, place)
            if found is None:
                raise self._error("cannot be read", place)
            place = found.end()
            kind = str(found.lastgroup)
            if kind != "comment":
                yield kind, found.group(kind), found.start(kind)

    def _error(self, what: str, place: int) -> InvalidModel:
        line = self.text.count("\n", 0, place) + 1
        return InvalidModel(f"{self.text.splitlines()[line - 1].strip()!r} {what}", where=f"graph text, line {line}")

    def _peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def _take(self, kind: str) -> str:
        if self.at >= len(self.tokens):
            raise self._error(f"ends where a {kind} is needed", len(self.text.rstrip()) - 1)
        found, token, place = self.tokens[self.at]
        if kind not in (found, token):
            raise self._error(f"has {token!r} where a {kind} is needed", place)
        self.at += 1
        return token

    def _maybe(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self.at += 1
        return True

    def graph(self) -> Graph:
        self._take("graph")
        self._take("{")
        nodes: list[Node] = []
        roots: dict[str, list[str]] = {"inputs": [], "outputs": [], "targets": []}
        grids: dict[Value, Grid] = {}
        while not self._maybe("}"):
            if self._peek() in roots:
                word = self._take("word")
                roots[word] = self._names("control" if word == "targets" else "value")
            elif self._maybe("grid"):
                value, grid = self._grid()
                grids[value] = grid
            else:
                nodes.append(self._node())
        return Graph(
            tuple(nodes),
            tuple(name[1:] for name in roots["inputs"]),
            tuple(_value(token) for token in roots["outputs"]),
            tuple(name[1:] for name in roots["targets"]),
            grids,
        )

    def _grid(self) -> tuple[Value, Grid]:
        value, place = _value(self._take("value")), self.tokens[self.at][2]
        try:
            return value, _grid(self._attrs())
        except (AttributeError, KeyError, TypeError) as error:
            raise self._error(f"is no grid: {error}", place) from error

    def _names(self, kind: str) -> list[str]:
        found = [self._take(kind)]
        while self._maybe(","):
            found.append(self._take(kind))
        return found

    def _node(self) -> Node:
        name = self._take("value")[1:]
        self._take("=")
        op = self._take("word")
        inputs, controls = self._inputs()
        attrs = self._attrs() if self._peek() == "{" else {}
        outputs = self._types() if self._maybe("->") else ()
        return Node(name, op, inputs, attrs, outputs, controls)

    def _inputs(self) -> tuple[tuple[Value, ...], tuple[str, ...]]:
        inputs, controls = [], []
        self._take("(")
        while not self._maybe(")"):
            if self._peek().startswith("^"):
                controls.append(self._take("control")[1:])
            else:
                inputs.append(_value(self._take("value")))
            self._maybe(",")
        return tuple(inputs), tuple(controls)

    def _attrs(self) -> Mapping[str, AttrValue]:
        found: dict[str, AttrValue] = {}
        self._take("{")
        while not self._maybe("}"):
            key = self._key()
            self._take(":")
            found[key] = self._attr()
            self._maybe(",")
        return found

    def _key(self) -> str:
        quoted = self.at < len(self.tokens) and self.tokens[self.at][0] == "string"
        return _unquoted(self._take("string")).decode() if quoted else self._take("word")

    def _attr(self) -> AttrValue:
        if not self._maybe("("):
            return self._scalar()
        items: list[AttrScalar] = []
        while not self._maybe(")"):
            items.append(self._scalar())
            self._maybe(",")
        return tuple(items)

    def _scalar(self) -> AttrScalar:
        token = self._peek()
        kind = self.tokens[self.at][0] if self.at < len(self.tokens) else ""
        if token == "[":
            return self._shape()
        if kind == "string":
            return _unquoted(self._take("string"))
        if kind == "function":
            name = self._take("function")[1:]
            return FunctionRef(_unquoted(name).decode() if name[0] in "'\"" else name)
        if kind == "number":
            self.at += 1
            return int(token) if re.fullmatch(r"[-+]?\d+", token) else float(token)
        if token in ("true", "false"):
            return self._take("word") == "true"
        if token == "graph":
            return self.graph()
        dtype = self._dtype()
        return self._tensor(dtype) if self._peek() == "[" else dtype

    def _dtype(self) -> DType:
        place = self.tokens[self.at][2] if self.at < len(self.tokens) else 0
        word = self._take("word")
        try:
            return DType(word)
        except ValueError:
            raise self._error(f"names no dtype: {word!r}", place) from None

    def _shape(self) -> Shape:
        dims: list[int | None] = []
        self._take("[")
        if self._maybe("*"):
            self._take("]")
            return Shape(None)
        while not self._maybe("]"):
            dims.append(None if self._maybe("?") else int(self._take("number")))
            self._maybe(",")
        return Shape(tuple(dims))

    def _types(self) -> tuple[TensorType, ...]:
        found = [TensorType(self._dtype(), self._shape())]
        while self._maybe(","):
            found.append(TensorType(self._dtype(), self._shape()))
        return tuple(found)

    def _tensor(self, dtype: DType) -> Tensor:
        place = self.tokens[self.at][2]
        shape = self._shape()
        if not shape.is_static:
            raise self._error(f"holds a tensor of unknown shape {shape}", place)
        dims = tuple(int(d or 0) for d in shape.dims or ())
        generated = self.tokens[self.at][0] == "word" and self._peek() not in ("true", "false")
        literal = self._generated(dims) if generated else self._list()
        try:
            return Tensor(_array(literal, dims, dtype), dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._error(f"holds no {dtype}{shape}: {error}", place) from error

    def _generated(self, dims: tuple[int, ...]) -> NDArray[Any]:
        place = self.tokens[self.at][2]
        word = self._take("word")
        if word not in ("splat", "range", "random"):
            raise self._error(f"holds {word}(...), which has no data to read", place)
        self._take("(")
        numbers = []
        while not self._maybe(")"):
            numbers.append(float(self._take("number")))
            self._maybe(",")
        if word == "splat":
            return np.full(dims, numbers[0])
        if word == "range":
            return (numbers[0] + numbers[1] * np.arange(int(np.prod(dims, dtype=np.int64)))).reshape(dims)
        return np.random.default_rng(int(numbers[0])).standard_normal(dims)

    def _list(self) -> Any:
        if not self._maybe("["):
            return self._scalar()
        items = []
        while not self._maybe("]"):
            items.append(self._list())
            self._maybe(",")
        return items


def _array(literal: Any, dims: tuple[int, ...], dtype: DType) -> NDArray[Any]:
    part = _COMPLEX_PART.get(dtype)
    if part is not None:
        return np.ascontiguousarray(_array_of(literal, (*dims, 2), np.dtype(part))).view(dtype.value)[..., 0]
    return _array_of(literal, dims, numpy_dtype(dtype))


def _array_of(literal: Any, dims: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    array = np.asarray(literal).astype(dtype) if isinstance(literal, np.ndarray) else np.array(literal, dtype)
    if array.size == 0 and 0 in dims:
        return array.reshape(dims)
    if array.shape != dims:
        raise ValueError(f"the literal's shape is {array.shape}")
    return array


def _unquoted(token: str) -> bytes:
    return bytes(ast.literal_eval("b" + token))


def _value(token: str) -> Value:
    name, _, port = token[1:].partition(":")
    return Value(name, int(port or 0))
