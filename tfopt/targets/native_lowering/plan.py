"""Which layers become integer ops, which ops carry levels between them, and why the others stay float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tfopt.ir.facts import IDENTITIES, picks_places
from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.grid import Grid
from tfopt.targets.native_lowering.ops import carries
from tfopt.targets.native_lowering.sums import sum_problem

_LAYERS = frozenset({"Conv2D", "DepthwiseConv2dNative", "MatMul"})
#: Move levels as they move numbers.
_CARRIERS = IDENTITIES | {"AvgPool", "ConcatV2", "MaxPool", "Pad", "Reshape"}
#: What a range that ends at 6 may be beyond it.
_ROUNDING = 1 + 1e-6


@dataclass
class Plan:
    """`layers` by the node that makes their output, as they are lowered (without the sum where that cannot be fused),
    `carriers` are names of nodes, `left` says of layers why they stay float."""

    layers: dict[str, Fused] = field(default_factory=dict)
    carriers: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> frozenset[str]:
        """All that the integer ops stand for."""
        return frozenset(self.carriers.union(*(fused.nodes for fused in self.layers.values())))

    def makes(self, value: Value) -> bool:
        return value.port == 0 and (value.node in self.layers or value.node in self.carriers)


def plan(graph: Graph) -> Plan:
    made = Plan()
    by_last = {fused.nodes[-1]: fused for fused in fused_layers(graph) if _is_quantized(graph, fused)}
    ends = {fused.layer.node.name: last for last, fused in by_last.items()}
    taken: set[Value] = set()
    for node in graph.nodes:
        if node.name in by_last:
            _plan_layer(graph, by_last[node.name], made, taken, ends)
        elif _carries(graph, node, made):
            made.carriers.add(node.name)
    return made


def _is_quantized(graph: Graph, fused: Fused) -> bool:
    return fused.layer.data_value in graph.grids and fused.layer.weight_value in graph.grids


def _plan_layer(graph: Graph, fused: Fused, made: Plan, taken: set[Value], ends: Mapping[str, str]) -> None:
    name = fused.layer.node.name
    problem = layer_problem(graph, fused)
    if problem is not None:
        made.left[name] = problem
        return
    if fused.residual is None:
        made.layers[fused.output.node] = fused
        return
    problem = sum_problem(graph, fused, taken, ends) or _output_problem(graph.grids.get(fused.output), fused)
    if problem is None:
        taken.add(fused.residual)
        made.layers[fused.output.node] = fused
        return
    alone = without_sum(fused)
    alone_problem = _output_problem(graph.grids.get(alone.output), alone)
    if alone_problem is None:
        made.layers[alone.output.node] = alone
    made.left[name] = f"its sum stays float: {problem}" if alone_problem is None else alone_problem


def without_sum(fused: Fused) -> Fused:
    until = fused.nodes.index(fused.summed.node) + 1
    return replace(fused, residual=None, activation=None, output=fused.summed, nodes=fused.nodes[:until])


def layer_problem(graph: Graph, fused: Fused) -> str | None:
    """What keeps the layer from integer ops, its sum aside."""
    node, layer = fused.layer.node, fused.layer
    data, weight = graph.grids[layer.data_value], graph.grids[layer.weight_value]
    if node.op not in _LAYERS:
        return f"TensorFlow has no integer {node.op}"
    if node.attrs.get("data_format", b"NHWC") != b"NHWC" or layer.groups != 1 or node.attrs.get("transpose_a"):
        return "TensorFlow's integer kernel has no such form"
    if not carries(data):
        return f"data of {data.bits} {'signed' if data.signed else 'unsigned'} bits"
    if not weight.narrow or weight.bits > 8 or weight.axes not in ((), layer.out_axes):
        return "weights that are not symmetric with a scale for each output channel"
    if data.zero_point and layer.pads:
        return "it pads data that has an offset"
    if fused.residual is None:
        return _output_problem(graph.grids.get(fused.output), fused)
    return None


def _output_problem(grid: Grid | None, fused: Fused) -> str | None:
    if grid is None:
        if fused.layer.node.op == "MatMul" and fused.activation != "Relu6":
            return None
        return "no range of its output is known"
    if not carries(grid):
        return "its output's grid is none of TensorFlow's"
    if fused.activation and grid.zero_point:
        return "its activation would clamp at an offset"
    if fused.activation == "Relu6" and grid.high > 6 * _ROUNDING:
        return "its range goes beyond the 6 that its activation ends at"
    return None


def _carries(graph: Graph, node: Node, made: Plan) -> bool:
    if node.op not in _CARRIERS or len(node.outputs) != 1 or node.controls:
        return False
    if node.op in ("AvgPool", "MaxPool") and not _pools(node):
        return False
    data = node.inputs[:-1] if node.op == "ConcatV2" else node.inputs[:1]
    grid = graph.grids.get(node.value())
    # What a Pad adds is level 0.
    if not carries(grid) or (node.op == "Pad" and grid.zero_point):
        return False
    return all(made.makes(value) and graph.grids.get(value) == grid for value in data)


def _pools(node: Node) -> bool:
    """Does TensorFlow pool levels so, and are they levels of the same grid then?"""
    if node.op == "AvgPool" and not picks_places(node):
        return False
    if node.attrs.get("data_format", b"NHWC") != b"NHWC" or node.attrs.get("padding") == b"EXPLICIT":
        return False
    sizes: Mapping[str, object] = node.attrs
    return all(
        isinstance(found := sizes.get(key), tuple) and (found[0], found[3]) == (1, 1) for key in ("ksize", "strides")
    )
