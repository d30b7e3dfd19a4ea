"""Ops that tfopt cannot carry. (What is unsafe to run at all is refused before: `unsafe.py`.)"""

from __future__ import annotations

from dataclasses import dataclass

from tfopt.errors import UnsupportedModel
from tfopt.formats.effects import TABLE_WRITES
from tfopt.formats.node_def import op_def
from tfopt.formats.old_ops import removed_in
from tfopt.ir.bodies import BRANCHES
from tfopt.ir.facts import VARIABLE_WRITES
from tfopt.ir.graph import AttrValue, Node
from tfopt.ir.types import DType


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
    if node.op in BRANCHES and DType.RESOURCE in _dtypes(node.attrs.get("Tout")):
        return "which chooses between resources, and that is not carried", "look up in each branch, and choose after it"
    if "Dataset" in node.op or "Iterator" in node.op:
        return "and input pipelines are not carried", "export what comes after the pipeline"
    if user.signature is not None and node.op in VARIABLE_WRITES | TABLE_WRITES:
        hint = "export a signature that only reads; a layer that was exported in training mode writes"
        return "so it changes its own state when it serves", hint
    if since := removed_in(node.op):
        return f"which TensorFlow removed in graph {since}", "export the model with a newer TensorFlow"
    if _has_references(node.op):
        hint = "export the model without it; variables that are only read are carried"
        return "which works on a TF1 reference, and that is not carried", hint
    return None


def _dtypes(value: AttrValue | None) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def _has_references(op: str) -> bool:
    definition = op_def(op)
    return definition is not None and any(arg.is_ref for arg in (*definition.input_arg, *definition.output_arg))
