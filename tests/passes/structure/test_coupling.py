"""What stands or falls together in graphs that are written out, and why some of it stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.passes.structure.without import assert_types_hold
from tests.running import feeds_for, run_graph
from tfopt.errors import UsageError
from tfopt.ir.graph import Graph, Value
from tfopt.ir.grid import Grid
from tfopt.ir.text import parse
from tfopt.ir.verify import verify
from tfopt.passes.structure.coupling import Coupling, couple
from tfopt.passes.structure.removal import without_units


def network(body: str, output: str) -> Graph:
    """Rows of three numbers, four hidden units, and what is made of these."""
    return parse(
        f"""graph {{
  %x = Placeholder() {{dtype: float32, shape: [?,3]}} -> float32[?,3]
  %in = Const() {{dtype: float32, value: float32[3,4] [[1, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6]]}} -> float32[3,4]
  %made = MatMul(%x, %in) {{T: float32, transpose_a: false, transpose_b: false}} -> float32[?,4]
{body}
  inputs %x
  outputs %{output}
}}
"""
    )


OUT = """  %out = Const() {dtype: float32, value: float32[4,2] [[1, 2], [3, 4], [5, 6], [7, 8]]} -> float32[4,2]
  %read = MatMul(%hidden, %out) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]"""


def units(coupling: Coupling) -> np.ndarray:
    (group,) = coupling.groups
    return group.units


def test_the_text_form_of_a_network_without_a_unit() -> None:
    graph = network(f"  %hidden = Relu(%made) {{T: float32}} -> float32[?,4]\n{OUT}", "read")
    made = without_units(coupling := couple(graph), units(coupling)[1:2])
    verify(made)
    assert made["in"].tensor.array.tolist() == [[1, 3, 4], [5, 7, 8], [9, 7, 6]]
    assert made["out"].tensor.array.tolist() == [[1, 2], [5, 6], [7, 8]]
    assert [str(made[name].outputs[0]) for name in ("made", "hidden", "read")] == [
        "float32[?,3]", "float32[?,3]", "float32[?,2]",
    ]  # fmt: skip
    assert made.kept == {"made": (0, 2, 3)}


def test_nothing_gone_is_the_very_graph() -> None:
    graph = network(f"  %hidden = Relu(%made) {{T: float32}} -> float32[?,4]\n{OUT}", "read")
    assert without_units(couple(graph), np.empty(0, np.int64)) is graph


REASONS = {
    "is an output of the model": ("  %hidden = Relu(%made) {T: float32} -> float32[?,4]", "hidden"),
    "hidden (Softmax) computes with all of them together": (
        f"  %hidden = Softmax(%made) {{T: float32}} -> float32[?,4]\n{OUT}", "read",
    ),
    "hidden (Roll) reads them, and what it makes of each is not known": (
        "  %one = Const() {dtype: int32, value: int32[] 1} -> int32[]\n"
        "  %hidden = Roll(%made, %one, %one) {T: float32, Tshift: int32, Taxis: int32} -> float32[?,4]\n" + OUT, "read",
    ),
    "hidden (AddV2) joins them with what is not followed": (
        "  %both = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]\n"
        f"  %hidden = AddV2(%made, %both) {{T: float32}} -> float32[?,4]\n{OUT}", "read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REASONS)
def test_what_stays_says_which_op_stops_it(reason: str) -> None:
    coupling = couple(network(*REASONS[reason]))
    assert not coupling.groups
    assert reason in coupling.reasons["made"]


def test_who_computes_with_how_many_they_are_stops_them() -> None:
    body = f"""  %shape = Shape(%made) {{T: float32, out_type: int32}} -> int32[2]
  %counts = Cast(%shape) {{SrcT: int32, DstT: float32, Truncate: false}} -> float32[2]
  %sum/axis = Const() {{dtype: int32, value: int32[1] [0]}} -> int32[1]
  %sum = Sum(%counts, %sum/axis) {{T: float32, Tidx: int32, keep_dims: false}} -> float32[]
  %hidden = Mul(%made, %sum) {{T: float32}} -> float32[?,4]
{OUT}"""
    assert "counts (Cast) computes with how many they are" in couple(network(body, "read")).reasons["made"]


def test_a_vector_that_two_layers_read_ties_none_to_the_other() -> None:
    body = f"""  %half = Const() {{dtype: float32, value: float32[4] [0.5, 0.25, 1, 2]}} -> float32[4]
  %scaled = Mul(%made, %half) {{T: float32}} -> float32[?,4]
  %square = Const() {{dtype: float32, value: float32[4,4] [[1,2,3,4],[2,3,4,5],[3,4,5,6],[4,5,6,8]]}} -> float32[4,4]
  %second = MatMul(%scaled, %square) {{T: float32, transpose_a: false, transpose_b: false}} -> float32[?,4]
  %hidden = Mul(%half, %second) {{T: float32}} -> float32[?,4]
{OUT}"""
    coupling = couple(graph := network(body, "read"))
    first, second = coupling.groups
    made = without_units(coupling, np.array([first.units[0], second.units[3]]))
    verify(made)
    assert_types_hold(made)
    vectors = [made[name].inputs[at].node for name, at in (("scaled", 1), ("hidden", 0))]
    assert [made[name].tensor.array.tolist() for name in vectors] == [[0.25, 1, 2], [0.5, 0.25, 1]]
    ((answer,), (before,)) = (run_graph(each, feeds_for(graph)) for each in (made, graph))
    assert answer.shape == before.shape


def test_a_slice_counted_from_the_end_is_one_from_the_front() -> None:
    masks = (
        "Index: int32, T: float32, begin_mask: 1, ellipsis_mask: 0, end_mask: 3, new_axis_mask: 0, shrink_axis_mask: 0"
    )
    rows = ", ".join(["[1, 2]", "[3, 4]", "[5, 6]", "[7, 8]"] * 2)
    body = f"""  %axis = Const() {{dtype: int32, value: int32[] 1}} -> int32[]
  %begin = Const() {{dtype: int32, value: int32[2] [0, -2]}} -> int32[2]
  %one = Const() {{dtype: int32, value: int32[2] [1, 1]}} -> int32[2]
  %tail = StridedSlice(%made, %begin, %one, %one) {{{masks}}} -> float32[?,2]
  %few = Const() {{dtype: float32, value: float32[2,4] [[1, 2, 3, 4], [5, 6, 7, 8]]}} -> float32[2,4]
  %more = MatMul(%tail, %few) {{T: float32, transpose_a: false, transpose_b: false}} -> float32[?,4]
  %hidden = ConcatV2(%made, %more, %axis) {{N: 2, T: float32, Tidx: int32}} -> float32[?,8]
  %out = Const() {{dtype: float32, value: float32[8,2] [{rows}]}} -> float32[8,2]
  %read = MatMul(%hidden, %out) {{T: float32, transpose_a: false, transpose_b: false}} -> float32[?,2]"""
    coupling = couple(network(body, "read"))
    sliced = next(group for group in coupling.groups if "more" in {reader.name for reader in group.readers})
    made = without_units(coupling, sliced.units[-1:])
    assert_types_hold(made)
    assert made[made["tail"].inputs[1].node].tensor.array.tolist() == [0, 2]


def test_a_group_keeps_at_least_one_unit() -> None:
    graph = network(f"  %hidden = Relu(%made) {{T: float32}} -> float32[?,4]\n{OUT}", "read")
    coupling = couple(graph)
    with pytest.raises(UsageError, match="nothing would be left of the 4 channels of made"):
        without_units(coupling, units(coupling))


def test_a_quantized_model_is_refused() -> None:
    graph = network(f"  %hidden = Relu(%made) {{T: float32}} -> float32[?,4]\n{OUT}", "read")
    with pytest.raises(UsageError, match=r"quantized.*put quantize behind"):
        couple(replace(graph, grids={Value("x"): Grid((0.5,))}))


def test_what_is_left_costs_what_is_counted() -> None:
    graph = network(f"  %hidden = Relu(%made) {{T: float32}} -> float32[?,4]\n{OUT}", "read")
    coupling = couple(graph)
    assert (coupling.macs, coupling.bytes) == (20, 80)
    assert (coupling.macs_without(units(coupling)[:3]), coupling.bytes_without(units(coupling)[:3])) == (5, 20)
