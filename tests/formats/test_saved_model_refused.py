"""What is not a model, is broken, unsafe or not carried yet: each refused in words that name it."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.formats.edit import edited
from tfopt.errors import InvalidModel, NotFound, TfoptError, UnsafeModel, UnsupportedModel
from tfopt.formats.protos import MetaGraphDef, NodeDef
from tfopt.formats.saved_model import read_saved_model

Built = Callable[[Callable[[Path], Path]], Path]
X = [models.floats(None, 3, name="x")]
A_SAVED_MODEL_IS = "a SavedModel is a directory with a saved_model.pb"


@pytest.fixture
def copied(built: Built, tmp_path: Path) -> Callable[[Callable[[Path], Path]], Path]:
    return lambda builder: Path(shutil.copytree(built(builder), tmp_path / "copy"))


def refused(path: Path, error: type[TfoptError], *words: str, **options: object) -> None:
    with pytest.raises(error) as caught:
        read_saved_model(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def node_of(meta_graph: MetaGraphDef, op: str) -> NodeDef:
    bodies = [meta_graph.graph_def.node, *(function.node_def for function in meta_graph.graph_def.library.function)]
    return next(node for body in bodies for node in body if node.op == op)


# Not a SavedModel.


def test_nothing_there(tmp_path: Path) -> None:
    refused(tmp_path / "absent", NotFound, f"{tmp_path}/absent: there is no such file", A_SAVED_MODEL_IS)


def test_file_instead_of_directory(copied: Built) -> None:
    file = copied(models.linear) / "saved_model.pb"
    refused(file, InvalidModel, f"{file}: is a file", A_SAVED_MODEL_IS)


def test_empty_directory(tmp_path: Path) -> None:
    refused(tmp_path, InvalidModel, "holds no saved_model.pb", A_SAVED_MODEL_IS)


@pytest.mark.parametrize("content", [b"this is no protobuf" * 9, b"\x00\xff" * 40])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    refused(tmp_path, InvalidModel, f"{tmp_path}/saved_model.pb: is not a SavedModel protobuf")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    refused(tmp_path, InvalidModel, f"{tmp_path}/saved_model.pb: holds no graph")


def test_protobuf_cut_short(copied: Built) -> None:
    file = copied(models.linear) / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-100])
    refused(file.parent, InvalidModel, "is not a SavedModel protobuf, or a broken one")


def test_model_in_chunks(tmp_path: Path) -> None:
    (tmp_path / "saved_model.cpb").write_bytes(b"")
    refused(tmp_path, UnsupportedModel, "saved_model.cpb")


def test_other_tags(built: Built) -> None:
    refused(built(models.linear), InvalidModel, "no graph with the tags [gpu, serve]", "[serve]", tags=("serve", "gpu"))


def test_no_signature(tmp_path: Path) -> None:
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=X)
    refused(models.save(module, tmp_path / "m"), InvalidModel, "has no signature", "signatures=")


# Half a SavedModel: variables.


def test_no_variables_directory(copied: Built) -> None:
    path = copied(models.linear)
    shutil.rmtree(path / "variables")
    refused(path, InvalidModel, f"{path}/variables/variables.index: is missing", "copy the whole SavedModel")


def test_no_data_file(copied: Built) -> None:
    path = copied(models.linear)
    (path / "variables/variables.data-00000-of-00001").unlink()
    refused(path, InvalidModel, "variables.data-00000-of-00001: is missing")


@pytest.mark.parametrize("kept", [0, 10, 31, -1])
def test_data_file_cut_short(copied: Built, kept: int) -> None:
    path = copied(models.linear)
    data = path / "variables/variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:kept])
    refused(path, InvalidModel, str(data))


def test_damaged_value(copied: Built) -> None:
    path = copied(models.linear)
    data = path / "variables/variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[3] ^= 1
    data.write_bytes(content)
    refused(path, InvalidModel, f"{data}: is damaged", "Checksum does not match")


@pytest.mark.parametrize("content", [b"", b"short", b"garbage" * 50])
def test_damaged_index(copied: Built, content: bytes) -> None:
    path = copied(models.linear)
    (path / "variables/variables.index").write_bytes(content)
    refused(path, InvalidModel, f"{path}/variables/variables.index: is damaged")


def test_variables_of_another_model(copied: Built, built: Built) -> None:
    path = copied(models.linear)
    shutil.rmtree(path / "variables")
    shutil.copytree(built(models.classifier) / "variables", path / "variables")
    refused(path, InvalidModel, "variables.index: holds no value for ")


def test_variable_of_another_shape(built: Built, tmp_path: Path) -> None:
    def widen(meta_graph: MetaGraphDef) -> None:
        node_of(meta_graph, "VarHandleOp").attr["shape"].shape.dim[0].size = 9

    path = edited(built(models.nested), tmp_path / "m", widen)
    refused(path, InvalidModel, "w: is a variable of type float32[9,4], but its value is float32[4, 4]")


def test_variable_without_a_value(built: Built, tmp_path: Path) -> None:
    path = edited(built(models.linear), tmp_path / "m", lambda meta_graph: meta_graph.ClearField("saver_def"))
    refused(path, InvalidModel, "w: is a variable that nothing restores")


# Unsafe.


def test_reading_files(built: Built) -> None:
    refused(built(models.reads_file), UnsafeModel, "signature serving_default reaches ReadFile")


def test_files_in_the_initialiser(tmp_path: Path) -> None:
    class Prints(tf.Module):
        @tf.function(input_signature=X)
        def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": self.table.lookup(tf.strings.as_string(x))}

    module = Prints()
    content = tf.function(lambda: tf.io.read_file("/etc/hostname"))
    with tf.init_scope():
        initializer = tf.lookup.KeyValueTensorInitializer(["a"], [1.0])
    initialize = initializer.initialize
    initializer.initialize = lambda table: (content(), initialize(table))[1]
    module.table = tf.lookup.StaticHashTable(initializer, 0.0)
    path = models.save(module, tmp_path / "m", serving_default=module.serve)
    refused(path, UnsafeModel, "reaches ReadFile")


def test_table_from_a_file_that_is_no_asset(built: Built, tmp_path: Path) -> None:
    def forget(meta_graph: MetaGraphDef) -> None:
        meta_graph.ClearField("asset_file_def")

    path = edited(built(models.table), tmp_path / "m", forget)
    refused(path, UnsafeModel, "InitializeTableFromTextFileV2", "is not an asset")


@pytest.mark.parametrize("filename", ["../outside.txt", "/etc/hostname", "a/../../outside.txt", "", ".", "link.txt"])
def test_assets_outside_of_the_model(built: Built, tmp_path: Path, filename: str) -> None:
    def rename(meta_graph: MetaGraphDef) -> None:
        meta_graph.asset_file_def[0].filename = filename

    path = edited(built(models.table), tmp_path / "m", rename)
    (tmp_path / "outside.txt").write_text("secret")
    (path / "outside.txt").write_text("secret")
    (path / "assets/link.txt").symlink_to(tmp_path / "outside.txt")
    refused(path, UnsafeModel, f"names the asset {filename!r}, which is not inside")


def test_missing_asset(copied: Built) -> None:
    path = copied(models.table)
    (path / "assets/vocabulary.txt").unlink()
    refused(path, InvalidModel, f"{path}/assets/vocabulary.txt: the asset cannot be read (No such file")


# Not carried yet.


def test_writing_a_variable(built: Built) -> None:
    refused(built(models.stateful), UnsupportedModel, "AssignAddVariableOp: signature serving_default reaches")


def test_writing_a_table(tmp_path: Path) -> None:
    module = tf.Module()
    module.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, 0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        module.table.insert(x, tf.ones_like(x, tf.float32))
        return {"y": module.table.lookup(x)}

    path = models.save(module, tmp_path / "m", learn=serve)
    refused(path, UnsupportedModel, "signature learn reaches LookupTableInsertV2", "changes its own state")


def test_random_numbers_from_a_variable(tmp_path: Path) -> None:
    module = tf.Module()
    module.generator = tf.random.Generator.from_seed(1)
    serve = tf.function(lambda x: {"y": x + module.generator.normal([3])}, input_signature=X)
    path = models.save(module, tmp_path / "m", serving_default=serve)
    refused(path, UnsupportedModel, "signature serving_default reaches RngReadAndSkip", "more than read a variable")


def test_datasets(tmp_path: Path) -> None:
    @tf.function(input_signature=X)
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.data.Dataset.from_tensor_slices(x).batch(2).take(1).get_single_element()}

    path = models.save(tf.Module(), tmp_path / "m", serving_default=serve)
    refused(path, UnsupportedModel, "Dataset", "input pipelines are not carried")


def test_custom_ops(built: Built, tmp_path: Path) -> None:
    def replace(meta_graph: MetaGraphDef) -> None:
        node_of(meta_graph, "Relu").op = "MyFastRelu"

    path = edited(built(models.classifier), tmp_path / "m", replace)
    refused(path, UnsupportedModel, "uses the custom op MyFastRelu")


@pytest.mark.parametrize("dtype", [tf.resource, tf.variant])
def test_handles_in_signatures(built: Built, tmp_path: Path, dtype: tf.DType) -> None:
    def change(meta_graph: MetaGraphDef) -> None:
        meta_graph.signature_def["serving_default"].outputs["y"].dtype = dtype.as_datatype_enum

    path = edited(built(models.linear), tmp_path / "m", change)
    refused(path, UnsupportedModel, f"signature serving_default, output y: is a {dtype.name}", "no caller can")


def test_inputs_of_another_signature(built: Built, tmp_path: Path) -> None:
    def forget(meta_graph: MetaGraphDef) -> None:
        del meta_graph.signature_def["serving_default"].inputs["x"]

    path = edited(built(models.linear), tmp_path / "m", forget)
    refused(path, UnsupportedModel, "signature serving_default reads serving_default_x", "an input of no signature")


# Broken graphs.


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        ("absent:0", "needs the node absent, which does not exist"),
        ("StatefulPartitionedCall:7", "there is no output 7"),
        ("a:b", "'a:b' names no tensor"),
    ],
)
def test_outputs_that_do_not_exist(built: Built, tmp_path: Path, tensor: str, words: str) -> None:
    def point(meta_graph: MetaGraphDef) -> None:
        meta_graph.signature_def["serving_default"].outputs["y"].name = tensor

    refused(edited(built(models.linear), tmp_path / "m", point), InvalidModel, words)


def test_output_of_another_type(built: Built, tmp_path: Path) -> None:
    def change(meta_graph: MetaGraphDef) -> None:
        meta_graph.signature_def["serving_default"].outputs["y"].dtype = tf.int32.as_datatype_enum

    path = edited(built(models.linear), tmp_path / "m", change)
    refused(path, InvalidModel, "output y of signature serving_default is int32[?,2], its value float32[?,2]")


def test_missing_function(built: Built, tmp_path: Path) -> None:
    path = edited(built(models.linear), tmp_path / "m", lambda m: m.graph_def.library.ClearField("function"))
    refused(path, InvalidModel, "calls the function '__inference_signature_wrapper", "which is not in the model")


def test_function_that_calls_itself(built: Built, tmp_path: Path) -> None:
    def tie(meta_graph: MetaGraphDef) -> None:
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                if "f" in node.attr:
                    node.attr["f"].func.name = function.signature.name

    path = edited(built(models.linear), tmp_path / "m", tie)
    refused(path, UnsupportedModel, "calls itself")


@pytest.mark.parametrize(("calls", "depth"), [(2, 40), (1, 150)])
def test_functions_that_unfold_without_end(built: Built, tmp_path: Path, calls: int, depth: int) -> None:
    """2**40 calls in a file of a few kilobytes, or one call inside the other 150 times."""

    def unfold(meta_graph: MetaGraphDef) -> None:
        library = meta_graph.graph_def.library
        wrapper = next(f for f in library.function if "signature_wrapper" in f.signature.name)
        call = node_of(meta_graph, "StatefulPartitionedCall")
        template = next(node for node in wrapper.node_def if "f" in node.attr)
        names = [*(f"level{number}" for number in range(depth)), template.attr["f"].func.name]
        for name, callee in itertools.pairwise(names):
            function = library.function.add()
            function.CopyFrom(wrapper)
            function.signature.name = name
            inner = next(node for node in function.node_def if "f" in node.attr)
            inner.attr["f"].func.name = callee
            for number in range(1, calls):
                function.node_def.add().CopyFrom(inner)
                function.node_def[-1].name = f"again{number}"
        call.attr["f"].func.name = names[0]

    path = edited(built(models.linear), tmp_path / "m", unfold)
    refused(path, UnsupportedModel, "unfolds to" if calls == 2 else "more than 100 functions in a row")


def test_damage_anywhere_is_reported_as_such(built: Built, copied: Built) -> None:
    """Whatever bytes are wrong, the reader raises an error of its own or reads a model."""
    file = copied(models.table) / "saved_model.pb"
    content, outcomes = file.read_bytes(), set()
    chance = random.Random(0)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 2, 5))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            read_saved_model(file.parent)
            outcomes.add("read")
        except TfoptError as error:
            outcomes.add(type(error).__name__)
    assert outcomes >= {"read", "InvalidModel"}
    assert np.all([name in ("read", "InvalidModel", "UnsupportedModel", "UnsafeModel") for name in outcomes])
