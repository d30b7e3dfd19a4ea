"""What a student is taught: which of its values are to become which of the teacher's, and how they are compared.

Of a classifier these are the scores before the softmax: what is lost in probabilities near 0 and 1 is there still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias

from tfopt.errors import UsageError
from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import Graph, Model, Value
from tfopt.ir.rewrite import reachable
from tfopt.ir.types import DType, TensorType

#: How two values are compared: divergence of classes, of each number's yes and no, squared error over the teacher's
#: power, one minus the cosine.
Kind: TypeAlias = Literal["classes", "binary", "mse", "cosine"]

#: Values that are compared within the model, at most.
_HINTS: Final = 6
#: Where a block of a network ends.
_ENDS: Final = frozenset({"Relu", "Relu6", "Add", "AddV2", "Elu", "Selu", "LeakyRelu"})
_SQUASHED: Final[dict[str, Kind]] = {"Softmax": "classes", "LogSoftmax": "classes", "Sigmoid": "binary"}
#: What carries scores on as they are, but for the rounding of a student on integers.
_PASSED: Final = IDENTITIES | {"Reshape", "Squeeze", "ExpandDims", "FakeQuantWithMinMaxArgs"}


@dataclass(frozen=True, slots=True)
class Target:
    """`student` of the one graph is to become `teacher` of the other; `name` is the output's, or the node's of a hint.
    `answers` when what is compared is an output, or the scores that it is made of."""

    name: str
    student: Value
    teacher: Value
    kind: Kind
    answers: bool = True


def targets(
    student: Model, teacher: Model, key: str, loss: Literal["auto", "kl", "mse", "cosine"] = "auto"
) -> tuple[Target, ...]:
    """What the outputs of a signature are compared by, each value once; outputs that are no floats are left out, and
    those that the student no longer has.

    Raises UsageError when there is none.
    """
    found: dict[tuple[Value, Value], Target] = {}
    for name, output in sorted(teacher.signatures[key].outputs.items()):
        own = student.signatures[key].outputs.get(name)
        if own is not None and output.type.dtype.is_floating:
            taught = student.graph.outputs[own.position]
            target = _target(name, student.graph, taught, teacher.graph, teacher.graph.outputs[output.position], loss)
            found.setdefault((target.student, target.teacher), target)
    if not found:
        what = f"the signature {key} has no floating-point output that a student could be taught by"
        raise UsageError(what, hint="classes alone say too little: let the model give its scores too")
    return tuple(found.values())


def _target(name: str, student: Graph, taught: Value, teacher: Graph, known: Value, loss: str) -> Target:
    student_op, student_scores = squashed(student, taught)
    op, scores = squashed(teacher, known)
    student_kind, kind = _SQUASHED.get(student_op or ""), _SQUASHED.get(op or "")
    if kind != student_kind or kind is None:
        return Target(name, taught, known, "cosine" if loss == "cosine" else "classes" if loss == "kl" else "mse")
    if loss in ("mse", "cosine"):
        kind = loss  # type: ignore[assignment]  # one of the two, which mypy does not see
    assert kind is not None
    return Target(name, student_scores, scores, kind)


def squashed(graph: Graph, value: Value) -> tuple[str | None, Value]:
    """The op (Softmax, LogSoftmax, Sigmoid) that the value is the result of, and what it squashes; None and the value
    itself when there is none."""
    at = value
    while graph.producer(at).op in _PASSED and graph.producer(at).inputs:
        at = graph.producer(at).inputs[0]
    node = graph.producer(at)
    if node.op in _SQUASHED and not node.controls:
        return node.op, node.inputs[0]
    return None, value


def hints(student: Model, teacher: Model, key: str, patterns: tuple[str, ...] = ()) -> tuple[Target, ...]:
    """Values in both under one name and of one shape, which some weight of the student still makes: the ends of blocks,
    or those that the patterns name (as in a shell).

    Raises UsageError when patterns name none.
    """
    shared = list(_shared(student, teacher, key))
    if patterns:
        chosen = [target for target in shared if any(fnmatchcase(target.name, pattern) for pattern in patterns)]
        if not chosen:
            what = f"no value of both models, and of one shape in both, is called {' or '.join(patterns)}"
            raise UsageError(what, hint=f"such as {', '.join(target.name for target in shared[:5])}")
        return tuple(chosen)
    ends = [target for target in shared if student.graph[target.name].op in _ENDS]
    step = max(1, -(-len(ends) // _HINTS))
    return tuple(ends[step - 1 :: step])


def _shared(student: Model, teacher: Model, key: str) -> Iterator[Target]:
    needed = reachable(student.graph, _outputs(student, key)) & reachable(teacher.graph, _outputs(teacher, key))
    for node in student.graph.nodes:
        if node.name not in needed or node.op in ("Const", "Placeholder"):
            continue
        other = teacher.graph[node.name]
        if len(node.outputs) == 1 and other.outputs == node.outputs and _is_features(node.outputs[0]):
            yield Target(node.name, node.value(), other.value(), "mse", answers=False)


def _outputs(model: Model, key: str) -> list[str]:
    return [model.graph.outputs[output.position].node for output in model.signatures[key].outputs.values()]


def _is_features(kind: TensorType) -> bool:
    dims = kind.shape.dims
    return kind.dtype is DType.FLOAT32 and dims is not None and len(dims) > 1 and None not in dims[1:]
