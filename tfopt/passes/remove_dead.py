"""Drop what nobody needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tfopt.ir.graph import Graph
from tfopt.ir.rewrite import reachable
from tfopt.passes.base import Finding, Outcome, graph_pass


@graph_pass
def remove_dead(graph: Graph) -> Graph | Outcome:
    """Remove nodes that no output, input or target needs.

        %x = Placeholder()                    %x = Placeholder()
        %y = Relu(%x)                   ->    %y = Relu(%x)
        %unread = Exp(%x)                     outputs %y
        outputs %y

    Inputs stay even when nothing reads them: a caller may still feed them.
    """
    roots = (*(value.node for value in graph.outputs), *graph.targets, *graph.inputs)
    needed = reachable(graph, roots)
    if len(needed) == len(graph.nodes):
        return graph
    dead = [node for node in graph.nodes if node.name not in needed]
    kept = tuple(node for node in graph.nodes if node.name in needed)
    first = {node.op: node.name for node in reversed(dead)}
    findings = [
        Finding(first[op], True, f"removed {count} {op} that nothing needs")
        for op, count in sorted(Counter(node.op for node in dead).items())
    ]
    return Outcome(replace(graph, nodes=kept), tuple(findings))
