"""GraphDef in and out, bit for bit, held against TensorFlow's own reading of the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, tensor_pb2

from tests.running import run_graph
from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.graph_def import from_graph_def, to_graph_def
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.shapes import with_types
from tfopt.formats.tensor_proto import tensor_from_proto, tensor_to_proto
from tfopt.ir import DType, Graph, Node, Shape, Tensor, TensorType, Value
from tfopt.ir.bodies import bodies
from tfopt.ir.text import parse, to_text
from tfopt.ir.verify import verify


@pytest.fixture(scope="module")
def traced() -> graph_pb2.GraphDef:
    @tf.function
    def body(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        y = tf.nn.leaky_relu(tf.reshape(x, [-1, 4]) @ tf.constant(np.arange(40, dtype=np.float32).reshape(4, 10)))
        halves = tf.cast(x, tf.bfloat16) * tf.constant(2.0, tf.bfloat16)
        return tf.squeeze(y), tf.constant([b"a", b"\x00\xff"]), halves, *tf.split(x, 2, axis=1)

    return body.get_concrete_function(tf.TensorSpec([None, 2, 2], tf.float32, "x")).graph.as_graph_def()


def run(graph_def: graph_pb2.GraphDef, feed: dict[str, np.ndarray], fetches: list[str]) -> list[np.ndarray]:
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run(fetches, feed)


def test_round_trip_computes_the_same(traced: graph_pb2.GraphDef) -> None:
    graph = from_graph_def(traced, inputs=["x"])
    verify(graph)
    feed = {"x:0": np.arange(12, dtype=np.float32).reshape(3, 2, 2) - 5}
    fetches = [f"Identity{suffix}:0" for suffix in ("", "_1", "_2", "_3", "_4")]
    for before, after in zip(run(traced, feed, fetches), run(to_graph_def(graph), feed, fetches), strict=True):
        np.testing.assert_array_equal(before, after)


def test_second_round_trip_changes_nothing(traced: graph_pb2.GraphDef) -> None:
    graph = from_graph_def(traced)
    again = from_graph_def(to_graph_def(graph))
    assert to_text(again, None) == to_text(graph, None)
    assert to_graph_def(again).SerializeToString(deterministic=True) == to_graph_def(graph).SerializeToString(
        deterministic=True
    )


def test_attributes_left_out_have_the_registrys_default() -> None:
    stripped = to_graph_def(
        parse("graph { %x = Placeholder() {dtype: float32, shape: [1,1,1,2]} -> float32[1,1,1,2] }")
    )
    for name in ("scale", "offset", "mean", "variance"):
        constant = tf.compat.v1.NodeDef(name=name, op="Const")
        constant.attr["dtype"].type = tf.float32.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.ones(2, np.float32)))
        stripped.node.append(constant)
    norm = stripped.node.add(name="norm", op="FusedBatchNormV3", input=["x", "scale", "offset", "mean", "variance"])
    norm.attr["T"].type = norm.attr["U"].type = tf.float32.as_datatype_enum
    graph = from_graph_def(stripped)
    assert graph["norm"].attrs["is_training"] is True
    assert graph["norm"].attrs["data_format"] == b"NHWC"
    assert graph["norm"].outputs[0] == TensorType(DType.FLOAT32, Shape.of(1, 1, 1, 2))
    written = next(node for node in to_graph_def(graph).node if node.name == "norm")
    assert sorted(written.attr) == ["T", "U"]


def test_empty_lists_and_whole_floats_survive() -> None:
    graph = parse(
        """graph {
          %x = Placeholder() {dtype: float32, shape: [1,3]} -> float32[1,3]
          %s = Squeeze(%x) {T: float32, squeeze_dims: ()} -> float32[3]
          %l = LeakyRelu(%s) {T: float32, alpha: 1} -> float32[3]
        }"""
    )
    read = from_graph_def(to_graph_def(graph))
    assert read["s"].attrs["squeeze_dims"] == ()
    assert read["l"].attrs["alpha"] == 1.0
    assert read["l"].outputs == graph["l"].outputs


@pytest.mark.parametrize("dtype", [d for d in DType if d not in (DType.RESOURCE, DType.VARIANT)])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_every_element_type_keeps_its_bits(dtype: DType, shape: tuple[int, ...]) -> None:
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    array = np.empty(shape, object) if dtype is DType.STRING else numbers.astype(array_dtype(dtype))
    if dtype is DType.STRING:
        array[...] = [[b"\x00", b"a\xff", b""], [b"1", b"2", b"3"]] if shape == (2, 3) else b"one"
    proto = tensor_to_proto(Tensor(array, dtype))
    back = tensor_from_proto(proto)
    assert back.dtype is dtype and back.shape == Shape(shape)
    assert back.array.tolist() == array.tolist()
    if not dtype.value.startswith("q"):  # make_ndarray gives these a structured type
        assert tf.make_ndarray(proto).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("dtype", "fields", "expected"),
    [
        (tf.float16, {"half_val": [0x3E00, 0xC100]}, [1.5, -2.5]),
        (tf.bfloat16, {"half_val": [0x3FC0, 0xC020]}, [1.5, -2.5]),
        (tf.float32, {"float_val": [1.5, -2.5]}, [1.5, -2.5]),
        (tf.float64, {"double_val": [1.5, -2.5]}, [1.5, -2.5]),
        (tf.int8, {"int_val": [1, -1]}, [1, -1]),
        (tf.uint8, {"int_val": [1, 200]}, [1, 200]),
        (tf.qint8, {"int_val": [-3, 4]}, [-3, 4]),
        (tf.int64, {"int64_val": [-(2**40), 1]}, [-(2**40), 1]),
        (tf.uint64, {"uint64_val": [2**63, 1]}, [2**63, 1]),
        (tf.complex64, {"scomplex_val": [1, 2, 3, -4]}, [1 + 2j, 3 - 4j]),
        (tf.bool, {"bool_val": [True, False]}, [True, False]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_elements_outside_of_tensor_content(dtype: tf.DType, fields: dict[str, list], expected: list) -> None:
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **fields)
    proto.tensor_shape.dim.add(size=2)
    assert tensor_from_proto(proto).array.tolist() == expected


def test_short_form_repeats_the_last_element() -> None:
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1.0, 2.0])
    proto.tensor_shape.dim.add(size=2)
    proto.tensor_shape.dim.add(size=2)
    assert tensor_from_proto(proto).array.tolist() == [[1, 2], [2, 2]]
    del proto.float_val[:]
    assert tensor_from_proto(proto).array.tolist() == [[0, 0], [0, 0]]


def test_weights_are_not_copied_twice() -> None:
    proto = tf.make_tensor_proto(np.zeros(1000, np.float32))
    array = tensor_from_proto(proto).array
    assert not array.flags.owndata and not array.flags.writeable


def test_data_that_do_not_fit_the_shape_are_refused() -> None:
    proto = tf.make_tensor_proto(np.zeros(4, np.float32))
    proto.tensor_shape.dim[0].size = 5
    with pytest.raises(InvalidModel, match=r"here: holds a constant whose data do not fit its type float32\[5\]"):
        tensor_from_proto(proto, "here")


def test_a_tensor_in_the_wrong_numpy_type_is_refused() -> None:
    with pytest.raises(TypeError, match="float32 tensor is held as numpy float64"):
        tensor_to_proto(Tensor(np.zeros(2), DType.FLOAT32))


def test_cycle_is_refused() -> None:
    graph_def = graph_pb2.GraphDef()
    for name, reads in (("a", "b"), ("b", "a")):
        graph_def.node.add(name=name, op="Relu", input=[reads]).attr["T"].type = 1
    with pytest.raises(InvalidModel, match="cycle"):
        from_graph_def(graph_def)


def test_a_graph_that_tensorflow_refuses_is_refused() -> None:
    matmul = Node("m", "MatMul", (Value("x"), Value("x")), {"T": DType.FLOAT32})
    x = Node("x", "Placeholder", (), {"dtype": DType.FLOAT32, "shape": Shape.of(2, 3)})
    with pytest.raises(InvalidModel, match=r"TensorFlow does not accept the graph: .*\{node m\}"):
        from_graph_def(to_graph_def(Graph((x, matmul))))


def test_function_calls_are_refused_by_name() -> None:
    inner = tf.function(lambda x: x + 1.0)
    outer = tf.function(lambda x: inner(x)).get_concrete_function(tf.TensorSpec([2]))
    with pytest.raises(UnsupportedModel, match="PartitionedCall calls the function __inference"):
        from_graph_def(outer.graph.as_graph_def())


CALLS = """graph {
  %x = Placeholder() {dtype: float32, shape: [2]} -> float32[2]
  %which = Placeholder() {dtype: bool, shape: []} -> bool[]
  %rnn/choice = StatelessIf(%which, %x) {Tcond: bool, Tin: (float32), Tout: (float32), else_branch: graph {
    %X = Placeholder() {dtype: float32, shape: [2]} -> float32[2]
    %x = Neg(%X) {T: float32} -> float32[2]
    inputs %X
    outputs %x
  }, output_shapes: ([2]), then_branch: graph {
    %y = Placeholder() {dtype: float32, shape: [2]} -> float32[2]
    %axis = Const() {dtype: int32, value: int32[] 0} -> int32[]
    %parts = Split(%axis, %y, ^y) {T: float32, num_split: 2} -> float32[1], float32[1]
    %joined = ConcatV2(%parts:1, %parts, %axis) {N: 2, T: float32, Tidx: int32} -> float32[2]
    inputs %y
    outputs %joined
  }} -> float32[2]
  inputs %x, %which
  outputs %rnn/choice
}
"""


def test_functions_are_named_by_their_place() -> None:
    graph = parse(CALLS)
    written = to_graph_def(graph)
    assert [f.signature.name for f in written.library.function] == ["rnn_choice_else_branch", "rnn_choice_then_branch"]
    (choice,) = (node for node in written.node if node.op == "StatelessIf")
    assert choice.attr["then_branch"].func.name == "rnn_choice_then_branch"
    assert choice.attr["_lower_using_switch_merge"].b
    negated, split = written.library.function
    # An argument has small letters, and no node's name.
    assert [arg.name for arg in negated.signature.input_arg] == ["x_1"]
    assert [(node.name, list(node.input)) for node in split.node_def[1:]] == [
        ("parts", ["axis:output:0", "y", "^y"]),
        ("joined", ["parts:output:1", "parts:output:0", "axis:output:0"]),
    ]


@pytest.mark.parametrize("which", [True, False])
def test_tensorflow_runs_functions(which: bool) -> None:
    graph = parse(CALLS)
    (made,) = run_graph(graph, {"x": np.float32([1, 2]), "which": np.array(which)})
    np.testing.assert_array_equal(made, [2, 1] if which else [-1, -2])


def test_functions_come_back() -> None:
    graph = parse(CALLS)
    again = replace(graph["rnn/choice"], name="again")
    written = to_graph_def(replace(graph, nodes=(*graph.nodes, again)))
    read = from_graph_def(written, inputs=graph.inputs, outputs=graph.outputs)
    verify(read)
    assert dict(bodies(read["again"])) == dict(bodies(read["rnn/choice"])), "a function is one Graph, whoever calls it"
    again_read = from_graph_def(to_graph_def(read), inputs=graph.inputs, outputs=graph.outputs)
    assert to_text(again_read) == to_text(read)
    for which in (True, False):
        (made,) = run_graph(read, {"x": np.float32([1, 2]), "which": np.array(which)})
        np.testing.assert_array_equal(made, [2, 1] if which else [-1, -2])


def test_a_loop_that_tensorflow_drew_computes_the_same() -> None:
    """Its body calls a function, and branches in there have functions of their own."""

    @tf.function
    def halved(x: tf.Tensor) -> tf.Tensor:
        return tf.cond(tf.reduce_sum(x) > 10.0, lambda: x / 2.0, lambda: x / 4.0)

    @tf.function
    def shrink(x: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda x: tf.reduce_sum(x) > 1.0, lambda x: [halved(x)], [x])[0]

    drawn = shrink.get_concrete_function(tf.TensorSpec([None], tf.float32, "x")).graph.as_graph_def()
    graph = from_graph_def(drawn, inputs=["x"], outputs=[Value("Identity")])
    verify(graph)
    x = np.float32([30, 50])
    np.testing.assert_array_equal(run_graph(graph, {"x": x})[0], shrink(x).numpy())


def test_a_function_that_is_not_there_is_named() -> None:
    written = to_graph_def(parse(CALLS))
    del written.library.function[:]
    with pytest.raises(InvalidModel, match="rnn_choice_else_branch"):
        from_graph_def(written)


def test_one_graph_is_one_function() -> None:
    graph = parse(CALLS)
    node = graph["rnn/choice"]
    again = replace(graph, nodes=(*graph.nodes, replace(node, name="again")))
    assert len(to_graph_def(again).library.function) == 2


def test_a_loop_without_output_shapes_has_values_of_any_shape_within() -> None:
    loop = parse("""graph {
      %x = Placeholder() {dtype: float32, shape: [2]} -> float32[2]
      %loop = StatelessWhile(%x) {T: (float32), body: graph {
        %x = Placeholder() {dtype: float32, shape: [*]} -> float32[*]
        %y = Neg(%x) {T: float32} -> float32[*]
        inputs %x
        outputs %y
      }, cond: graph {
        %x = Placeholder() {dtype: float32, shape: [*]} -> float32[*]
        %no = Const() {dtype: bool, value: bool[] false} -> bool[]
        inputs %x
        outputs %no
      }, output_shapes: (), parallel_iterations: 10} -> float32[*]
      outputs %loop
    }""")
    typed = Graph(with_types(loop.nodes), loop.inputs, loop.outputs)
    assert to_text(typed) == to_text(loop)
    shaped = with_types([n.with_attrs(output_shapes=(Shape.of(2),)) if n.name == "loop" else n for n in loop.nodes])
    assert {str(out) for node in shaped for _, body in bodies(node) for n in body for out in n.outputs} == {
        "float32[2]",
        "bool[]",
    }
