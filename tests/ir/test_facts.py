"""Facts about ops, held against TensorFlow's own registry."""

from __future__ import annotations

import re

import pytest
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

from tfopt.ir import facts
from tfopt.ir.evaluate import EVALUABLE
from tfopt.ir.graph import Graph
from tfopt.ir.linear import LINEAR
from tfopt.ir.text import parse


@pytest.fixture(scope="module")
def registry() -> dict[str, op_def_pb2.OpDef]:
    ops = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {op.name: op for op in ops.op}


#: Named by models of older releases, and gone from this build of TensorFlow.
GONE: dict[str, str] = {}


@pytest.mark.parametrize(
    "names",
    [facts.PURE, facts.COMMUTATIVE, facts.UNSAFE, facts.VARIABLE_WRITES, facts.RANDOM, EVALUABLE, LINEAR],
    ids=["pure", "commutative", "unsafe", "variable-writes", "random", "evaluable", "linear"],
)
def test_every_op_exists(names: frozenset[str], registry: dict[str, op_def_pb2.OpDef]) -> None:
    assert not names - registry.keys() - GONE.keys()


def test_pure_ops_have_no_state(registry: dict[str, op_def_pb2.OpDef]) -> None:
    for name in facts.PURE:
        op = registry[name]
        arguments = (*op.input_arg, *op.output_arg)
        assert not op.is_stateful, name
        assert not any(argument.is_ref or argument.type == 20 for argument in arguments), name  # 20 is DT_RESOURCE


def test_what_is_known_of_an_op_does_not_contradict() -> None:
    assert not facts.PURE & (facts.UNSAFE | facts.VARIABLE_WRITES)
    assert EVALUABLE - {"PlaceholderWithDefault"} <= facts.PURE
    assert facts.PURE >= LINEAR | facts.COMMUTATIVE
    assert facts.BINARY | facts.UNARY >= facts.COMMUTATIVE


def test_elementwise_ops_have_as_many_inputs_as_said(registry: dict[str, op_def_pb2.OpDef]) -> None:
    for names, count in ((facts.UNARY | facts.IDENTITIES, 1), (facts.BINARY, 2)):
        for name in names:
            assert len(registry[name].input_arg) == count and len(registry[name].output_arg) == 1, name


def test_the_registrys_commutative_ops_are_ours(registry: dict[str, op_def_pb2.OpDef]) -> None:
    theirs = {name for name in facts.BINARY if registry[name].is_commutative}
    assert theirs <= facts.COMMUTATIVE


#: Ops with an argument of a telling name that touch no file: directions and paths of other kinds, datasets (which
#: are refused as such), and what is checked by itself (tables that read an asset).
HARMLESS = re.compile(r"Cudnn.*|RiscSort|CTCBeamSearchDecoder|TensorSliceDataset|InitializeTableFromTextFile(V2)?")


def test_ops_that_name_files_or_addresses_are_unsafe(registry: dict[str, op_def_pb2.OpDef]) -> None:
    telling = re.compile(r"file|path|dir|url|address|descriptor")
    for name, op in registry.items():
        if any(telling.search(part.name) for part in (*op.attr, *op.input_arg)) and not HARMLESS.fullmatch(name):
            assert name in facts.UNSAFE, name


def test_ops_that_update_a_variable_are_writes(registry: dict[str, op_def_pb2.OpDef]) -> None:
    update = re.compile(
        r"(Resource)?(Sparse)?Apply[A-Z].*|(Resource)?Scatter(Nd)?[A-Z][a-z]+|Assign[A-Z].*Op|.*CountUpTo"
    )
    pure = {"ScatterNd", "ScatterNdNonAliasingAdd"}
    assert {name for name in registry if update.fullmatch(name)} - pure <= facts.VARIABLE_WRITES


def layer(text: str) -> Graph:
    return parse(f"graph {{ {text} }}")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        # 2*3 places, 5 channels out, each of 3*3 places times 4 channels in
        (
            "%x = Placeholder() -> float32[1,4,5,4] %w = Placeholder() -> float32[3,3,4,5] "
            "%y = Conv2D(%x, %w) {padding: 'VALID'} -> float32[1,2,3,5]",
            2 * 3 * 5 * 3 * 3 * 4,
        ),
        # An unknown batch counts as one example.
        (
            "%x = Placeholder() -> float32[?,4,5,4] %w = Placeholder() -> float32[3,3,4,5] "
            "%y = Conv2D(%x, %w) {padding: 'VALID'} -> float32[?,2,3,5]",
            2 * 3 * 5 * 3 * 3 * 4,
        ),
        # Two groups: the filter says how many channels each output reads.
        (
            "%x = Placeholder() -> float32[1,4,5,4] %w = Placeholder() -> float32[1,1,2,6] "
            "%y = Conv2D(%x, %w) -> float32[1,4,5,6]",
            4 * 5 * 6 * 2,
        ),
        # 4*5 places, 3 channels with 2 outputs each, 3*3 places
        (
            "%x = Placeholder() -> float32[1,4,5,3] %w = Placeholder() -> float32[3,3,3,2] "
            "%y = DepthwiseConv2dNative(%x, %w) -> float32[1,4,5,6]",
            4 * 5 * 6 * 3 * 3,
        ),
        # Every input element is multiplied by 3*3 places times 2 channels out.
        (
            "%s = Placeholder() -> int32[4] %w = Placeholder() -> float32[3,3,2,7] "
            "%x = Placeholder() -> float32[1,4,5,7] %y = Conv2DBackpropInput(%s, %w, %x) -> float32[1,8,10,2]",
            4 * 5 * 7 * 3 * 3 * 2,
        ),
        (
            "%x = Placeholder() -> float32[2,3,4,5,1] %w = Placeholder() -> float32[2,2,2,1,6] "
            "%y = Conv3D(%x, %w) -> float32[2,3,4,5,6]",
            2 * 3 * 4 * 5 * 6 * 8,
        ),
        (
            "%x = Placeholder() -> float32[?,7] %w = Placeholder() -> float32[7,3] %y = MatMul(%x, %w) -> float32[?,3]",
            7 * 3,
        ),
        (
            "%x = Placeholder() -> float32[7,2] %w = Placeholder() -> float32[7,3] "
            "%y = MatMul(%x, %w) {transpose_a: true} -> float32[2,3]",
            2 * 7 * 3,
        ),
        (
            "%x = Placeholder() -> float32[5,2,7] %w = Placeholder() -> float32[5,7,3] "
            "%y = BatchMatMulV2(%x, %w) {adj_x: false} -> float32[5,2,3]",
            5 * 2 * 7 * 3,
        ),
        (
            "%x = Placeholder() -> float32[?,5,7] %w = Placeholder() -> float32[7,3,2] "
            "%y = Einsum(%x, %w) {equation: '...c,cde->...de'} -> float32[?,5,3,2]",
            5 * 7 * 3 * 2,
        ),
        ("%x = Placeholder() -> float32[8] %y = Relu(%x) -> float32[8]", 0),
        ("%x = Placeholder() -> float32[*] %w = Placeholder() -> float32[*] %y = MatMul(%x, %w) -> float32[*]", 0),
    ],
)
def test_multiplications_by_hand(text: str, count: int) -> None:
    graph = layer(text)
    assert facts.macs(graph, graph["y"]) == count


def test_idle_nodes_have_no_effect_to_wait_for() -> None:
    graph = layer("""
      %x = Placeholder() -> float32[]
      %true = Const() {dtype: bool, value: bool[] true} -> bool[]
      %sum = AddV2(%x, %x) -> float32[]
      %group = NoOp(^sum)
      %holds = Assert(%true, %x) {T: (float32)}
      %print = Print(%x, %x) -> float32[]
      %after = Neg(%print) -> float32[]
      %waits = NoOp(^group, ^after)
    """)
    assert facts.idle_nodes(graph) == {"x", "true", "sum", "group", "holds"}
