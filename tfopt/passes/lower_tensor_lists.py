"""Let loops carry tensors where they carry lists of tensors."""

from __future__ import annotations

from collections.abc import Iterator

from tfopt.ir.graph import Graph
from tfopt.ir.known_sizes import KnownSizes, around_loop, sizes_in_body
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import Dims, Size, Symbol, product
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.loops.dense_rows import Rows, carry_rows, rows_of_tensor, with_amount, zero_rows
from tfopt.passes.loops.lists import ListVariable, list_variables
from tfopt.passes.loops.variables import Loop, rewrite_loops


@graph_pass
def lower_tensor_lists(graph: Graph) -> Graph | Outcome:
    """Replace lists of tensors that a While reads or writes by one tensor, whose rows are the items.

        %list = TensorListFromTensor(%x)                %loop = While(%zero, %x)
        %loop = While(%zero, %list)               ->      %item = GatherV2(%x, %i, 0)
          %item = TensorListGetItem(%list, %i)

    A list that is written starts as zeros, which is what an item that nobody sets is in a list as well, and is written
    by TensorScatterUpdate, as far as it is not empty. Its items must all have one shape that is known before the loop
    runs: numbers, or sizes of other tensors (a batch). Neither TensorFlow Lite nor ONNX has lists of items whose size
    is unknown.
    """
    read = rewrite_loops(graph, _read_only)
    written = rewrite_loops(read.graph, _written)
    return Outcome(written.graph, (*(finding for finding in read.findings if finding.done), *written.findings))


def _read_only(graph: Graph, editor: Editor, loop: Loop) -> Iterator[Finding]:
    """First, because the size of what is written follows from what is read."""
    found = [item for item in list_variables(graph, loop) if isinstance(item, ListVariable)]
    rows = [rows_of_tensor(graph, item) for item in found if not item.written and item.holds_tensor]
    yield from _carried(graph, editor, loop, rows)


def _written(graph: Graph, editor: Editor, loop: Loop) -> Iterator[Finding]:
    around = KnownSizes(graph)
    inside = sizes_in_body(loop.node, around)
    rows: list[Rows] = []
    for item in list_variables(graph, loop):
        dims = item if isinstance(item, str) else _dims(item, around, inside)
        if isinstance(item, str) or isinstance(dims, str):
            yield Finding(loop.node.name, False, str(dims))
        else:
            made = rows_of_tensor(graph, item) if item.holds_tensor else zero_rows(editor, item, dims)
            rows.append(with_amount(editor, made, dims))
    yield from _carried(graph, editor, loop, rows)


def _carried(graph: Graph, editor: Editor, loop: Loop, rows: list[Rows]) -> Iterator[Finding]:
    if rows:
        carry_rows(graph, editor, loop, rows)
    for item in rows:
        how = "written" if item.variable.written else "read"
        yield Finding(loop.node.name, True, f"the list {item.variable.origin.name}, {how} in it, is {item.type} now")


def _dims(item: ListVariable, around: KnownSizes, inside: KnownSizes) -> Dims | str:
    """The dims of the tensor that takes the place of a list, or why there is none."""
    sizes = {around_loop(inside.dims(node.inputs[2])) for node in item.written}
    if item.holds_tensor:
        dims = around.dims(item.origin.inputs[0])
        if dims is None or around.graph.type_of(item.origin.inputs[0]).shape.dims is None or sizes - {dims[1:]}:
            return f"the items that are set in {item.origin.name} may differ from those it starts with"
    else:
        size = sizes.pop() if len(sizes) == 1 else None
        if size is None or not all(dim.is_dim for dim in size):
            return f"the size of the items of {item.origin.name} is not known before the loop runs"
        length = around.contents(item.origin.inputs[1])
        dims = (*(length or (_ANY,))[:1], *size)
    return dims if product(dims[1:]).factor else f"the items of {item.origin.name} are empty"


#: The length of a list matters where it is a number.
_ANY = Size(1, (Symbol("data", "", 0, 0),))
