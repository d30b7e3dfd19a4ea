from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.serve.conftest import ask_at
from tfopt import Server
from tfopt.errors import InvalidModel, NotFound, UnsafeModel
from tfopt.ir import DType, Shape, TensorType
from tfopt.runtimes.frozen_graph import FrozenGraphRuntime

Built = Callable[[Callable[[Path], Path]], Path]


def write(path: Path, build: Callable[[], object]) -> Path:
    with tf.Graph().as_default() as graph:
        build()
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def line() -> None:
    x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
    hidden = tf.matmul(x, tf.constant([[1.0], [2.0]]), name="hidden")
    tf.add(hidden, 3.0, name="y")
    tf.cast(hidden, tf.int32, name="rounded")


def variable() -> None:
    tf.compat.v1.get_variable("v", [], use_resource=False)


def touches_files() -> None:
    tf.raw_ops.WriteFile(filename="/tmp/x", contents=tf.raw_ops.ReadFile(filename="/etc/passwd"))
    tf.raw_ops.ReadFile(filename="/etc/passwd", name="stolen")


def test_its_signature_is_placeholders_and_what_nobody_reads(tmp_path: Path) -> None:
    with FrozenGraphRuntime(write(tmp_path / "graph.pb", line), threads=1) as runtime:
        info = runtime.signatures["serving_default"]
        assert info.inputs["x"].type == TensorType(DType.FLOAT32, Shape.of(None, 2))
        assert {name: entry.type.dtype for name, entry in info.outputs.items()} == {
            "y": DType.FLOAT32,
            "rounded": DType.INT32,
        }
        made = runtime.run("serving_default", {"x": np.array([[1, 2]], np.float32)})
    assert made["y"].tolist() == [[8.0]] and made["rounded"].tolist() == [[5]]


@pytest.mark.parametrize(
    ("build", "error", "said"),
    [
        (variable, InvalidModel, "holds a variable"),
        (touches_files, UnsafeModel, "touches files"),
        (lambda: None, InvalidModel, "no output"),
    ],
)
def test_what_is_no_frozen_graph_or_does_harm_is_refused(
    tmp_path: Path, build: Callable[[], object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        FrozenGraphRuntime(write(tmp_path / "graph.pb", build))


def test_other_bytes_are_no_graph(tmp_path: Path) -> None:
    (tmp_path / "graph.pb").write_bytes(b"\xff\xff nothing")
    with pytest.raises(InvalidModel, match="is no GraphDef"):
        FrozenGraphRuntime(tmp_path / "graph.pb")


def test_a_version_directory_may_hold_one(tmp_path: Path) -> None:
    (tmp_path / "line" / "3").mkdir(parents=True)
    write(tmp_path / "line" / "3" / "frozen_inference_graph.pb", line)
    with Server(tmp_path / "line", port=0) as server:
        reply = ask_at(server.url, "POST", "/v1/models/line:predict", {"instances": [[1.0, 2.0]]})
        assert reply.json == {"predictions": [{"y": [8.0], "rounded": [5]}]}
        assert '"artifact": "graph_def"' in ask_at(server.url, "GET", "/tfopt/v1/models").body.decode()


def test_what_lies_beside_a_saved_model_is_no_version_by_itself(tmp_path: Path, built: Built) -> None:
    """A SavedModel that is being copied, its fingerprint first."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "fingerprint.pb").write_bytes((built(models.linear) / "fingerprint.pb").read_bytes())
    with pytest.raises(NotFound, match="no version is whole yet"), Server(tmp_path / "m", port=0):
        pass
