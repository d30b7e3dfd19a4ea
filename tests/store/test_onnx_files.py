"""Which files a .onnx file needs beside it, read from its outline alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.targets import ir_models
from tfopt.errors import InvalidModel
from tfopt.store.onnx_files import onnx_files
from tfopt.store.size import measure_size, model_files
from tfopt.targets.onnx import write_onnx


def names(path: Path) -> list[str]:
    return [str(file.relative_to(path.parent)) for file in onnx_files(path)]


def external(name: str, place: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(3, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    tensor.external_data.add(key="offset", value="0")
    return tensor


def save(path: Path, place: str = "a.bin", within: str = "sub/b.bin") -> Path:
    """As other tools write it: one weight of the graph and one of a branch lie in files of any name."""
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    branch = helper.make_graph([helper.make_node("Identity", ["b"], ["y"])], "b", [], [made], [external("b", within)])
    which = helper.make_tensor_value_info("which", TensorProto.BOOL, [])
    node = helper.make_node("If", ["which"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "g", [which], [made], [external("a", place), external("a2", place)])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_files_of_signatures_and_weights_are_found(tmp_path: Path) -> None:
    path = write_onnx(ir_models.layers(), tmp_path / "layers.onnx", largest=1000).path
    assert names(path) == ["layers.onnx", "layers.serving_default.onnx", "layers.onnx.data"]
    assert measure_size(path).bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert names(path.with_name("layers.serving_default.onnx")) == ["layers.serving_default.onnx"]


def test_a_renamed_file_is_still_the_first_signatures(tmp_path: Path) -> None:
    path = write_onnx(ir_models.layers(), tmp_path / "layers.onnx", largest=1000).path
    path.rename(path.with_name("model.onnx"))
    assert names(path.with_name("model.onnx")) == ["model.onnx", "layers.serving_default.onnx", "layers.onnx.data"]


def test_weights_of_other_makers_are_found_wherever_they_are_read(tmp_path: Path) -> None:
    assert names(save(tmp_path / "other.onnx")) == ["other.onnx", "a.bin", "sub/b.bin"]


@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", ""])
def test_a_file_outside_of_the_directory_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"bad\.onnx: a part of it is .*outside of its directory"):
        onnx_files(save(tmp_path / "bad.onnx", within=place))


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.onnx").read_bytes()
    contents = (b"", b"PK\x03\x04 an archive", whole[:-7], whole[:40], b"\x80" * 30)
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        with pytest.raises(InvalidModel, match=f"{number}.onnx: is no ONNX file, or a damaged one"):
            model_files(path)


def test_metadata_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for number, text in enumerate(("[1]", "{", '{"a": 3}', '{"a": {}}')):
        model = onnx.load(save(tmp_path / "m.onnx"), load_external_data=False)
        model.metadata_props.add(key="tfopt.signatures", value=text)
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(InvalidModel, match="does not say where its signatures are"):
            onnx_files(path)
