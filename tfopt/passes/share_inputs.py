"""Let signatures with equal inputs read one Placeholder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tfopt.ir.graph import Graph, Model, Node, Signature, SignatureInput
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass


@graph_pass
def share_inputs(model: Model) -> Model | ModelOutcome:
    """Let inputs of one name and type in several signatures be one Placeholder.

        serve: image=%serve/image                serve: image=%image
        serving_default: image=%image     ->     serving_default: image=%image

    Signatures that compute the same (Keras 3 writes each model as `serve` and as `serving_default`) then read the
    same, and merge_duplicates makes one graph of them. A call runs what its own signature's outputs need and feeds
    that signature's inputs, so it cannot notice. The one call that runs several signatures together, TensorFlow
    Serving's MultiInference, feeds one value to all of them and asks that their input be one tensor. Keys, names,
    dtypes and shapes of the signatures stay. An input of another shape keeps its own Placeholder, because what is
    computed from it has other shapes too.
    """
    names = _names(model)
    first: dict[str, list[Node]] = {}
    same: dict[str, str] = {}
    findings = []
    for name, node in _inputs(model):
        kept = first.setdefault(name, [])
        if node in kept or node.name in same:
            continue
        twin = next((other for other in kept if other.outputs == node.outputs), None)
        reason = _reason_to_stay(model, node, twin, names)
        if twin is not None and reason is None:
            same[node.name] = twin.name
            findings.append(Finding(node.name, True, f"the input {name} is {twin.name}"))
            continue
        if kept:
            findings.append(
                Finding(node.name, False, reason or f"is {node.outputs[0]}, {kept[0].name} is another type")
            )
        kept.append(node)
    return ModelOutcome(_shared(model, same) if same else model, tuple(findings))


def _inputs(model: Model) -> Iterator[tuple[str, Node]]:
    for signature in model.signatures.values():
        for name, entry in signature.inputs.items():
            yield name, model.graph[entry.node]


def _names(model: Model) -> Mapping[str, set[str]]:
    """Under which names each Placeholder is fed."""
    found: dict[str, set[str]] = {}
    for name, node in _inputs(model):
        found.setdefault(node.name, set()).add(name)
    return found


def _reason_to_stay(model: Model, node: Node, twin: Node | None, names: Mapping[str, set[str]]) -> str | None:
    if twin is None:
        return None
    for other in (node, twin):
        if len(names[other.name]) > 1:  # to share it could feed one value for two inputs of a signature
            return f"{other.name} is fed under several names: {', '.join(sorted(names[other.name]))}"
    return "is a target of the graph" if node.name in model.graph.targets else None


def _shared(model: Model, same: Mapping[str, str]) -> Model:
    signatures = {key: _renamed(signature, same) for key, signature in model.signatures.items()}
    return replace(model, graph=_without(model.graph, same), signatures=signatures)


def _renamed(signature: Signature, same: Mapping[str, str]) -> Signature:
    inputs = {
        name: SignatureInput(same.get(entry.node, entry.node), entry.type) for name, entry in signature.inputs.items()
    }
    return replace(signature, inputs=inputs)


def _without(graph: Graph, same: Mapping[str, str]) -> Graph:
    editor = Editor(replace(graph, inputs=tuple(name for name in graph.inputs if name not in same)))
    for node in graph.nodes:
        if not same.keys().isdisjoint(node.controls):
            waits = dict.fromkeys(same.get(name, name) for name in node.controls)
            editor.update(replace(node, controls=tuple(waits)))
    for name, twin in same.items():
        editor.redirect(graph[name].value(), graph[twin].value())
        editor.remove(name)
    return editor.finish()
