from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.targets.ir_models import layers, model_of
from tfopt.ir import DType
from tfopt.ir.graph import Value
from tfopt.ir.grid import affine
from tfopt.ir.text import parse
from tfopt.passes.quantization.tables import tables, with_table_grids
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.native_lowering.lowering import with_native_int8
from tfopt.targets.tflite import write_tflite

GRAPH = """
graph {
  %ids = Placeholder() {dtype: int32, shape: [?,?]} -> int32[?,?]
  %table = Const() {dtype: float32, value: float32[700,48] random(1)} -> float32[700,48]
  %axis = Const() {dtype: int32, value: int32[] AXIS} -> int32[]
  %rows = GatherV2(%table, %ids, %axis) {Tparams: float32, Tindices: int32, Taxis: int32} -> float32[DIMS]
  inputs %ids
  outputs %rows
}
"""


def test_rows_of_a_table_are_taken_as_integers() -> None:
    graph = parse(GRAPH.replace("AXIS", "0").replace("DIMS", "?,?,48"))
    rounded = with_table_grids(graph, tables(graph))
    model = model_of(rounded, {"serving_default": ({"ids": "ids"}, {"y": 0})})
    lowered = with_native_int8(model).model
    held = {node.tensor.dtype for node in lowered.graph.by_op["Const"] if node.tensor.array.size > 1000}
    assert held == {DType.INT8}
    ids = np.array([[0, 699, 3], [3, 3, 5]], np.int32)
    with ModelRunner(lowered) as runner:
        found = runner.run("serving_default", {"ids": ids})["y"]
    table = graph["table"].tensor.array
    assert np.array_equal(found, rounded["table"].tensor.array[ids])
    assert np.abs(found - table[ids]).max() <= np.abs(table).max() / 254 * 1.01


def test_a_tflite_keeps_a_table_as_integers_too(tmp_path: Path) -> None:
    graph = parse(GRAPH.replace("AXIS", "0").replace("DIMS", "?,?,48"))
    table = graph["table"].tensor.array
    rows = affine(float(table.min()), float(table.max()), signed=False)
    rounded = with_table_grids(graph, tables(graph))
    decided = replace(rounded, grids={**rounded.grids, Value("rows"): rows})
    model = model_of(decided, {"serving_default": ({"ids": "ids"}, {"y": 0})})
    written = write_tflite(model, tmp_path / "model.tflite", precision="int8")
    ids = np.array([[0, 699, 3], [3, 3, 5]], np.int32)
    with LiteRTRuntime(written.path) as runtime:
        found = runtime.run("serving_default", {"ids": ids})["y"]
    assert np.abs(found - rounded["table"].tensor.array[ids]).max() <= rows.scale * 0.51
    assert written.path.stat().st_size < 0.4 * table.nbytes


def test_what_is_no_table_of_rows() -> None:
    columns = parse(GRAPH.replace("AXIS", "1").replace("DIMS", "700,?,?"))
    fetched = parse(
        GRAPH.replace("AXIS", "0").replace("DIMS", "?,?,48").replace("outputs %rows", "outputs %rows, %table")
    )
    assert tables(columns) == tables(fetched) == tables(layers().graph) == ()
