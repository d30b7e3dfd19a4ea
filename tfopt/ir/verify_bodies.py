"""What holds between a control-flow op and its functions: how many values go in and out, and of which dtypes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tfopt.ir.bodies import BRANCHES, WHILES, bodies, first_argument
from tfopt.ir.graph import AttrValue, Graph, Node
from tfopt.ir.types import DType, Shape


def control_flow_problems(node: Node) -> Iterator[str]:
    """Every broken rule; none for ops that are no control flow."""
    if node.op in WHILES:
        yield from _while_problems(node)
    elif node.op in BRANCHES:
        yield from _branch_problems(node)


def _while_problems(node: Node) -> Iterator[str]:
    carried = node.attrs.get("T")
    yield from _own_problems(node, carried, carried, ("cond", "body"))
    for label, function in bodies(node):
        yield from _signature_problems(label, function, carried, None if label == "cond" else carried)
        if label == "cond" and len(function.outputs) != 1:
            yield f"its cond returns {len(function.outputs)} values, not 1"


def _branch_problems(node: Node) -> Iterator[str]:
    taken, made = node.attrs.get("Tin"), node.attrs.get("Tout")
    wanted = ("then_branch", "else_branch") if node.op.endswith("If") else ("branches/0",)
    yield from _own_problems(node, taken, made, wanted)
    for label, function in bodies(node):
        yield from _signature_problems(label, function, taken, made)


def _own_problems(
    node: Node, taken: AttrValue | None, made: AttrValue | None, functions: Sequence[str]
) -> Iterator[str]:
    there = {label for label, _ in bodies(node)}
    for label in functions:
        if label not in there:
            yield f"has no function {label}"
    arguments = len(node.inputs) - first_argument(node)
    if not isinstance(taken, tuple) or len(taken) != arguments:
        yield f"hands {arguments} values to its functions, its attributes say {_listed(taken)}"
    outputs = tuple(out.dtype for out in node.outputs)
    if outputs != made:
        yield f"makes {_listed(outputs)}, its attributes say {_listed(made)}"
    shapes = node.attrs.get("output_shapes", ())
    if not isinstance(shapes, tuple) or not all(isinstance(shape, Shape) for shape in shapes):
        yield "has output_shapes that are no shapes"
    elif shapes and len(shapes) != len(outputs):
        yield f"makes {len(outputs)} values and has {len(shapes)} output_shapes"


def _signature_problems(label: str, function: Graph, taken: AttrValue | None, made: AttrValue | None) -> Iterator[str]:
    """`made` is None where what the function returns is not the op's to say."""
    arguments = _dtypes(function, [(name, 0) for name in function.inputs])
    if arguments is not None and arguments != taken:
        yield f"its {label} takes {_listed(arguments)}, it hands over {_listed(taken)}"
    returned = _dtypes(function, function.outputs)
    if made is not None and returned is not None and returned != made:
        yield f"its {label} returns {_listed(returned)}, it makes {_listed(made)}"


def _dtypes(function: Graph, values: Sequence[tuple[str, int]]) -> tuple[DType, ...] | None:
    """None when a value does not exist, which the function's own check has told."""
    if not all(name in function and port < len(function[name].outputs) for name, port in values):
        return None
    return tuple(function[name].outputs[port].dtype for name, port in values)


def _listed(dtypes: AttrValue | None) -> str:
    return f"({', '.join(map(str, dtypes))})" if isinstance(dtypes, tuple) else "nothing"
