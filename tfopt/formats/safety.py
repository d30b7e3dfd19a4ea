"""Ops that tfopt cannot carry. (What is unsafe to run at all is refused before: `unsafe.py`.)"""

from __future__ import annotations

from dataclasses import dataclass

from tfopt.errors import UnsupportedModel
from tfopt.formats.effects import TABLE_WRITES, ops
from tfopt.formats.node_def import op_def
from tfopt.ir.facts import VARIABLE_WRITES
from tfopt.ir.graph import FunctionRef, Node

_CONTROL_FLOW = ops(
    """
    While StatelessWhile If StatelessIf Case StatelessCase For Enter Exit NextIteration Merge Switch LoopCond RefEnter
    RefExit RefNextIteration RefMerge RefSwitch RefSelect
    """
)


@dataclass(frozen=True, slots=True)
class User:
    """Who reaches a node: a signature, or the initialiser (`signature` is None)."""

    signature: str | None

    def __str__(self) -> str:
        return "the initialiser" if self.signature is None else f"signature {self.signature}"


def check(node: Node, user: User, where: str) -> None:
    """Raise UnsupportedModel, naming op, node and user, when the node cannot be taken."""
    problem = _problem(node, user)
    if problem is not None:
        what, hint = problem
        raise UnsupportedModel(f"{user} reaches {node.op}, {what}", where=where, hint=hint)


def _problem(node: Node, user: User) -> tuple[str, str] | None:
    if node.op in _CONTROL_FLOW:
        return "and control flow is not carried yet", "export the model without loops and branches"
    if "Dataset" in node.op or "Iterator" in node.op:
        return "and input pipelines are not carried", "export what comes after the pipeline"
    if _names_function(node):
        return "which runs a function, and that is not carried yet", "export the model without it"
    if _has_references(node.op):
        hint = "load it in TensorFlow 2 and save it again with tf.saved_model.save"
        return "and TF1 reference variables are not carried yet", hint
    if user.signature is not None and node.op in VARIABLE_WRITES | TABLE_WRITES:
        hint = "export a signature that only reads; a layer that was exported in training mode writes"
        return "so it changes its own state when it serves", hint
    return None


def _names_function(node: Node) -> bool:
    return any(
        isinstance(item, FunctionRef) and item.name
        for value in node.attrs.values()
        for item in (value if isinstance(value, tuple) else (value,))
    )


def _has_references(op: str) -> bool:
    definition = op_def(op)
    return definition is not None and any(arg.is_ref for arg in (*definition.input_arg, *definition.output_arg))
