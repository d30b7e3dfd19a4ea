"""What is written loads through both of TensorFlow's loaders and computes the same, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests import models
from tests.targets import ir_models
from tests.targets.conftest import tree
from tests.targets.ir_models import CALLS
from tfopt.errors import ConversionError, OutputError, OutputExists
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Asset, Node, Tensor, TensorType
from tfopt.ir.text import parse
from tfopt.ir.types import DType, Shape
from tfopt.runtimes.base import signatures_of
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.targets.saved_model import write_saved_model

Built = Callable[[Callable[[Path], Path]], Path]


def parsed(directory: Path) -> saved_model_pb2.SavedModel:
    return saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())


def ops(directory: Path) -> list[str]:
    return [node.op for node in parsed(directory).meta_graphs[0].graph_def.node]


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("variables_over", [None, 16], ids=["constants", "variables"])
@pytest.mark.parametrize("name", CALLS)
def test_both_loaders_compute_what_the_model_computes(name: str, variables_over: int | None, tmp_path: Path) -> None:
    model, calls = CALLS[name]
    write_saved_model(model, tmp_path / "written", variables_over=variables_over)
    # A SavedModel must not remember where it was written.
    moved = (tmp_path / "written").rename(tmp_path / "moved")
    loaded = tf.saved_model.load(str(moved))
    with ModelRunner(model) as in_memory, TensorFlowRuntime(moved) as v1:
        assert v1.signatures.keys() == in_memory.signatures.keys() == set(calls)
        for key, inputs in calls.items():
            expected = in_memory.run(key, inputs)
            assert_same(v1.run(key, inputs), expected)
            filled = {k: tensor.array for k, tensor in model.signatures[key].defaults.items()} | inputs
            v2 = loaded.signatures[key](**{k: tf.constant(value) for k, value in filled.items()})
            assert_same({k: value.numpy() for k, value in v2.items()}, expected)


@pytest.mark.parametrize("name", CALLS)
def test_the_signatures_say_what_the_model_says(name: str, tmp_path: Path) -> None:
    model, _ = CALLS[name]
    write_saved_model(model, tmp_path / "written")
    with TensorFlowRuntime(tmp_path / "written") as runtime:
        for key, expected in signatures_of(model).items():
            found = runtime.signatures[key]
            assert found.method_name == expected.method_name
            for ends in ("inputs", "outputs"):
                types = {end: info.type for end, info in getattr(found, ends).items()}
                assert types == {end: info.type for end, info in getattr(expected, ends).items()}
            assert {k: t.array.tolist() for k, t in found.defaults.items()} == {
                k: t.array.tolist() for k, t in expected.defaults.items()
            }


WORDS = np.array([b"fox", b"?", b"the"], object)
X5, SCALE = ir_models.normal(2, 5), np.float32(3)
EXPORTED: dict[str, tuple[Callable[[Path], Path], dict[str, dict[str, np.ndarray]]]] = {
    "classifier": (models.classifier, {"serving_default": {"image": ir_models.normal(2, 8, 8, 3)}}),
    "two_signatures": (models.two_signatures, {"serving_default": {"x": X5, "scale": SCALE}, "score": {"x": X5}}),
    "nested": (models.nested, {"serving_default": {"x": ir_models.normal(3, 4)}}),
    "table": (models.table, {"serving_default": {"words": WORDS}, "weights": {"words": WORDS}}),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_what_users_export_is_read_written_and_read_again(name: str, built: Built, tmp_path: Path) -> None:
    builder, calls = EXPORTED[name]
    write_saved_model(read_saved_model(built(builder)), tmp_path / "once", variables_over=16)
    write_saved_model(read_saved_model(tmp_path / "once"), tmp_path / "twice", variables_over=16)
    loaded = tf.saved_model.load(str(tmp_path / "twice"))
    with TensorFlowRuntime(built(builder)) as original, TensorFlowRuntime(tmp_path / "twice") as written:
        for key, inputs in calls.items():
            expected = original.run(key, inputs)
            v2 = loaded.signatures[key](**{k: tf.constant(value) for k, value in inputs.items()})
            for found in (written.run(key, inputs), {k: value.numpy() for k, value in v2.items()}):
                assert found.keys() == expected.keys()
                for output, array in expected.items():
                    if array.dtype == np.float32:
                        np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-6)
                    else:
                        assert found[output].tolist() == array.tolist()


def test_large_matrices_are_variables_and_filters_constants(tmp_path: Path) -> None:
    write_saved_model(ir_models.layers(), tmp_path / "layers", variables_over=16)
    assert ops(tmp_path / "layers").count("VarHandleOp") == 2
    assert [variable.shape.as_list() for variable in tf.saved_model.load(str(tmp_path / "layers")).variables] == [
        [32, 8],
        [8, 24],
    ]
    write_saved_model(ir_models.convolution(), tmp_path / "convolution", variables_over=16)
    assert "VarHandleOp" not in ops(tmp_path / "convolution")
    assert list((tmp_path / "convolution" / "variables").iterdir()) == []


def test_small_matrices_stay_constants(tmp_path: Path) -> None:
    write_saved_model(ir_models.layers(), tmp_path / "layers")
    assert "VarHandleOp" not in ops(tmp_path / "layers")


def test_the_saver_saves_what_it_restored(tmp_path: Path) -> None:
    model = ir_models.layers()
    write_saved_model(model, tmp_path / "written", variables_over=16)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path / "written"))
        saver = loaded.saver_def
        session.run(saver.save_tensor_name, {saver.filename_tensor_name: str(tmp_path / "again")})
    reader = tf.train.load_checkpoint(str(tmp_path / "again"))
    np.testing.assert_array_equal(reader.get_tensor("kernel/variable"), model.graph["kernel"].tensor.array)


def test_a_weight_that_nodes_share_is_written_once(tmp_path: Path) -> None:
    model = ir_models.layers()
    twin = Node("twin", "Const", (), model.graph["kernel"].attrs, model.graph["kernel"].outputs)
    nodes = [
        node.with_inputs(node.inputs[0], twin.value()) if node.name == "from_ids" else node for node in model.graph
    ]
    doubled = model.with_graph(replace(model.graph, nodes=(twin, *nodes)))
    write_saved_model(doubled, tmp_path / "constants")
    weights = [n for n in parsed(tmp_path / "constants").meta_graphs[0].graph_def.node if n.name in ("twin", "kernel")]
    assert [node.name for node in weights] == ["twin"]
    write_saved_model(doubled, tmp_path / "variables", variables_over=16)
    assert ops(tmp_path / "variables").count("VarHandleOp") == 2
    with ModelRunner(doubled) as before, TensorFlowRuntime(tmp_path / "variables") as after:
        for key, inputs in CALLS["layers"][1].items():
            assert_same(after.run(key, inputs), before.run(key, inputs))


def write_all(out: Path) -> None:
    for name, (model, _) in CALLS.items():
        write_saved_model(model, out / name, variables_over=16)


def write_layers(directory: Path, *, variables: bool) -> None:
    write_saved_model(ir_models.layers(), directory, variables_over=16 if variables else None)


def test_another_process_writes_the_same_bytes(tmp_path: Path, other_process: tuple[Path, list[str]]) -> None:
    write_all(tmp_path)
    ours = tree(tmp_path)
    assert ours == tree(other_process[0] / "saved_models")
    assert "layers/variables/variables.data-00000-of-00001" in ours


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_text("mine")
    with pytest.raises(OutputExists):
        write_saved_model(ir_models.layers(), tmp_path)
    assert (tmp_path / "saved_model.pb").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_saved_model(ir_models.layers(), tmp_path / "file" / "model")


def test_a_disk_that_takes_no_more_is_an_output_error(other_process: tuple[Path, list[str]]) -> None:
    constants, variables = other_process[1]
    assert re.fullmatch(r"constants: .*full/constants: cannot be written: File too large.*", constants)
    assert re.fullmatch(r"variables: .*the checkpoint cannot be written: [^\[]*File too large", variables)


def test_an_asset_stays_below_assets(tmp_path: Path) -> None:
    model = replace(ir_models.lookup(), assets=(Asset("../../escaped", "path", b"x"),))
    with pytest.raises(ConversionError, match="outside"):
        write_saved_model(model, tmp_path / "a" / "b")
    assert not (tmp_path / "escaped").exists()


def test_constants_that_do_not_fit_become_variables(tmp_path: Path) -> None:
    """Filters, an offset that is added, and what is an output: the largest ones first, as few as will do."""
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?,8,8,4]} -> float32[?,8,8,4]
          %filter = Const() {dtype: float32, value: float32[5,5,4,256] random(1)} -> float32[5,5,4,256]
          %y = Conv2D(%x, %filter) {T: float32, strides: (1,1,1,1), padding: 'SAME'} -> float32[?,8,8,256]
          %offset = Const() {dtype: float32, value: float32[8,8,256] random(2)} -> float32[8,8,256]
          %sum = AddV2(%y, %offset) {T: float32} -> float32[?,8,8,256]
          %table = Const() {dtype: int32, value: int32[40000] range(0, 1)} -> int32[40000]
          inputs %x
          outputs %sum, %table
        }
        """
    )
    model = ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"sum": 0, "table": 1})})
    feed = {"x": ir_models.normal(2, 8, 8, 4)}
    with ModelRunner(model) as runner:
        expected = runner.run("serving_default", feed)
    for largest, left in ((1 << 20, 3), (1 << 18, 2), (1000, 0)):
        out = tmp_path / str(largest)
        write_saved_model(model, out, largest=largest)
        assert (out / "saved_model.pb").stat().st_size < largest + 20_000
        assert "Const" in read_saved_model(out).graph.by_op
        written = [node for node in parsed(out).meta_graphs[0].graph_def.node if node.op == "Const"]
        assert sum(len(node.attr["value"].tensor.tensor_content) > 60_000 for node in written) == left
        with TensorFlowRuntime(out) as runtime:
            got = runtime.run("serving_default", feed)
        signature = tf.saved_model.load(str(out)).signatures["serving_default"]
        for name, array in signature(x=tf.constant(feed["x"])).items():
            np.testing.assert_array_equal(array, expected[name])
            np.testing.assert_array_equal(got[name], expected[name])


def test_more_than_protobuf_holds_is_refused(tmp_path: Path) -> None:
    # Strides of 0: the array takes no memory, and says that it is 2.2 GB.
    huge = Tensor(np.broadcast_to(np.float32(1), (550_000_000,)))
    model = ir_models.echoes()
    kind = TensorType(DType.FLOAT32, Shape.of(550_000_000))
    # It waits for something, as a constant in a loop of TensorFlow 1 does, and so it cannot move.
    node = Node("huge", "Const", (), {"dtype": DType.FLOAT32, "value": huge}, (kind,), (model.graph.inputs[0],))
    graph = replace(model.graph, nodes=(*model.graph.nodes, node))
    with pytest.raises(ConversionError, match=r"huge: 2,200,000,000 bytes.*in variables"):
        write_saved_model(model.with_graph(graph), tmp_path / "out")
    assert not (tmp_path / "out").exists()
