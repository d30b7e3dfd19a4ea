"""Several models as one, which runs them in one session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate

from tfopt.ir.graph import Graph, Model, Node, Signature, Value


def joined(models: Mapping[str, Model]) -> Model:
    """A model whose signature `name/key` is the signature `key` of the model called `name`. Nothing is shared: nodes,
    and what they keep under a name, are named after their model."""
    parts = [_named(name, model) for name, model in models.items()]
    starts = accumulate((len(part.graph.outputs) for part in parts), initial=0)
    graph = Graph(
        tuple(node for part in parts for node in part.graph),
        tuple(name for part in parts for name in part.graph.inputs),
        tuple(value for part in parts for value in part.graph.outputs),
        tuple(name for part in parts for name in part.graph.targets),
        {value: grid for part in parts for value, grid in part.graph.grids.items()},
        {name: kept for part in parts for name, kept in part.graph.kept.items()},
    )
    signatures = {
        key: _moved(signature, start)
        for part, start in zip(parts, starts, strict=False)
        for key, signature in part.signatures.items()
    }
    assets = tuple(asset for part in parts for asset in part.assets)
    inits = tuple(part.init for part in parts if part.init is not None)
    made = Model(graph, signatures, assets=assets)
    return _initialised(made, inits) if inits else made


def _named(name: str, model: Model) -> Model:
    """The model with this name before those of its nodes and signatures."""

    def within(value: Value) -> Value:
        return Value(f"{name}/{value.node}", value.port)

    def node_within(node: Node) -> Node:
        shared = node.attrs.get("shared_name")
        attrs = {"shared_name": f"{name}/".encode() + shared} if isinstance(shared, bytes) and shared else {}
        return replace(
            node.with_attrs(**attrs),
            name=f"{name}/{node.name}",
            inputs=tuple(map(within, node.inputs)),
            controls=tuple(f"{name}/{control}" for control in node.controls),
        )

    graph = model.graph
    named = Graph(
        tuple(map(node_within, graph.nodes)),
        tuple(f"{name}/{node}" for node in graph.inputs),
        tuple(map(within, graph.outputs)),
        tuple(f"{name}/{node}" for node in graph.targets),
        {within(value): grid for value, grid in graph.grids.items()},
        {f"{name}/{node}": kept for node, kept in graph.kept.items()},
    )
    signatures = {
        f"{name}/{key}": replace(
            signature,
            inputs={key: replace(one, node=f"{name}/{one.node}") for key, one in signature.inputs.items()},
        )
        for key, signature in model.signatures.items()
    }
    assets = tuple(replace(asset, node=f"{name}/{asset.node}") for asset in model.assets)
    return Model(named, signatures, None if model.init is None else f"{name}/{model.init}", assets)


def _moved(signature: Signature, start: int) -> Signature:
    outputs = {name: replace(one, position=start + one.position) for name, one in signature.outputs.items()}
    return replace(signature, outputs=outputs)


def _initialised(model: Model, inits: tuple[str, ...]) -> Model:
    """With one node that waits for what initialises each of the models."""
    node = Node("initialise_all", "NoOp", controls=inits)
    graph = replace(model.graph, nodes=(*model.graph.nodes, node), targets=(*model.graph.targets, node.name))
    return replace(model, graph=graph, init=node.name)
