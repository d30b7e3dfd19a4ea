"""Loops and branches: read, rewritten, written and read again, and the same in both of TensorFlow's loaders."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.formats.edit import edited
from tests.formats.session import assert_same
from tests.targets.conftest import tree
from tfopt.errors import ExecutionError, TfoptError, UnsafeModel, UnsupportedModel
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import DType, Graph, Model
from tfopt.ir.bodies import all_nodes, bodies, graphs
from tfopt.ir.verify import verify_model
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.targets.saved_model import write_saved_model
from tfopt.targets.twin_signatures import twins

Built = Callable[[Callable[[Path], Path]], Path]

X = models.weights(2, 3, seed=7)
WORDS = np.array([b"fox", b"?", b"the", b"the"], object)
ZOO: dict[str, tuple[Callable[[Path], Path], list[dict[str, np.ndarray]]]] = {
    "loop": (models.loop, [{"x": np.float32(-3)}]),
    "lstm": (models.lstm, [{"x": models.weights(5, 6, 3, seed=8)}]),
    "recurrent": (models.recurrent, [{"ids": np.int32([[1, 2, 0, 0], [3, 4, 5, 9]])}, {"ids": np.int32([[1]])}]),
    "branches": (models.branches, [{"x": sign * abs(X), "index": np.int32(i)} for sign in (1, -1) for i in (0, 1, 7)]),
    "nested_loops": (models.nested_loops, [{"x": X, "n": np.int32(n)} for n in (0, 1, 4)]),
    "loop_over_table": (models.loop_over_table, [{"words": WORDS}, {"words": WORDS[:0]}]),
    "asserted": (models.asserted, [{"x": X}]),
}


@cache
def exact(path: Path) -> Model:
    return run_pipeline(read_saved_model(path), load_recipe("exact")).model


@pytest.mark.parametrize("name", ZOO)
def test_the_model_in_memory_computes_what_tensorflow_computes(name: str, built: Built) -> None:
    builder, calls = ZOO[name]
    model = read_saved_model(built(builder))
    for inputs in calls:
        assert_same(model, built(builder), **inputs)


@pytest.mark.parametrize("variables_over", [None, 16], ids=["constants", "variables"])
@pytest.mark.parametrize("name", ZOO)
def test_what_is_rewritten_computes_the_same_in_both_loaders(
    name: str, variables_over: int | None, built: Built, tmp_path: Path
) -> None:
    builder, calls = ZOO[name]
    model = exact(built(builder))
    write_saved_model(model, tmp_path / "written", variables_over=variables_over)
    moved = (tmp_path / "written").rename(tmp_path / "moved")
    loaded = tf.saved_model.load(str(moved)).signatures["serving_default"]
    with TensorFlowRuntime(built(builder)) as original, TensorFlowRuntime(moved) as written:
        for inputs in calls:
            expected = original.run("serving_default", inputs)
            v2 = loaded(**{key: tf.constant(value) for key, value in inputs.items()})
            for found in (written.run("serving_default", inputs), {key: value.numpy() for key, value in v2.items()}):
                assert found.keys() == expected.keys()
                for output, array in expected.items():
                    np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["recurrent", "branches", "loop_over_table"])
def test_the_same_model_gives_the_same_bytes(name: str, built: Built, tmp_path: Path) -> None:
    for copy in ("first", "second"):
        write_saved_model(read_saved_model(built(ZOO[name][0])), tmp_path / copy, variables_over=16)
    assert tree(tmp_path / "first") == tree(tmp_path / "second")
    again = read_saved_model(tmp_path / "first")
    verify_model(again)
    write_saved_model(again, tmp_path / "third", variables_over=16)
    assert len(list(all_nodes(read_saved_model(tmp_path / "third").graph))) == len(list(all_nodes(again.graph)))


def functions(graph: Graph, op: str) -> dict[str, Graph]:
    (node,) = graph.by_op[op]
    return dict(bodies(node))


def test_a_loop_carries_no_variable_and_each_is_one_tensor(built: Built) -> None:
    graph = read_saved_model(built(models.nested_loops)).graph
    assert not any(node.op in ("VarHandleOp", "ReadVariableOp") for node in all_nodes(graph))
    assert not any(out.dtype is DType.RESOURCE for node in all_nodes(graph) for out in node.outputs)
    weights = [n.tensor for n in all_nodes(graph) if n.op == "Const" and n.tensor.shape.dims == (3, 3)]
    assert weights
    assert len(set(map(id, weights))) == 1


def test_what_has_no_state_says_so_and_a_table_is_one(built: Built) -> None:
    ops = {node.op for node in all_nodes(read_saved_model(built(models.nested_loops)).graph)}
    assert {"StatelessWhile", "StatelessIf"} <= ops
    assert not {"While", "If", "PartitionedCall", "StatefulPartitionedCall"} & ops
    table = read_saved_model(built(models.loop_over_table)).graph
    assert len(table.by_op["While"]) == 2
    assert sum(node.op == "HashTableV2" for node in all_nodes(table)) == 1


def test_values_in_functions_have_types(built: Built) -> None:
    graph = read_saved_model(built(models.lstm)).graph
    body = next(dict(bodies(node))["body"] for node in graph.by_op["StatelessWhile"])
    shapes = {str(node.outputs[0]) for node in body if node.op == "MatMul"}
    assert shapes == {"float32[?,16]"}


def test_signatures_with_equal_functions_are_twins(built: Built) -> None:
    model = read_saved_model(built(models.recurrent))
    assert twins(model) == {"serve": "serving_default"}
    assert twins(exact(built(models.recurrent))) == {"serve": "serving_default"}


def test_a_failing_assertion_in_a_branch_still_fails(built: Built, tmp_path: Path) -> None:
    model = exact(built(models.asserted))
    assert "Assert" in {node.op for found in list(graphs(model.graph))[1:] for node in found}
    write_saved_model(model, tmp_path / "written")
    with TensorFlowRuntime(tmp_path / "written") as runtime:
        runtime.run("serving_default", {"x": X})
        with pytest.raises(ExecutionError, match="the sum is too small"):
            runtime.run("serving_default", {"x": X * 0 - 100})


def refused(path: Path, error: type[TfoptError], *words: str) -> None:
    with pytest.raises(error) as caught:
        read_saved_model(path)
    for word in words:
        assert word in str(caught.value)


def test_a_loop_that_writes_a_variable(built: Built) -> None:
    words = ("signature serving_default reaches AssignAddVariableOp", "changes its own state")
    refused(built(models.stateful_loop), UnsupportedModel, *words)


def test_a_stateful_rnn(tmp_path: Path) -> None:
    layer = tf.keras.layers.LSTM(2, stateful=True)
    layer.build((1, 3, 2))
    spec = tf.TensorSpec([1, 3, 2], tf.float32, name="x")
    module = tf.Module()
    module.layer = layer
    serve = tf.function(lambda x: {"y": layer(x)}, input_signature=[spec])
    path = models.save(module, tmp_path / "m", serving_default=serve)
    refused(path, UnsupportedModel, "AssignVariableOp", "changes its own state")


def save_one(directory: Path, function: Callable[[tf.Tensor], tf.Tensor], module: tf.Module | None = None) -> Path:
    serve = tf.function(lambda x: {"y": function(x)}, input_signature=[models.floats(None, 3, name="x")])
    return models.save(module or tf.Module(), directory, serving_default=serve)


def test_what_is_unsafe_is_so_in_a_branch(tmp_path: Path) -> None:
    def read(x: tf.Tensor) -> tf.Tensor:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.io.read_file("/etc/hostname"), lambda: tf.constant(""))

    refused(save_one(tmp_path / "m", read), UnsafeModel, "serving_default reaches ReadFile")


def test_branches_that_choose_a_resource(tmp_path: Path) -> None:
    module = tf.Module()
    module.first, module.second = tf.Variable([1.0]), tf.Variable([2.0])

    def choose(x: tf.Tensor) -> tf.Tensor:
        first, second = module.first.handle, module.second.handle
        chosen = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.identity(first), lambda: tf.identity(second))
        return tf.raw_ops.ReadVariableOp(resource=chosen, dtype=tf.float32)

    refused(save_one(tmp_path / "m", choose, module), UnsupportedModel, "If, which chooses between resources")


def test_a_function_that_calls_itself(built: Built, tmp_path: Path) -> None:
    def recurse(meta_graph: object) -> None:
        for function in meta_graph.graph_def.library.function:  # type: ignore[attr-defined]  # a MetaGraphDef
            for node in function.node_def:
                if "body" in node.attr:
                    node.attr["cond"].func.name = function.signature.name

    refused(edited(built(models.loop), tmp_path / "m", recurse), UnsupportedModel, "calls itself")


def test_a_batched_function_and_what_it_captures(tmp_path: Path) -> None:
    module = tf.Module()
    module.w = tf.Variable(models.weights(3, 3))
    batched = tf.nondifferentiable_batch_function(1, 10, 10)(lambda x: x @ module.w)
    path = save_one(tmp_path / "m", batched, module)
    model = exact(path)
    assert [len(node.inputs) for node in model.graph.by_op["BatchFunction"]] == [1]
    assert_same(model, path, x=X)


class InitialisedInABranch(tf.lookup.TextFileInitializer):
    def initialize(self, table: tf.lookup.StaticHashTable) -> None:
        fill = super().initialize

        def filled() -> tf.Tensor:
            fill(table)
            return tf.constant(True)

        tf.cond(tf.strings.length(self._filename) > 0, filled, lambda: tf.constant(False))


def export_table(directory: Path) -> Path:
    directory.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = directory.parent / "vocabulary.txt"
    vocabulary.write_text("fox\nthe\n")
    module = tf.Module()
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    filled = InitialisedInABranch(str(vocabulary), tf.string, line, tf.int64, number)
    module.ids = tf.lookup.StaticHashTable(filled, -1)
    spec = tf.TensorSpec([None], tf.string, name="words")
    serve = tf.function(lambda words: {"ids": module.ids.lookup(words)}, input_signature=[spec])
    return models.save(module, directory, serving_default=serve)


def test_a_table_that_is_filled_in_a_branch(tmp_path: Path) -> None:
    path = export_table(tmp_path / "m")
    model = exact(path)
    assert "InitializeTableFromTextFileV2" not in model.graph.by_op
    assert_same(model, path, words=WORDS)
    write_saved_model(model, tmp_path / "written")
    with TensorFlowRuntime(tmp_path / "written") as runtime:
        assert runtime.run("serving_default", {"words": WORDS})["ids"].tolist() == [0, -1, 1, 1]


def test_a_table_that_is_filled_in_a_branch_from_a_file_of_no_asset(tmp_path: Path) -> None:
    def name_a_file(meta_graph: object) -> None:
        del meta_graph.asset_file_def[:]  # type: ignore[attr-defined]  # a MetaGraphDef

    path = edited(export_table(tmp_path / "m"), tmp_path / "edited", name_a_file)
    refused(path, UnsafeModel, "InitializeTableFromTextFileV2", "not an asset")


def test_a_list_of_tensors_goes_through_a_loop(tmp_path: Path) -> None:
    def rows(x: tf.Tensor) -> tf.Tensor:
        found = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[3])
        for i in tf.range(tf.shape(x)[0]):
            found = found.write(i, x[i] * 2.0)
        return found.stack()

    path = save_one(tmp_path / "m", rows)
    assert_same(exact(path), path, x=X)


@pytest.mark.parametrize(
    ("attr", "words"), [("type_attr", "whose caller chooses the type of"), ("number_attr", "with the list argument")]
)
def test_a_function_whose_arguments_are_open(attr: str, words: str, built: Built, tmp_path: Path) -> None:
    def open_up(meta_graph: object) -> None:
        for function in meta_graph.graph_def.library.function:  # type: ignore[attr-defined]  # a MetaGraphDef
            for arg in function.signature.input_arg:
                setattr(arg, attr, "T")

    refused(edited(built(models.loop), tmp_path / "m", open_up), UnsupportedModel, "is a function", words)
