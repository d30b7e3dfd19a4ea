"""SavedModels as TensorFlow 1 wrote them: one graph, sessions, collections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.python.framework.function import Defun
from tensorflow.python.training import saver

from tests.formats.edit import edited
from tests.formats.session import assert_same, run
from tests.models import WORDS
from tfopt.compression import compress
from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.protos import AttrValue, MetaGraphDef, NodeDef, SavedModel
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import DType, Model, Shape, TensorType
from tfopt.ir.rewrite import reachable
from tfopt.ir.verify import verify_model
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.targets.saved_model import write_saved_model

v1 = tf.compat.v1
Tensors = Mapping[str, tf.Tensor]
X = np.array([[1.0, -2.0, 3.0]], np.float32)


def saved(
    directory: Path,
    *signatures: tuple[str, Tensors, Tensors],
    main_op: tf.Operation | None = None,
    legacy_init_op: tf.Operation | None = None,
) -> Path:
    """Save the default graph, its variables initialised."""
    infos = {
        key: v1.saved_model.build_signature_def(
            {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in inputs.items()},
            {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in outputs.items()},
            "tensorflow/serving/predict",
        )
        for key, inputs, outputs in signatures
    }
    with v1.Session() as session:
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(directory))
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(
            session, ["serve"], infos, assets_collection=assets, main_op=main_op, legacy_init_op=legacy_init_op
        )
        builder.save()
    return directory


@pytest.mark.parametrize("argument", ["main_op", "legacy_init_op"])
def test_tables_and_resource_variables(tmp_path: Path, argument: str) -> None:
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS))
    with tf.Graph().as_default():
        words = v1.placeholder(tf.string, [None], "words")
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        lines = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, line, tf.int64, number)
        ids = tf.lookup.StaticHashTable(lines, 0).lookup(words)
        vectors = v1.get_variable("vectors", [4, 2], use_resource=True, initializer=v1.random_normal_initializer())
        signature = ("serving_default", {"words": words}, {"ids": ids, "vectors": tf.gather(vectors, ids)})
        path = saved(tmp_path / "m", signature, **{argument: v1.tables_initializer()})
    vocabulary.unlink()
    model = read_saved_model(path)
    assert [asset.filename for asset in model.assets] == ["vocabulary.txt"]
    assert_same(model, path, words=np.array(["fox", "cow", "quick"]))


def test_signatures_share_a_placeholder(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "features")
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"y": tf.exp(x)}),
            ("negative", {"input": x}, {"y": tf.negative(x)}),
        )
    model = read_saved_model(path)
    assert model.graph.inputs == ("x",)
    assert model.signatures["negative"].inputs["input"].node == "x"
    assert run(model, "negative", input=X)["y"].tolist() == [[-1, 2, -3]]


def test_calls_by_function_name(tmp_path: Path) -> None:
    @Defun(tf.float32, func_name="square_sum")
    def square_sum(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.square(x), tf.reduce_sum(x)

    @Defun(tf.float32, func_name="nested")
    def nested(x: tf.Tensor) -> tf.Tensor:
        square, total = square_sum(x)
        return square + total

    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": nested(x)}))
    model = read_saved_model(path)
    assert {"Square", "Sum"} <= set(model.graph.by_op)
    assert run(model, "serving_default", x=X)["y"].tolist() == [[3, 6, 11]]


def test_a_variable_that_the_initialiser_sets_stays_a_variable(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        offset = v1.get_variable("offset", [], use_resource=True, collections=[v1.GraphKeys.LOCAL_VARIABLES])
        scale = v1.get_variable("scale", [], use_resource=True, initializer=v1.constant_initializer(2.0))
        unread = v1.get_variable("unread", [], use_resource=True, collections=[v1.GraphKeys.LOCAL_VARIABLES])
        y = x * scale + offset
        prepare = tf.group(offset.assign(5.0), unread.assign(1.0))
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": y}), main_op=prepare)
    model = read_saved_model(path)
    assert [node.name for node in model.graph.by_op["VarHandleOp"]] == ["offset"]
    assert len(model.graph.by_op["AssignVariableOp"]) == 1
    assert run(model, "serving_default", x=X)["y"].tolist() == [[7, 1, 11]]


def test_defaults_of_placeholders_that_no_signature_feeds(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        factor = v1.placeholder_with_default(3.0, [], "factor")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": x * factor}))
    assert run(read_saved_model(path), "serving_default", x=X)["y"].tolist() == [[3, -6, 9]]


def test_a_signature_may_feed_what_it_computes_elsewhere(tmp_path: Path) -> None:
    """The first half of the graph is neither run nor read when its result is fed."""
    with tf.Graph().as_default():
        serialized = v1.placeholder(tf.string, [], "serialized")
        parsed = tf.reshape(tf.io.decode_raw(serialized, tf.float32), [1, 3])
        path = saved(tmp_path / "m", ("serving_default", {"x": parsed}, {"y": tf.abs(parsed)}))
    model = read_saved_model(path)
    assert {node.op for node in model.graph} <= {"Placeholder", "Abs"}
    assert run(model, "serving_default", x=X)["y"].tolist() == [[1, 2, 3]]


@pytest.fixture
def control_flow_v1() -> Iterator[None]:
    """Loops and branches as edges of the graph, which is TensorFlow 1's way."""
    v1.disable_control_flow_v2()
    yield
    v1.enable_control_flow_v2()


def assert_carried(path: Path, *feeds: Mapping[str, np.ndarray]) -> Model:
    """What is read computes what the session computes that TensorFlow Serving would run, and so does what is written
    after the exact recipe."""
    for feed in feeds:
        model = assert_carried_each(path, {"serving_default": feed})
    return model


def assert_carried_each(path: Path, feeds: Mapping[str, Mapping[str, np.ndarray]]) -> Model:
    """As `assert_carried`, with a feed of its own for each signature."""
    model = read_saved_model(path)
    verify_model(model)
    compressed = path.with_name("compressed")
    if not compressed.exists():
        compress(path, compressed)
    with TensorFlowRuntime(path) as original, TensorFlowRuntime(compressed) as written, ModelRunner(model) as runner:
        for key, feed in feeds.items():
            expected = original.run(key, feed)
            for got in (runner.run(key, feed), written.run(key, feed)):
                assert sorted(got) == sorted(expected)
                for name, array in expected.items():
                    np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6)
    return model


def test_reference_variables_are_read(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        old = v1.get_variable("old", [3], use_resource=False)
        unread = v1.get_variable("unread", [3], use_resource=False)
        initialized = v1.is_variable_initialized(old)
        y = tf.where(initialized, x * old, x) + tf.raw_ops.Neg(x=old._ref())
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": y}))
    model = assert_carried(path, {"x": X})
    assert [node.name for node in model.graph.by_op["Const"] if node.tensor.array.shape == (3,)] == ["old"]
    assert unread.op.name not in model.graph


def test_the_oldest_variables_are_read(tmp_path: Path) -> None:
    """`Variable` did not tell a scalar from an unknown shape."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(
            tmp_path / "m", ("serving_default", {"x": x}, {"y": x * v1.get_variable("w", [3], use_resource=False)})
        )

    def age(meta_graph: MetaGraphDef) -> None:
        for node in meta_graph.graph_def.node:
            if node.op == "VariableV2":
                node.op = "Variable"
        meta_graph.graph_def.versions.producer = 17

    assert_carried(edited(path, tmp_path / "old", age), {"x": X})


@pytest.mark.parametrize("use_resource", [False, True])
def test_partitioned_variables_are_stitched_together(tmp_path: Path, use_resource: bool) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        with v1.variable_scope("layer", partitioner=v1.fixed_size_partitioner(2), use_resource=use_resource):
            w = v1.get_variable("w", [3, 4])
        with v1.variable_scope("table", partitioner=v1.fixed_size_partitioner(3), use_resource=use_resource):
            rows = v1.nn.embedding_lookup(v1.get_variable("t", [7, 2]), tf.cast(tf.abs(x[:, 0]), tf.int32), "div")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.matmul(x, w), "rows": rows}))
    model = assert_carried(path, {"x": X}, {"x": X + 5})
    shapes = [
        node.tensor.array.shape for node in model.graph.by_op["Const"] if node.name.startswith(("layer", "table"))
    ]
    assert {(2, 4), (1, 4), (3, 2), (2, 2)} <= set(shapes)


def test_a_signature_that_writes_a_reference_is_refused(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [], "x")
        count = v1.get_variable("count", [], use_resource=False)
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"count": v1.assign_add(count, x)}))
    with pytest.raises(UnsupportedModel, match="signature serving_default reaches AssignAddVariableOp"):
        read_saved_model(path)


@pytest.mark.parametrize("use_resource", [False, True])
def test_loops_and_branches_of_the_old_kind(tmp_path: Path, control_flow_v1: None, use_resource: bool) -> None:
    """Constants that look alike within and without, a variable that loop and branch take in, a loop in a loop."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        w = v1.get_variable("w", [3], use_resource=use_resource)

        def inner(y: tf.Tensor) -> tf.Tensor:
            more = tf.constant(0.5) * tf.constant(2.0)
            return tf.while_loop(lambda z: tf.reduce_sum(tf.abs(z)) < 4.0, lambda z: [z * 1.5 + more], [y])[0]

        def step(count: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return count + 1, inner(tf.tanh(y * w + tf.constant(0.5) * tf.constant(2.0)))

        looped = tf.while_loop(lambda count, _: count < 3, step, [tf.constant(0), x])[1]
        some = tf.constant(0.5) * tf.constant(2.0)
        branched = tf.cond(
            tf.reduce_sum(x) > 0.0,
            lambda: looped * w + tf.constant(0.5) * tf.constant(2.0),
            lambda: tf.cond(x[0, 0] > -2.0, lambda: looped - w, lambda: looped * some),
        )
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"looped": looped, "branched": branched + some}))
    model = assert_carried(path, {"x": X}, {"x": -X}, {"x": -3 * np.abs(X)})
    assert {"Enter", "Exit", "NextIteration", "LoopCond", "Switch", "Merge"} <= set(model.graph.by_op)


def test_an_input_that_another_signature_computes(tmp_path: Path) -> None:
    """Each signature has its own copy of what the other one sees differently; the weight stays one."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        w = v1.get_variable("w", [3], use_resource=False)
        factor = v1.placeholder_with_default(3.0, [], "factor")
        middle = tf.exp(x, "middle")
        y = middle * w * factor
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"y": y, "middle": middle}),
            ("second_half", {"middle": middle}, {"y": y}),
            ("scaled", {"x": x, "factor": factor}, {"y": y}),
        )
    model = read_saved_model(path)
    verify_model(model)
    assert model.signatures["scaled"].inputs["x"] == model.signatures["serving_default"].inputs["x"]
    assert len({id(node.tensor) for node in model.graph.by_op["Const"] if node.tensor.array.shape == (3,)}) == 1
    compressed = compress(path, tmp_path / "compressed").path
    feeds = {"serving_default": {"x": X}, "second_half": {"middle": X}, "scaled": {"x": X, "factor": np.float32(7)}}
    for key, feed in feeds.items():
        assert_same(model, path, key, **feed)
        with TensorFlowRuntime(path) as original, TensorFlowRuntime(compressed) as written:
            expected, got = original.run(key, feed), written.run(key, feed)
        for name, array in expected.items():
            np.testing.assert_allclose(got[name], array, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sparse", "ragged"])
def test_sparse_and_ragged_tensors_are_their_parts(tmp_path: Path, kind: str) -> None:
    with tf.Graph().as_default():
        if kind == "sparse":
            x = v1.sparse_placeholder(tf.float32, [None, 3], "x")
            y = tf.SparseTensor(x.indices, tf.exp(x.values), x.dense_shape)
            total = tf.sparse.reduce_sum(x, axis=1)
        else:
            x = v1.ragged.placeholder(tf.float32, 1, name="x")
            y = tf.ragged.map_flat_values(tf.exp, x)
            total = tf.reduce_sum(x, axis=1)
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": y, "total": total}))
    model = read_saved_model(path)
    inputs, outputs = model.signatures["serving_default"].inputs, model.signatures["serving_default"].outputs
    if kind == "sparse":
        feed = {"x/indices": np.array([[0, 1], [1, 2]]), "x/values": X[0, :2], "x/dense_shape": np.array([2, 3])}
        assert inputs["x/indices"].type == TensorType(DType.INT64, Shape.of(None, 2))
    else:
        feed = {"x/0": X[0], "x/1": np.array([0, 2, 3])}
    assert sorted(inputs) == sorted(feed) and len(outputs) == 1 + len(feed)
    written = tmp_path / "written"
    write_saved_model(model, written)
    with TensorFlowRuntime(path) as original, TensorFlowRuntime(written) as copy:
        expected, got = original.run("serving_default", feed), copy.run("serving_default", feed)
    assert sorted(expected) == sorted(outputs)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6)
    loaded, before = (tf.saved_model.load(str(place)).signatures["serving_default"] for place in (written, path))
    assert [type(made) for _, made in sorted(loaded.structured_outputs.items())] == [
        type(made) for _, made in sorted(before.structured_outputs.items())
    ]
    infos = [SavedModel.FromString((place / "saved_model.pb").read_bytes()) for place in (written, path)]
    assert (
        len(
            {
                saved.meta_graphs[0].signature_def["serving_default"].inputs["x"].WhichOneof("encoding")
                for saved in infos
            }
        )
        == 1
    )


def test_a_signature_without_inputs_and_one_without_outputs(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        w = v1.get_variable("w", [3], use_resource=False)
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"x": x, "y": x * w}),
            ("weights", {}, {"w": w}),
            ("ping", {"x": x}, {}),
        )
    model = read_saved_model(path)
    assert [len(signature.outputs) for signature in model.signatures.values()] == [2, 0, 1]
    compressed = compress(path, tmp_path / "compressed").path
    loaded = tf.saved_model.load(str(compressed))  # which refuses the original, for its reference
    with TensorFlowRuntime(compressed) as runtime, TensorFlowRuntime(path) as original:
        expected = original.run("weights", {})["w"]
        np.testing.assert_array_equal(runtime.run("weights", {})["w"], expected)
        np.testing.assert_array_equal(loaded.signatures["weights"]()["w"], expected)
        assert runtime.run("ping", {"x": X}) == {}
        assert runtime.run("serving_default", {"x": X})["x"].tolist() == X.tolist()


@pytest.mark.parametrize("kind", ["MutableHashTable", "MutableDenseHashTable", "HashTable", "MutableHashTableV2"])
def test_tables_of_all_kinds(tmp_path: Path, kind: str) -> None:
    """The mutable ones are filled from the checkpoint, the old ones have a reference for a handle."""
    with tf.Graph().as_default():
        words = v1.placeholder(tf.string, [None], "words")
        keys, numbers = tf.constant(WORDS), tf.constant([3, 1, 4, 1], tf.int64)
        missing = tf.constant(-1, tf.int64)
        restorable = "Mutable" in kind
        if kind == "MutableDenseHashTable":
            table = tf.lookup.experimental.DenseHashTable(tf.string, tf.int64, -1, "", "-")
        elif kind == "MutableHashTableV2":
            table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        if kind in ("MutableDenseHashTable", "MutableHashTableV2"):
            fill, found = table.insert(keys, numbers), table.lookup(words)
        elif kind == "MutableHashTable":
            handle = tf.raw_ops.MutableHashTable(key_dtype=tf.string, value_dtype=tf.int64, shared_name="old")
            fill = tf.raw_ops.LookupTableInsert(table_handle=handle, keys=keys, values=numbers)
            found = tf.raw_ops.LookupTableFind(table_handle=handle, keys=words, default_value=missing)
            v1.add_to_collection(v1.GraphKeys.SAVEABLE_OBJECTS, _OldTable(handle))
        else:
            handle = tf.raw_ops.HashTable(key_dtype=tf.string, value_dtype=tf.int64)
            fill = tf.raw_ops.InitializeTable(table_handle=handle, keys=keys, values=numbers)
            found = tf.raw_ops.LookupTableFind(table_handle=handle, keys=words, default_value=missing)
        v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, fill)
        scale = v1.get_variable("scale", [], tf.int64, initializer=v1.constant_initializer(2), use_resource=False)
        main_op = None if restorable else v1.tables_initializer()
        path = saved(tmp_path / "m", ("serving_default", {"words": words}, {"found": found * scale}), main_op=main_op)
    model = assert_carried(path, {"words": np.array(["fox", "the", "cow"], object)})
    assert model.init is not None
    (filled,) = (model.graph[name].op for name in model.graph[model.init].controls)
    assert filled == ("LookupTableInsertV2" if restorable else "InitializeTableV2")


class _OldTable(saver.BaseSaverBuilder.SaveableObject):
    """What TensorFlow 1 saved of a table whose handle is a reference."""

    def __init__(self, handle: tf.Tensor) -> None:
        self._handle = handle
        keys, values = tf.raw_ops.LookupTableExport(table_handle=handle, Tkeys=tf.string, Tvalues=tf.int64)
        specs = [
            saver.BaseSaverBuilder.SaveSpec(keys, "", "old-keys"),
            saver.BaseSaverBuilder.SaveSpec(values, "", "old-values"),
        ]
        super().__init__(handle, specs, handle.op.name)

    def restore(self, restored_tensors: list[tf.Tensor], restored_shapes: object) -> tf.Operation:
        keys, values = restored_tensors
        return tf.raw_ops.LookupTableImport(table_handle=self._handle, keys=keys, values=values)


def test_an_old_graph_in_the_words_of_its_time(tmp_path: Path) -> None:
    """Producer 8: a batch norm that was removed, placeholders whose shape said nothing, attributes not there yet."""
    with tf.Graph().as_default():
        image = v1.placeholder(tf.float32, None, "image")
        four = tf.reshape(image, [-1, 4, 4, 2])
        statistics = [tf.constant(np.abs(np.random.default_rng(s).normal(size=2)).astype(np.float32)) for s in range(4)]
        filters = v1.get_variable("filters", [3, 3, 2, 2], use_resource=False)
        filtered = tf.nn.conv2d(four, filters, 1, "SAME")
        attrs = {
            "T": AttrValue(type=tf.float32.as_datatype_enum),
            "variance_epsilon": AttrValue(f=0.01),
            "scale_after_normalization": AttrValue(b=False),
        }
        normalized = tf.nn.batch_normalization(filtered, *statistics[:3], None, 0.01)
        identity = tf.identity(normalized, "normalized")
        best = tf.nn.top_k(tf.reshape(identity, [-1, 32]), 3)
        fed = np.random.default_rng(9).normal(size=(2, 4, 4, 2)).astype(np.float32)
        path = saved(tmp_path / "m", ("serving_default", {"image": image}, {"y": identity, "best": best.values}))
    expected = run(read_saved_model(path), "serving_default", image=fed)

    def age(meta_graph: MetaGraphDef) -> None:
        nodes = {node.name: node for node in meta_graph.graph_def.node}
        old = NodeDef(name="old", op="BatchNormWithGlobalNormalization", attr=attrs)
        old.input.extend([filtered.op.name, *(tensor.op.name for tensor in statistics)])
        meta_graph.graph_def.node.append(old)
        nodes["normalized"].input[0] = "old"
        k = nodes[best.values.op.name]
        k.op = "TopK"
        del k.input[1], k.attr["Tk"], k.attr["index_type"]
        k.attr["k"].i = 3
        for node in meta_graph.graph_def.node:
            for newer in ("data_format", "dilations", "explicit_paddings", "use_cudnn_on_gpu", "_output_shapes"):
                node.attr.pop(newer, None)
        nodes["image"].attr["shape"].shape.Clear()
        meta_graph.graph_def.versions.producer = 6
        meta_graph.graph_def.versions.min_consumer = 0

    model = read_saved_model(edited(path, tmp_path / "old", age))
    assert {"FusedBatchNorm", "TopKV2"} <= set(model.graph.by_op)
    assert model.graph["image"].outputs[0].shape == Shape(None)
    got = run(model, "serving_default", image=fed)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5)


def test_ops_that_were_removed_are_refused_by_name(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.exp(x)}))

    def age(meta_graph: MetaGraphDef) -> None:
        next(node for node in meta_graph.graph_def.node if node.op == "Exp").op = "SelfAdjointEig"

    with pytest.raises(UnsupportedModel, match="reaches SelfAdjointEig, which TensorFlow removed in graph version 11"):
        read_saved_model(edited(path, tmp_path / "old", age))


def test_attributes_of_a_newer_tensorflow_that_say_nothing(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.exp(x)}))

    def renew(meta_graph: MetaGraphDef) -> None:
        next(node for node in meta_graph.graph_def.node if node.op == "Exp").attr["precision"].i = 7
        definition = next(op for op in meta_graph.meta_info_def.stripped_op_list.op if op.name == "Exp")
        definition.attr.add(name="precision", type="int").default_value.i = 7

    assert "precision" not in read_saved_model(edited(path, tmp_path / "new", renew)).graph["Exp"].attrs


def test_branches_that_are_never_taken(tmp_path: Path, control_flow_v1: None) -> None:
    """A batch norm and a dropout as TensorFlow 1 had them, a loop in a branch, and a condition that can be fed."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        training = v1.placeholder_with_default(False, [], "training")
        batch_mean = tf.reduce_mean(x, 0)
        stored = v1.get_variable("mean", [3], use_resource=False)
        mean = tf.cond(training, lambda: batch_mean * 1.0, lambda: tf.identity(stored))
        y = tf.cond(
            tf.logical_not(training),
            lambda: tf.cond(tf.reduce_sum(x) > 0.0, lambda: x - mean, lambda: x + mean),
            lambda: tf.while_loop(lambda z: tf.reduce_sum(z) < 9.0, lambda z: [z + 1.0], [x])[0],
        )
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"y": tf.exp(y)}),
            ("any_mode", {"x": x, "training": training}, {"y": tf.exp(y)}),
        )
    model = assert_carried_each(path, {"serving_default": {"x": X}, "any_mode": {"x": X, "training": np.array(True)}})
    assert_carried_each(path, {"serving_default": {"x": -X}, "any_mode": {"x": X, "training": np.array(False)}})
    served = reachable(model.graph, [model.graph.outputs[0].node])
    left = sorted(model.graph[name].op for name in served if model.graph[name].op in ("Merge", "Enter", "Switch"))
    assert left.count("Merge") == 1 and "Enter" not in left


def test_a_model_as_text(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": x * v1.get_variable("w", [3])}))
    expected = run(read_saved_model(path), "serving_default", x=X)
    content = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (path / "saved_model.pbtxt").write_text(text_format.MessageToString(content))
    (path / "saved_model.pb").unlink()
    model = assert_carried(path, {"x": X})
    np.testing.assert_array_equal(run(model, "serving_default", x=X)["y"], expected["y"])
    (path / "saved_model.pbtxt").write_text("meta_graphs {")
    with pytest.raises(InvalidModel, match=r"saved_model\.pbtxt: is not a SavedModel protobuf"):
        read_saved_model(path)


def test_several_meta_graphs(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.exp(x)}))
    file = path / "saved_model.pb"
    content = SavedModel.FromString(file.read_bytes())
    training = content.meta_graphs.add()
    training.CopyFrom(content.meta_graphs[0])
    training.meta_info_def.tags[:] = ["train"]
    next(node for node in training.graph_def.node if node.op == "Exp").op = "Neg"
    content.meta_graphs.insert(0, content.meta_graphs.pop())
    file.write_bytes(content.SerializeToString())
    assert "Exp" in read_saved_model(path).graph.by_op
    assert "Neg" in read_saved_model(path, tags=("train",)).graph.by_op
