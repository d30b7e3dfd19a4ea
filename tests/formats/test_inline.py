"""What a call promises holds in the flat graph: what does something still runs, and in its order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.formats.session import run
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.passes.registry import steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe

X = [models.floats(None, name="x")]


def exported(directory: Path, serve: object) -> Model:
    return read_saved_model(models.save(tf.Module(), directory, serving_default=serve))


def as_graph(directory: Path, serve: Callable[[tf.Tensor], tf.Tensor]) -> Model:
    """As TensorFlow 1 writes it: an output waits for nothing that it does not say."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [2], "x")
        tf.compat.v1.saved_model.simple_save(session, str(directory), {"x": x}, {"y": serve(x)})
    return read_saved_model(directory)


def exact(model: Model) -> Model:
    return run_pipeline(model, load_recipe("exact")).model


def positive(x: tf.Tensor) -> None:
    tf.raw_ops.Assert(condition=tf.reduce_all(x > 0), data=["not positive"])


def test_an_assertion_in_a_body_guards_every_output(tmp_path: Path) -> None:
    @tf.function(input_signature=X)
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        positive(x)
        return {"double": x * 2, "constant": tf.constant(1.0)}

    model = exported(tmp_path / "m", serve)
    assert run(model, "serving_default", x=[1.0, 2.0])["double"].tolist() == [2, 4]
    for name in ("double", "constant"):
        # One output alone must fail as well.
        signature = model.signatures["serving_default"]
        alone = type(signature)(signature.inputs, {name: signature.outputs[name]})
        with pytest.raises(tf.errors.InvalidArgumentError, match="not positive"):
            run(Model(model.graph, {"alone": alone}), "alone", x=[-1.0])


def test_an_assertion_in_a_function_whose_result_nobody_reads_still_runs(tmp_path: Path) -> None:
    @tf.function
    def checked(x: tf.Tensor) -> tf.Tensor:
        positive(x)
        return x + 1.0

    @tf.function(input_signature=X)
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        checked(x)
        return {"y": x * 2}

    model = exported(tmp_path / "m", serve)
    assert "AddV2" not in model.graph.by_op
    with pytest.raises(tf.errors.InvalidArgumentError, match="not positive"):
        run(model, "serving_default", x=[-1.0])


def test_an_assertion_that_only_a_constant_waits_for_still_runs(tmp_path: Path) -> None:
    @tf.function(input_signature=X)
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        positive(x)
        with tf.control_dependencies([op for op in x.graph.get_operations() if op.type == "Assert"]):
            # TensorFlow lets the sum wait for its constant alone.
            more = x + tf.fill([2], 1.0)
        return {"more": more}

    model = exported(tmp_path / "m", serve)
    for step in ("fold_constants", "remove_identities", "remove_dead"):
        model = steps()[step].run_model(model).model
    assert run(model, "serving_default", x=[1.0, 2.0])["more"].tolist() == [2, 3]
    with pytest.raises(tf.errors.InvalidArgumentError, match="not positive"):
        run(model, "serving_default", x=[-1.0, 2.0])


@pytest.mark.parametrize("size", ["shape", "rank", "size", "reshape"])
def test_an_assertion_that_only_a_shape_waits_for_still_runs(size: str, tmp_path: Path) -> None:
    def serve(x: tf.Tensor) -> tf.Tensor:
        positive(x)
        with tf.control_dependencies(x.graph.get_operations()[-1:]):
            waits = tf.tanh(x)
        # That of `waits` is known without `waits`; what the sum reads must wait all the same.
        if size == "reshape":
            return tf.reshape(x * 2.0, tf.raw_ops.Shape(input=waits))
        made = {"shape": tf.raw_ops.Shape, "rank": tf.raw_ops.Rank, "size": tf.raw_ops.Size}[size](input=waits)
        return x + tf.cast(tf.reduce_sum(made), tf.float32)

    model = exact(as_graph(tmp_path / "m", serve))
    assert run(model, "serving_default", x=[1.0, 2.0])["y"].shape == (2,)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not positive"):
        run(model, "serving_default", x=[-1.0, 2.0])


def test_what_waits_for_a_call_waits_for_what_the_call_does(tmp_path: Path) -> None:
    check = tf.function(positive)

    @tf.function(input_signature=X)
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([x * 3]):
            check(x)
        with tf.control_dependencies([tf.identity(x)]):
            y = tf.sqrt(x)
        return {"y": y}

    graph = exported(tmp_path / "m", serve).graph
    controls = {control for node in graph for control in node.controls}
    assert {graph[name].op for name in controls} == {"Assert"}
    assert "Mul" not in graph.by_op


def test_waiting_for_what_only_computes_is_dropped(tmp_path: Path) -> None:
    @tf.function
    def inner(x: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.exp(x)]):
            return x + 1.0

    @tf.function(input_signature=X)
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.abs(x)]):
            return {"y": inner(x)}

    graph = exported(tmp_path / "m", serve).graph
    assert not any(node.controls for node in graph)
    assert not {"Exp", "Abs", "NoOp"} & set(graph.by_op)


def test_functions_with_many_outputs_are_wired_by_number(tmp_path: Path) -> None:
    @tf.function
    def parts(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        values, indices = tf.math.top_k(x, 2)
        first, second, third = tf.split(x, 3)
        return third, tf.cast(indices, tf.float32), first, values, second

    @tf.function(input_signature=[models.floats(3, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        third, indices, first, values, second = parts(x)
        return {"y": tf.concat([first, second * 10, third * 100, indices, values], 0)}

    got = run(exported(tmp_path / "m", serve), "serving_default", x=[1.0, 3.0, 2.0])
    assert got["y"].tolist() == [1, 30, 200, 1, 2, 3, 2]


def test_one_constant_of_a_function_called_twice_is_one_tensor(tmp_path: Path) -> None:
    kernel = tf.constant(models.weights(50, 50))

    @tf.function
    def project(x: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(tf.constant(kernel.numpy()), x)

    @tf.function(input_signature=[models.floats(50, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": project(project(x))}

    graph = exported(tmp_path / "m", serve).graph
    large = [node.tensor for node in graph.by_op["Const"] if node.tensor.array.size == 2500]
    assert len(large) == 2 and large[0] is large[1]


def test_random_numbers_keep_their_own_op(tmp_path: Path) -> None:
    """Dropping an unread one changes nothing; a read one is carried as it is."""

    @tf.function(input_signature=X)
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.random.normal([1000])
        return {"y": x + tf.random.uniform([1], seed=1)}

    graph = exported(tmp_path / "m", serve).graph
    assert "RandomUniform" in graph.by_op and "RandomStandardNormal" not in graph.by_op
    assert np.isfinite(run(exported(tmp_path / "again", serve), "serving_default", x=[1.0])["y"]).all()
