"""Refuse a SavedModel that would touch files or run foreign code, before anything loads it.

Loading runs the restore op and the initialiser, serving runs the signatures; each is followed through every function
that it could call, so that models which tfopt cannot carry (with loops, say) are checked too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tfopt.errors import UnsafeModel
from tfopt.formats.initialise import init_node
from tfopt.formats.library import named_functions
from tfopt.formats.meta_graph import read_meta_graph
from tfopt.formats.protos import FunctionDef, MetaGraphDef, NodeDef
from tfopt.formats.safety import User
from tfopt.formats.signatures import INIT
from tfopt.ir.facts import UNSAFE

#: What restoring a checkpoint is made of.
_RESTORING = frozenset({"Restore", "RestoreSlice", "RestoreV2", "ShardedFilename"})


def refuse_unsafe(path: Path, *, tags: tuple[str, ...] = ("serve",)) -> None:
    """`check_unsafe` of a SavedModel directory. Raises InvalidModel for what is none."""
    check_unsafe(read_meta_graph(path, tags), str(path))


def check_unsafe(meta_graph: MetaGraphDef, origin: str) -> None:
    """Raises UnsafeModel naming op, node and who reaches it."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    for user, roots, fed, allowed in _users(meta_graph):
        for node in _ran(roots, fed, nodes, functions):
            if node.op in UNSAFE - allowed:
                what = f"{user} reaches {node.op} {node.name}, which touches files or runs foreign code"
                raise UnsafeModel(what, where=origin, hint="export the model without it")


def _users(meta_graph: MetaGraphDef) -> Iterator[tuple[User | str, list[str], set[str], frozenset[str]]]:
    """Who runs something: the nodes it asks for, those it feeds (what makes them does not run), what it may use."""
    for key, signature in meta_graph.signature_def.items():
        if key != INIT:
            fed = {_node_name(info.name) for info in signature.inputs.values()}
            yield User(key), [info.name for info in signature.outputs.values()], fed, frozenset()
    yield User(None), [init_node(meta_graph)], set(), frozenset()
    saver = meta_graph.saver_def
    yield "restoring", [saver.restore_op_name], {_node_name(saver.filename_tensor_name)}, _RESTORING


def _ran(
    roots: Iterable[str], fed: set[str], nodes: dict[str, NodeDef], functions: dict[str, FunctionDef]
) -> Iterator[NodeDef]:
    """Every node that the roots need, and every node of every function that one of these names."""
    waiting, seen = [_node_name(root) for root in roots], set(fed)
    called: list[str] = []
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            waiting += map(_node_name, nodes[name].input)
            called += _called(nodes[name])
            yield nodes[name]
    entered: set[str] = set()
    while called:
        name = called.pop()
        if name in functions and name not in entered:
            entered.add(name)
            for node in functions[name].node_def:
                called += _called(node)
                yield node


def _node_name(reference: str) -> str:
    return reference.removeprefix("^").partition(":")[0]


def _called(node: NodeDef) -> Iterator[str]:
    yield node.op  # a call may be a node whose op is the function's name
    yield from named_functions(node)
