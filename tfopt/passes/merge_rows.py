"""Read and write rows of a tensor together where that is done one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Shape, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.row_places import Place, place_of, several_places
from tfopt.passes.row_reads import is_of_one_row


@graph_pass
def merge_rows(graph: Graph) -> Graph | Outcome:
    """Merge reads of neighbouring rows into one, and writes of several rows.

        %a = GatherV2(%x, 0, 0)                         %a, %b = Unpack(%x)
        %b = GatherV2(%x, 1, 0)                   ->    %all = Pack(%v, %w)
        %one = TensorScatterUpdate(%zeros, [[0]], [%v])
        %all = TensorScatterUpdate(%one, [[1]], [%w])

    This is what unrolled loops leave behind. Places are numbers, or a number more than one value, such as a loop's
    counter. Where all rows of a tensor are written nothing is left of what it was.
    """
    reads = _merge_reads(graph)
    writes = _merge_writes(reads.graph)
    return Outcome(writes.graph, (*reads.findings, *writes.findings))


def _merge_reads(graph: Graph) -> Outcome:
    editor = Editor(graph)
    findings = []
    for source, base, run in _neighbours(graph):
        rows = _read_together(graph, editor, source, base, run)
        for offset, nodes in run.items():
            for node in nodes:
                editor.redirect(node.value(), rows.value(offset - min(run)))
        findings.append(Finding(rows.name, True, f"{len(run)} rows of {source} read together"))
    return Outcome(editor.finish(), tuple(findings))


def _neighbours(graph: Graph) -> Iterator[tuple[Value, Value | None, Mapping[int, Sequence[Node]]]]:
    """Rows next to each other that are read one by one: the tensor, what their places are counted from, and who
    reads which."""
    found: dict[tuple[Value, Value | None], dict[int, list[Node]]] = {}
    for node in graph.by_op.get("GatherV2", ()):
        if is_of_one_row(graph, node) and not node.controls:
            place = place_of(graph, node.inputs[1])
            found.setdefault((node.inputs[0], place.base), {}).setdefault(place.offset, []).append(node)
    for (source, base), readers in found.items():
        for offsets in _runs(sorted(readers)):
            if len(offsets) > 1:
                yield source, base, {offset: readers[offset] for offset in offsets}


def _runs(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Numbers that follow each other."""
    for _, run in groupby(enumerate(numbers), key=lambda item: item[1] - item[0]):
        yield [number for _, number in run]


def _read_together(
    graph: Graph, editor: Editor, source: Value, base: Value | None, run: Mapping[int, Sequence[Node]]
) -> Node:
    """An Unpack of the rows: of the whole tensor where these are all, else of what one GatherV2 takes."""
    first, offsets = run[min(run)][0], sorted(run)
    dims = graph.type_of(source).shape.dims
    is_all = base is None and dims is not None and dims[:1] == (len(offsets),) and offsets[0] == 0
    rows = source if is_all else _gathered(graph, editor, first, base, offsets)
    outputs = [first.outputs[0]] * len(offsets)
    attrs: dict[str, AttrValue] = {"T": first.outputs[0].dtype, "num": len(offsets), "axis": 0}
    return editor.add("Unpack", f"{source.node}/rows", (rows,), outputs, attrs)


def _gathered(graph: Graph, editor: Editor, first: Node, base: Value | None, offsets: Sequence[int]) -> Value:
    places = several_places(graph, editor, first.name, first.inputs[1], base, np.array(offsets))
    made, row = first.outputs[0], first.outputs[0].shape.dims
    outputs = [TensorType(made.dtype, Shape(None if row is None else (len(offsets), *row)))]
    inputs = (first.inputs[0], places, first.inputs[2])
    return editor.add("GatherV2", first.name, inputs, outputs, first.attrs).value()


def _merge_writes(graph: Graph) -> Outcome:
    editor = Editor(graph)
    findings = []
    for chain in _chains(graph):
        last = chain[-1].node
        rows = _packed(graph, editor, chain)
        covered = _is_everything(graph, chain)
        if not covered:
            base, tensor = chain[0].place.base, chain[0].node.inputs[0]
            offsets = np.array([[write.place.offset] for write in chain])
            places = several_places(graph, editor, last.name, chain[0].number, base, offsets)
            rows = editor.add(last.op, last.name, (tensor, places, rows), last.outputs, last.attrs).value()
        editor.redirect(last.value(), rows)
        what = "all rows" if covered else f"{len(chain)} rows"
        findings.append(Finding(last.name, True, f"{what} of {chain[0].node.inputs[0]} written together"))
    return Outcome(editor.finish(), tuple(findings))


class _Write(NamedTuple):
    """A TensorScatterUpdate of the one row `item`; `number` is the scalar that says which."""

    node: Node
    number: Value
    place: Place
    item: Value


def _chains(graph: Graph) -> Iterator[list[_Write]]:
    """Writes of different rows, each of what the one before it made and nobody else reads; first one first."""
    writes = {node.value(): write for node in graph if (write := _write(graph, node)) is not None}
    inner = {write.node.inputs[0] for write in writes.values() if graph.is_private(write.node.inputs[0])}
    for value, write in writes.items():
        if value in inner:
            continue
        chain, places = [write], {write.place}
        while chain[0].node.inputs[0] in inner and chain[0].node.inputs[0] in writes:
            before = writes[chain[0].node.inputs[0]]
            if before.place in places or before.place.base != write.place.base:
                break
            places.add(before.place)
            chain.insert(0, before)
        if len(chain) > 1:
            yield chain


def _write(graph: Graph, node: Node) -> _Write | None:
    if node.op != "TensorScatterUpdate" or node.controls:
        return None
    places, rows = graph.producer(node.inputs[1]), graph.producer(node.inputs[2])
    if rows.op != "ExpandDims" or graph.type_of(node.inputs[1]).shape != Shape.of(1, 1):
        return None
    axis = graph.constant(rows.inputs[1])
    if axis is None or axis.array.any():
        return None
    number = node.inputs[1] if places.op == "Const" else places.inputs[0]
    if places.op == "Const":
        return _Write(node, number, Place(None, int(places.tensor.array.item())), rows.inputs[0])
    if places.op not in ("Reshape", "ExpandDims") or graph.type_of(number).shape.rank != 0:
        return None
    return _Write(node, number, place_of(graph, number), rows.inputs[0])


def _packed(graph: Graph, editor: Editor, chain: Sequence[_Write]) -> Value:
    """The rows as one tensor, by their places where that is all of it."""
    ordered = sorted(chain, key=lambda write: write.place.offset) if _is_everything(graph, chain) else chain
    row = graph.type_of(chain[0].node.inputs[2])
    dims = row.shape.dims
    made = TensorType(row.dtype, Shape(None if dims is None else (len(chain), *dims[1:])))
    attrs: dict[str, AttrValue] = {"T": row.dtype, "N": len(chain), "axis": 0}
    name = chain[-1].node.name
    return editor.add("Pack", f"{name}/rows", [write.item for write in ordered], [made], attrs).value()


def _is_everything(graph: Graph, chain: Sequence[_Write]) -> bool:
    dims = graph.type_of(chain[0].node.inputs[0]).shape.dims
    is_numbered = all(write.place.base is None for write in chain)
    return is_numbered and dims is not None and {write.place.offset for write in chain} == set(range(dims[0] or 0))
