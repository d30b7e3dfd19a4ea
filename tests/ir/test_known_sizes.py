"""Which unknown dims are the same, and what is computed from them."""

from __future__ import annotations

from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Value
from tfopt.ir.known_sizes import KnownSizes, counted_dims
from tfopt.ir.sizes import Size, Symbol, broadcast, product
from tfopt.ir.text import parse

S, T = (Symbol("dim", "x", 0, axis) for axis in (0, 1))


def sizes(body: str) -> KnownSizes:
    head = "%x = Placeholder() -> float32[?,?,4] %z = Placeholder() -> float32[?,?,4]"
    return KnownSizes(parse(f"graph {{ {head} {body} inputs %x, %z }}"))


def test_products_and_quotients() -> None:
    flat = product([Size(2), Size(3, (S,)), Size(1, (T, S))])
    assert flat == Size(6, (S, S, T))
    assert flat.over(Size(2, (S,))) == Size(3, (S, T))
    assert flat.over(Size(4)) is None
    assert flat.over(Size(1, (T, T))) is None
    assert Size(0).times(flat) == Size(0)


def test_what_broadcasting_makes() -> None:
    one, s, t = Size(1), Size(1, (S,)), Size(1, (T,))
    assert broadcast([(s, one), (Size(4),)]) == (s, Size(4))
    assert broadcast([(s,), (s,)]) == (s,)
    assert broadcast([(s,), (t,)]) == (None,)  # either may be 1
    assert broadcast([(s,), (Size(4),)]) == (Size(4),)
    assert broadcast([None, (s,)]) is None


def test_dims_are_followed_through_ops() -> None:
    known = sizes(
        "%p = Const() {value: int32[3] [2, 0, 1]} -> int32[3] %t = Transpose(%x, %p) -> float32[4,?,?] "
        "%r = Relu(%t) -> float32[?,?,?] %s = AddV2(%x, %z) -> float32[?,?,4] %q = AddV2(%x, %x) -> float32[?,?,4]"
    )
    x = known.dims(Value("x"))
    assert x == (Size(1, (S,)), Size(1, (T,)), Size(4))
    assert known.dims(Value("r")) == (x[2], x[0], x[1])
    assert not known.same_dims(Value("s"), Value("x"))
    assert known.same_dims(Value("q"), Value("x"))


def test_shapes_are_computed_with() -> None:
    known = sizes(
        "%n = Shape(%x) -> int32[3] %c = Const() {value: int32[2] [0, 1]} -> int32[2] "
        "%a = Const() {value: int32[] 0} -> int32[] %k = Const() {value: int32[] 8} -> int32[] "
        "%g = GatherV2(%n, %c, %a) {batch_dims: 0} -> int32[2] %m = Prod(%g, %a) {keep_dims: false} -> int32[] "
        "%v = Pack(%m, %k) {axis: 0} -> int32[2] %e = Cast(%n) -> int64[3]"
    )
    assert known.contents(Value("v")) == (Size(1, (S, T)), Size(8))
    assert known.contents(Value("e")) == known.dims(Value("x"))
    assert known.constant(Value("v")) is None
    assert known.constant(Value("c")) == (0, 1)


def test_numbers_from_data_are_no_dims() -> None:
    known = sizes(
        "%f = Placeholder() -> int32[2] %i = Placeholder() -> float32[] %j = Cast(%i) -> int32[] "
        "%r = Reshape(%x, %f) -> float32[?,?] %b = Pack(%j, %j) {axis: 0} -> int32[2]"
    )
    contents = known.contents(Value("f"))
    assert contents is not None and not any(size.is_dim for size in contents)
    assert known.dims(Value("r")) != contents
    packed = known.contents(Value("b"))
    assert packed is not None and packed[0] == packed[1] and packed[0].unknown[0].kind == "data"


def test_the_path_of_an_asset_and_a_fed_constant_are_not_known() -> None:
    graph = parse("graph { %c = Const() {value: int32[1] [3]} -> int32[1] outputs %c targets ^c }")
    assert KnownSizes(graph).constant(Value("c")) is None


def test_rows_of_a_flattened_batch_count() -> None:
    graph: Graph = parse(
        "graph { %x = Placeholder() -> float32[?,128,4] %s = Const() {value: int32[2] [-1, 4]} -> int32[2] "
        "%r = Reshape(%x, %s) -> float32[?,4] %w = Placeholder() -> float32[4,2] "
        "%y = MatMul(%r, %w) {transpose_a: false} -> float32[?,2] outputs %y }"
    )
    assert macs(graph, graph["y"]) == 4 * 2
    assert macs(graph, graph["y"], counted_dims(graph)) == 128 * 4 * 2
