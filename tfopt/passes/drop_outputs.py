"""Drop signatures and outputs that nobody reads, because the recipe says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from tfopt.errors import UsageError, nearest
from tfopt.ir.graph import Graph, Model, Signature
from tfopt.ir.rewrite import reachable
from tfopt.passes.base import Finding, ModelOutcome, graph_pass


@graph_pass
def drop_outputs(model: Model, *, signatures: tuple[str, ...] = (), outputs: tuple[str, ...] = ()) -> ModelOutcome:
    """Drop signatures and outputs that nobody reads, and all that only they need.

        serving_default: image=%x -> scores=%y, features=%f    ->    serving_default: image=%x -> scores=%y
        features: image=%x -> features=%f

    The one step that changes what a caller may ask for, so it does nothing unless it is told the names: `signatures` by
    their keys, `outputs` as `signature:output`, or `output` for every signature that has one of this name. All others
    stay, and so do inputs that nothing reads any more. Raises UsageError for a name that is not there, for what would
    leave no signature, or a signature without outputs, and for one part of a sparse or ragged output.
    """
    names = {key: tuple(signature.outputs) for key, signature in model.signatures.items()}
    kept = remaining(names, signatures=signatures, outputs=outputs)
    if kept == names:
        return ModelOutcome(model)
    changed = {key: _with_outputs(key, model.signatures[key], left) for key, left in kept.items()}
    findings = tuple(
        Finding(node.node, True, f"dropped: {told}")
        for key, signature in model.signatures.items()
        for name, entry in signature.outputs.items()
        for node, told in [(model.graph.outputs[entry.position], f"the output {name} of the signature {key}")]
        if name not in kept.get(key, ())
    )
    return ModelOutcome(_compacted(model, changed), findings)


def remaining(
    names: Mapping[str, Collection[str]], *, signatures: Collection[str] = (), outputs: Collection[str] = ()
) -> dict[str, tuple[str, ...]]:
    """What is left of the outputs by signature when these are dropped. Raises UsageError as the pass."""
    for key in signatures:
        if key not in names:
            raise UsageError(f"drop_outputs: there is no signature {key}", hint=nearest(key, names))
    left = {key: tuple(found) for key, found in names.items() if key not in signatures}
    if not left:
        raise UsageError("drop_outputs would leave no signature", hint="keep the one that is served")
    for output in outputs:
        known = {f"{key}:{name}" for key, found in left.items() for name in found}
        gone = {each for each in known if output in (each, each.partition(":")[2])}
        if not gone:
            plain = {each.partition(":")[2] for each in known}
            raise UsageError(f"drop_outputs: there is no output {output}", hint=nearest(output, known | plain))
        left = {key: tuple(name for name in found if f"{key}:{name}" not in gone) for key, found in left.items()}
    for key, found in left.items():
        if not found and names[key]:
            hint = f"drop the signature (signatures: [{key}])"
            raise UsageError(f"drop_outputs would leave the signature {key} without outputs", hint=hint)
    return left


def _with_outputs(key: str, signature: Signature, left: Collection[str]) -> Signature:
    composites = []
    for composite in signature.composites:
        parts = [part for part in composite.parts if composite.is_input or part in left]
        if parts and len(parts) < len(composite.parts):
            what = f"the output {composite.name} of {key} is one of {len(composite.parts)} tensors"
            raise UsageError(f"drop_outputs: {what}", hint=f"drop all of them: {', '.join(composite.parts)}")
        if parts:
            composites.append(composite)
    outputs = {name: entry for name, entry in signature.outputs.items() if name in left}
    return replace(signature, outputs=outputs, composites=tuple(composites))


def _compacted(model: Model, signatures: Mapping[str, Signature]) -> Model:
    """The model with these signatures, its graph with the outputs that they read and the inputs that they feed."""
    read = {entry.position for signature in signatures.values() for entry in signature.outputs.values()}
    before = {entry.position for signature in model.signatures.values() for entry in signature.outputs.values()}
    kept = [position for position in range(len(model.graph.outputs)) if position in read or position not in before]
    places = {position: place for place, position in enumerate(kept)}
    moved = {
        key: replace(
            signature,
            outputs={
                name: replace(entry, position=places[entry.position]) for name, entry in signature.outputs.items()
            },
        )
        for key, signature in signatures.items()
    }
    fed = {entry.node for signature in model.signatures.values() for entry in signature.inputs.values()}
    still = {entry.node for signature in signatures.values() for entry in signature.inputs.values()}
    graph = replace(
        model.graph,
        outputs=tuple(model.graph.outputs[position] for position in kept),
        inputs=tuple(name for name in model.graph.inputs if name in still or name not in fed),
    )
    return replace(model, graph=_needed(graph), signatures=moved)


def _needed(graph: Graph) -> Graph:
    needed = reachable(graph, (*(value.node for value in graph.outputs), *graph.targets, *graph.inputs))
    grids = {value: grid for value, grid in graph.grids.items() if value.node in needed}
    return replace(graph, nodes=tuple(node for node in graph.nodes if node.name in needed), grids=grids)
