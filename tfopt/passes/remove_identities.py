"""Drop the nodes, and the waiting, that do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tfopt.ir.facts import IDENTITIES, idle_nodes
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding, Outcome, graph_pass


@graph_pass
def remove_identities(graph: Graph) -> Graph | Outcome:
    """Remove nodes that hand their input on, and control edges that wait for nothing.

        %a = Identity(%x, ^reads)             %y = Relu(%x)
        %y = Relu(%a)                   ->

    These are Identity, IdentityN, StopGradient, PreventGradient, Snapshot, a Cast to the dtype that the value has,
    and a PlaceholderWithDefault that no caller can feed. A control edge goes when neither the node waited for nor
    anything it needs has an effect. An Identity that leads an input straight to an output stays: TensorFlow
    refuses to fetch what is fed.
    """
    editor = Editor(graph)
    findings = []
    waited = any(node.controls for node in graph.nodes)
    idle = idle_nodes(graph) if waited else frozenset()
    source: dict[Value, Value] = {}
    for node in graph.nodes:
        controls = tuple(name for name in node.controls if name not in idle) if node.controls else ()
        if len(controls) != len(node.controls):
            editor.update(replace(node, controls=controls))
        for port in _handed_on(graph, node):
            value, origin = node.value(port), source.get(node.inputs[port], node.inputs[port])
            reason = _reason_to_stay(graph, value, origin, controls)
            if reason is None:
                source[value] = origin
                editor.redirect(value, origin)
            findings.append(Finding(node.name, reason is None, reason or f"{node.op} of {origin} removed"))
    return Outcome(editor.finish(), tuple(findings))


def _handed_on(graph: Graph, node: Node) -> Iterator[int]:
    """The ports on which a node repeats its input of that number, where somebody reads them."""
    is_identity = (
        node.op in IDENTITIES
        or node.op == "IdentityN"
        or (node.op == "Cast" and node.attrs.get("SrcT") == node.attrs.get("DstT"))
        or (node.op == "PlaceholderWithDefault" and node.name not in graph.inputs)
    )
    if is_identity:
        for port in range(len(node.outputs)):
            if graph.is_read(node.value(port)):
                yield port


def _reason_to_stay(graph: Graph, value: Value, origin: Value, controls: tuple[str, ...]) -> str | None:
    if controls:
        return f"waits for {', '.join(controls)}, which may have an effect"
    if value in graph.output_set and graph.producer(origin).op == "Placeholder":
        return f"leads the input {origin} to an output, and TensorFlow does not fetch what is fed"
    return None
