"""Read and write rows of a tensor together where that is done one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import product
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.loops.dense_rows import unless_empty
from tfopt.passes.loops.row_places import Place, place_of, several_places
from tfopt.passes.loops.row_reads import is_of_one_row

_MASKS = ("begin_mask", "ellipsis_mask", "end_mask", "new_axis_mask", "shrink_axis_mask")


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
        if len(run) == 1:
            (nodes,) = run.values()
            message = f"no row of {source} next to it is read, while others are"
            findings += [Finding(node.name, False, message) for node in nodes]
            continue
        rows = _read_together(graph, editor, source, base, run)
        for offset, nodes in run.items():
            for node in nodes:
                editor.redirect(node.value(), rows.value(offset - min(run)))
        findings.append(Finding(rows.name, True, f"{len(run)} rows of {source} read together"))
    return Outcome(editor.finish(), tuple(findings))


def _neighbours(graph: Graph) -> Iterator[tuple[Value, Value | None, Mapping[int, Sequence[Node]]]]:
    """Rows next to each other that are read one by one: the tensor, what their places are counted from, and who
    reads which. A row that has no such neighbours stands alone, where others of the tensor are read."""
    found: dict[tuple[Value, Value | None], dict[int, list[Node]]] = {}
    for node in graph.by_op.get("GatherV2", ()):
        if is_of_one_row(graph, node) and not node.controls:
            place = place_of(graph, node.inputs[1])
            found.setdefault((node.inputs[0], place.base), {}).setdefault(place.offset, []).append(node)
    for (source, base), readers in found.items():
        for offsets in _runs(sorted(readers)):
            if len(readers) > 1:
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
    places = several_places(graph, editor, first.name, first.inputs[1], base, np.array(offsets)).value()
    made, row = first.outputs[0], first.outputs[0].shape.dims
    outputs = [TensorType(made.dtype, Shape(None if row is None else (len(offsets), *row)))]
    inputs = (first.inputs[0], places, first.inputs[2])
    return editor.add("GatherV2", first.name, inputs, outputs, first.attrs).value()


def _merge_writes(graph: Graph) -> Outcome:
    editor, sizes = Editor(graph), KnownSizes(graph)
    findings = []
    for chain, reason in _chains(graph):
        last = chain[-1].node
        if reason is not None:
            findings.append(Finding(chain[0].node.name, False, reason))
        if len(chain) == 1:
            continue
        covered = _is_everything(graph, sizes, chain)
        rows = _packed(graph, editor, chain, covered)
        value = rows.value() if covered else _written_together(graph, editor, chain, rows)
        editor.redirect(last.value(), value)
        what = "all rows" if covered else f"{len(chain)} rows"
        findings.append(Finding(last.name, True, f"{what} of {chain[0].node.inputs[0]} written together"))
    return Outcome(editor.finish(), tuple(findings))


def _written_together(graph: Graph, editor: Editor, chain: Sequence[_Write], rows: Node) -> Value:
    first, last = chain[0], chain[-1].node
    offsets = np.array([[write.place.offset] for write in chain])
    # Behind one more dim, that of what there is of the rows: all or nothing.
    offsets = offsets if first.amount is None else offsets[np.newaxis]
    places = several_places(graph, editor, last.name, first.number, first.place.base, offsets)
    if first.amount is not None:
        axis = editor.constant(f"{last.name}/axis", np.array(0, np.int32))
        (made,) = rows.outputs
        attrs: dict[str, AttrValue] = {"T": made.dtype, "Tdim": DType.INT32}
        whole = [TensorType(made.dtype, Shape.of(1, *(made.shape.dims or ())))]
        rows = editor.add("ExpandDims", f"{last.name}/all", (rows.value(), axis), whole, attrs)
        places, rows = (unless_empty(editor, node, first.amount) for node in (places, rows))
    inputs = (first.node.inputs[0], places.value(), rows.value())
    return editor.add(last.op, last.name, inputs, last.outputs, last.attrs).value()


class _Write(NamedTuple):
    """A TensorScatterUpdate of the one row `item`; `number` is the scalar that says which. With an `amount` nothing is
    written where that is 0 (`dense_rows.Rows`)."""

    node: Node
    number: Value
    place: Place
    item: Value
    amount: Value | None


def _chains(graph: Graph) -> Iterator[tuple[list[_Write], str | None]]:
    """Writes of different rows, each of what the one before it made and nobody else reads; first one first. Where
    there is another write before the first, with the reason that it is not among them."""
    writes = {node.value(): write for node in graph if (write := _write(graph, node)) is not None}
    inner = {write.node.inputs[0] for write in writes.values() if graph.is_private(write.node.inputs[0])}
    for value, write in writes.items():
        if value in inner:
            continue
        chain, reason = [write], None
        while reason is None and (before := writes.get(chain[0].node.inputs[0])) is not None:
            reason = _reason_to_end(before, chain, is_private=chain[0].node.inputs[0] in inner)
            if reason is None:
                chain.insert(0, before)
        yield chain, reason


def _reason_to_end(before: _Write, chain: Sequence[_Write], *, is_private: bool) -> str | None:
    """Why a write is not done together with those that follow it."""
    name = before.node.name
    if not is_private:
        return f"what {name} wrote is read by others too"
    if before.place in {write.place for write in chain}:
        return f"{name} wrote a row that is written again"
    if (before.place.base, before.amount) != (chain[0].place.base, chain[0].amount):
        return f"{name} wrote a row that is counted from somewhere else"
    return None


def _write(graph: Graph, node: Node) -> _Write | None:
    if node.op != "TensorScatterUpdate" or node.controls:
        return None
    (places, amount), (rows, other) = (_unless_empty(graph, value) for value in node.inputs[1:])
    if rows.op != "ExpandDims" or places.outputs[0].shape != Shape.of(1, 1) or amount != other:
        return None
    axis = graph.constant(rows.inputs[1])
    if axis is None or axis.array.any():
        return None
    number = places.value() if places.op == "Const" else places.inputs[0]
    if places.op == "Const":
        return _Write(node, number, Place(None, int(places.tensor.array.item())), rows.inputs[0], amount)
    if places.op not in ("Reshape", "ExpandDims") or graph.type_of(number).shape.rank != 0:
        return None
    return _Write(node, number, place_of(graph, number), rows.inputs[0], amount)


def _unless_empty(graph: Graph, value: Value) -> tuple[Node, Value | None]:
    """What makes places or rows, and the amount of them that is taken (`dense_rows.unless_empty`)."""
    node = graph.producer(value)
    if node.op != "StridedSlice" or node.controls or any(node.attrs.get(mask) for mask in _MASKS):
        return node, None
    begin, by = graph.constant(node.inputs[1]), graph.constant(node.inputs[3])
    if begin is None or by is None or begin.array.tolist() != [0] or by.array.tolist() != [1]:
        return node, None
    made = graph.producer(node.inputs[0])
    return (made, node.inputs[2]) if made.outputs[0].shape.dims and made.outputs[0].shape.dims[0] == 1 else (node, None)


def _packed(graph: Graph, editor: Editor, chain: Sequence[_Write], covered: bool) -> Node:
    """The rows as one tensor, by their places where that is all of it."""
    ordered = sorted(chain, key=lambda write: write.place.offset) if covered else chain
    row = graph.type_of(chain[0].item)
    dims = row.shape.dims
    made = TensorType(row.dtype, Shape(None if dims is None else (len(chain), *dims)))
    attrs: dict[str, AttrValue] = {"T": row.dtype, "N": len(chain), "axis": 0}
    name = chain[-1].node.name
    return editor.add("Pack", f"{name}/rows", [write.item for write in ordered], [made], attrs)


def _is_everything(graph: Graph, sizes: KnownSizes, chain: Sequence[_Write]) -> bool:
    dims = graph.type_of(chain[0].node.inputs[0]).shape.dims
    is_numbered = all(write.place.base is None for write in chain)
    covers = is_numbered and dims is not None and {write.place.offset for write in chain} == set(range(dims[0] or 0))
    return covers and all(write.amount is None or _has_amount(sizes, write) for write in chain)


def _has_amount(sizes: KnownSizes, write: _Write) -> bool:
    """Where the amount is 0, is what is written to empty too, and has the shape of the rows?"""
    assert write.amount is not None
    tensor, item, amounts = sizes.dims(write.node.inputs[0]), sizes.dims(write.item), sizes.contents(write.amount)
    if tensor is None or item is None or amounts is None or tensor[1:] != item:
        return False
    return len(amounts) == 1 and amounts[0].is_dim and product(item).over(amounts[0]) is not None
