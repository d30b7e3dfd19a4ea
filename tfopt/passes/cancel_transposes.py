"""Transposes that undo each other, that move nothing, or that a multiplication does in passing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tfopt.ir.graph import Graph, Node
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.sizes import ONE, Dims
from tfopt.ir.types import DType
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.bypass import Bypass
from tfopt.passes.layout.permuting import Perm, after
from tfopt.passes.layout.regions import Region, permute, regions, saved, transpose_perm, undone

_MATMULS = {
    "MatMul": ("transpose_a", "transpose_b"),
    "BatchMatMul": ("adj_x", "adj_y"),
    "BatchMatMulV2": ("adj_x", "adj_y"),
}


@graph_pass
def cancel_transposes(graph: Graph) -> Graph | Outcome:
    """Remove transposes that cancel, also around elementwise ops, and give others to the MatMul behind them.

        %a = Transpose(%x, [0, 3, 1, 2])
        %b = Relu(%a)                           ->    %y = Relu(%x)
        %y = Transpose(%b, [0, 2, 3, 1])

    A Transpose of a Transpose is one; one that moves axes of size 1 only is a Reshape; one of the last two axes in
    front of a MatMul or BatchMatMul is its transpose_a, transpose_b, adj_x or adj_y. Elementwise ops, bias, padding,
    concatenation and reductions that keep their axes are done in the other order where that leaves fewer transposes.
    """
    if "Transpose" not in graph.by_op:
        return graph
    changed, findings = graph, list[Finding]()
    while True:
        local = _local(changed, reshape=False)
        region = _worthwhile(local.graph)
        findings += [finding for finding in local.findings if finding.done]
        changed = local.graph
        if region is None:
            break
        findings += _told(changed, region)
        changed = permute(changed, KnownSizes(changed), region)
    last = _local(changed, reshape=True)
    return Outcome(last.graph, (*findings, *last.findings, *_reasons(last.graph)))


def _reasons(graph: Graph) -> Iterator[Finding]:
    """Why transposes that undo what one before them did are left."""
    sizes = KnownSizes(graph)
    for region in regions(graph, sizes):
        pairs = min(len(region.exits), len(undone(graph, sizes, region)))
        if pairs and saved(graph, sizes, region) <= 0:
            words = "undoes one before it, but what is between them is wanted in this order elsewhere"
            yield from (Finding(name, False, words) for name in region.exits)


def _told(graph: Graph, region: Region) -> list[Finding]:
    fewer = saved(graph, KnownSizes(graph), region)
    words = f"{len(region.nodes)} nodes in the other order leave {fewer} transposes fewer"
    return [Finding(name, True, words) for name in region.exits or region.nodes]


def _worthwhile(graph: Graph) -> Region | None:
    sizes = KnownSizes(graph)
    return next((region for region in regions(graph, sizes) if saved(graph, sizes, region) > 0), None)


def _local(graph: Graph, *, reshape: bool) -> Outcome:
    """What can be said of each Transpose and its neighbours. Reshapes hide from the regions what they permute."""
    bypass = Bypass(graph)
    for node in graph.nodes:
        if not node.outputs or not graph.is_read(node.value()):
            continue
        if node.op == "Transpose":
            _simplify(bypass, node, reshape)
        elif node.op in _MATMULS:
            _multiply(bypass, node)
    return bypass.outcome()


def _simplify(bypass: Bypass, node: Node, reshape: bool) -> None:
    perm = transpose_perm(bypass.sizes, node)
    if perm is None:
        bypass.leave(node, "its permutation is computed when it runs")
        return
    inner, source = bypass.producer(node.inputs[0]), node.inputs[0]
    before = transpose_perm(bypass.sizes, inner)
    if before is not None and not inner.controls:
        perm, source = after(before, perm), inner.inputs[0]
    if perm == tuple(range(len(perm))):
        bypass.hand_on(node, 0, source, "moves nothing" if before is None else f"undoes {inner.name}")
    elif reshape and (dims := bypass.dims(source)) is not None and _keeps_order(perm, dims):
        _reshape(bypass, node, source=node.with_inputs(source, *node.inputs[1:]))
    elif source != node.inputs[0]:
        axes = bypass.new_constant(f"{node.name}/perm", perm)
        merged = node.with_inputs(source, axes).with_attrs(Tperm=DType.INT32)
        bypass.update(merged, f"does what {inner.name} did before it")


def _keeps_order(perm: Perm, dims: Dims) -> bool:
    """Do only axes of size 1 change places?"""
    if len(perm) != len(dims):
        return False
    wide = [axis for axis in perm if dims[axis] != ONE]
    return wide == sorted(wide)


def _reshape(bypass: Bypass, node: Node, *, source: Node) -> None:
    dims = bypass.sizes.dims(node.value())
    unknown = sum(size.number is None for size in dims or ())
    if dims is None or unknown > 1 or (unknown and any(size.number == 0 for size in dims)):
        bypass.leave(node, "moves axes of size 1 only, but a Reshape could not tell the unknown dims")
        return
    items = [-1 if size.number is None else size.number for size in dims]
    shape = bypass.new_constant(f"{node.name}/shape", items)
    attrs = {"T": node.outputs[0].dtype, "Tshape": DType.INT32}
    made = replace(node, op="Reshape", inputs=(source.inputs[0], shape), attrs=attrs)
    bypass.update(made, "moves axes of size 1 only: a Reshape")


def _multiply(bypass: Bypass, node: Node) -> None:
    """Take the transposes of the operands into the multiplication."""
    is_complex = node.outputs[0].dtype in (DType.COMPLEX64, DType.COMPLEX128)
    changed = node
    for at, flag in enumerate(_MATMULS[node.op]):
        operand = bypass.producer(node.inputs[at])
        perm = transpose_perm(bypass.sizes, operand)
        if perm is None or operand.controls or not _swaps_last(perm):
            continue
        reason = f"{operand.name} is read by others too" if not bypass.graph.is_private(operand.value()) else None
        if is_complex and flag.startswith("adj"):
            reason = f"its {flag} would take the conjugate of {operand.name} too"
        if reason is not None:
            bypass.leave(node, reason)
            continue
        inputs = [operand.inputs[0] if place == at else value for place, value in enumerate(changed.inputs)]
        changed = changed.with_inputs(*inputs).with_attrs(**{flag: not node.attrs.get(flag, False)})
    if changed is not node:
        bypass.update(changed, "transposes its operand itself")


def _swaps_last(perm: Perm) -> bool:
    rank = len(perm)
    return rank >= 2 and perm == (*range(rank - 2), rank - 1, rank - 2)
