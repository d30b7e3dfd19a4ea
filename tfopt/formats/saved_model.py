"""Read a SavedModel as TF Serving's session would see it, without running any of it.

The signatures and the initialiser become one flat graph: calls inlined, variables frozen, training left behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfopt.errors import UnsupportedModel
from tfopt.formats.assets import asset_values, read_asset
from tfopt.formats.captured import take_in_values
from tfopt.formats.checkpoint import Checkpoint
from tfopt.formats.freeze import Freezer, restored_variables
from tfopt.formats.functions import settled
from tfopt.formats.initialise import check_table_files, init_node, noticed, read_assets_directly
from tfopt.formats.inline import Inliner
from tfopt.formats.library import Library, graph_body
from tfopt.formats.meta_graph import read_meta_graph
from tfopt.formats.names import Names
from tfopt.formats.old_ops import modernise
from tfopt.formats.protos import MetaGraphDef
from tfopt.formats.restored_tables import fill_from_checkpoint
from tfopt.formats.safety import User
from tfopt.formats.settled_branches import settle_branches
from tfopt.formats.shapes import with_types
from tfopt.formats.signatures import Entry, SignatureSpec, signature_specs
from tfopt.formats.unsafe import check_unsafe
from tfopt.formats.worlds import worlds
from tfopt.ir.graph import (
    DEFAULT_SIGNATURE,
    Asset,
    AttrValue,
    Graph,
    Model,
    Node,
    Signature,
    SignatureInput,
    SignatureOutput,
    Value,
)
from tfopt.ir.rewrite import reachable
from tfopt.ir.types import DType, Shape, Tensor
from tfopt.ir.verify import verify_model


def read_saved_model(path: Path, *, tags: tuple[str, ...] = ("serve",)) -> Model:
    """The model at `path`, a SavedModel directory, with the MetaGraph that has exactly these tags.

    Inputs are Placeholders named after the input (`image`; `key/image` where a signature other than serving_default
    has its own). Weights are Const nodes, one a variable. Raises NotFound when nothing is there, InvalidModel for what
    is broken or no model at all, UnsupportedModel for what tfopt cannot carry, UnsafeModel for what would touch files
    or run foreign code, each naming file, or op, node and signature.
    """
    path = Path(path)
    meta_graph = read_meta_graph(path, tags)
    check_unsafe(meta_graph, str(path))
    modernise(meta_graph)
    specs = signature_specs(meta_graph, str(path))
    names = Names()
    inliner = Inliner(graph_body(meta_graph.graph_def), Library(meta_graph.graph_def), names, str(path))
    inputs = _feed_inputs(inliner, specs)
    assets = _attach_assets(inliner, meta_graph, path)
    outputs, init = _read_worlds(inliner, specs, init_node(meta_graph))
    restore = inliner.run(meta_graph.saver_def.restore_op_name, None)

    flat = Graph(tuple(inliner.nodes.values()), tuple(inputs.values()), outputs, tuple(asset.node for asset in assets))
    variables = restored_variables(flat, restore, str(path))
    checkpoint = Checkpoint(path)
    served = reachable(flat, (value.node for value in flat.outputs))
    flat, filled = fill_from_checkpoint(flat, restore, served, checkpoint, str(path))
    flat = _initialised(flat, init.union(filled), names.free("init"))
    check_table_files(flat, flat.targets, str(path))
    flat = _frozen(flat, Freezer(variables, checkpoint, inliner.users, str(path)))
    graph = replace(flat, nodes=with_types(flat.nodes))

    signatures = _signatures(specs, inputs)
    model = Model(graph, signatures, next((t for t in graph.targets if graph[t].op == "NoOp"), None), assets, tags)
    verify_model(model, str(path))
    _check_feeds(model, str(path))
    return model


def _feed_inputs(inliner: Inliner, specs: Iterable[SignatureSpec]) -> Mapping[Value, str]:
    """The Placeholder of every value that a signature feeds; signatures that feed one value share it."""
    placeholders: dict[Value, str] = {}
    for spec in specs:
        for name, entry in spec.inputs.items():
            if entry.value not in placeholders:
                wish = name if spec.key == DEFAULT_SIGNATURE else f"{spec.key}/{name}"
                fed = inliner.graph.node(entry.value.node, f"signature {spec.key}")
                attrs: dict[str, AttrValue] = {"dtype": entry.type.dtype, "shape": _fed_shape(fed, entry)}
                placeholders[entry.value] = inliner.add_root(wish, Node("", "Placeholder", (), attrs), entry.value)
    return placeholders


def _read_worlds(
    inliner: Inliner, specs: Sequence[SignatureSpec], init: str
) -> tuple[tuple[Value, ...], frozenset[str]]:
    """All outputs in the order of the signatures, and what has to run first."""
    made: dict[str, list[Value]] = {}
    first: frozenset[str] = frozenset()
    by_key = {spec.key: spec for spec in specs}
    for world in worlds(inliner.graph, specs, init):
        inliner.start_over(without=world.computed)
        for key in world.keys:
            if key is None:
                first = inliner.run(init, User(None))
            else:
                made[key] = [inliner.value(entry.value, User(key)) for entry in by_key[key].outputs.values()]
    return tuple(value for spec in specs for value in made[spec.key]), first


def _fed_shape(fed: Node, entry: Entry) -> Shape:
    shape = fed.attrs.get("shape") if fed.op in ("Placeholder", "PlaceholderWithDefault") else None
    return shape if isinstance(shape, Shape) and shape.rank is not None else entry.type.shape


def _attach_assets(inliner: Inliner, meta_graph: MetaGraphDef, path: Path) -> tuple[Asset, ...]:
    """Each file once, whatever number of tensors stands for its path. The tensor's value is the file's name."""
    found: dict[str, Asset] = {}
    for filename, value in asset_values(meta_graph):
        if filename in found:
            inliner.add_alias(found[filename].node, value)
            continue
        name = Tensor(np.array(filename.encode(), object), DType.STRING)
        node = Node("", "Const", (), {"dtype": name.dtype, "value": name})
        content = read_asset(path, filename)
        found[filename] = Asset(filename, inliner.add_root(f"assets/{filename}", node, value), content)
    return tuple(found.values())


def _initialised(flat: Graph, init: Iterable[str], name: str) -> Graph:
    """With a node of that name as first target that runs the initialiser, if signatures can notice it."""
    served = reachable(flat, (value.node for value in flat.outputs))
    flat = read_assets_directly(flat, flat.targets, served)
    controls = noticed(flat, init, served)
    if not controls:
        return _needed(flat)
    node = Node(name, "NoOp", controls=controls)
    return _needed(replace(flat, nodes=(*flat.nodes, node), targets=(name, *flat.targets)))


def _frozen(flat: Graph, freezer: Freezer) -> Graph:
    live = {node.inputs[0].node for node in flat.by_op.get("AssignVariableOp", ())}
    flat = take_in_values(flat, live, freezer.users, freezer.origin)
    return settled(_needed(settle_branches(freezer.freeze(flat, live))))


def _needed(flat: Graph) -> Graph:
    needed = reachable(flat, (*flat.inputs, *flat.targets, *(value.node for value in flat.outputs)))
    return replace(flat, nodes=tuple(node for node in flat.nodes if node.name in needed))


def _signatures(specs: Iterable[SignatureSpec], inputs: Mapping[Value, str]) -> Mapping[str, Signature]:
    found: dict[str, Signature] = {}
    position = 0
    for spec in specs:
        fed = {name: SignatureInput(inputs[entry.value], entry.type) for name, entry in spec.inputs.items()}
        made = {
            name: SignatureOutput(position + offset, entry.type)
            for offset, (name, entry) in enumerate(spec.outputs.items())
        }
        position += len(made)
        found[spec.key] = Signature(fed, made, spec.method_name, spec.defaults, spec.composites)
    return found


def _check_feeds(model: Model, origin: str) -> None:
    """Raise UnsupportedModel when a signature, or the initialiser, reads an input that is not its own."""
    graph = model.graph
    for key, signature in model.signatures.items():
        roots = [graph.outputs[out.position].node for out in signature.outputs.values()]
        _check_reads(graph, f"signature {key}", roots, {entry.node for entry in signature.inputs.values()}, origin)
    if model.init is not None:
        _check_reads(graph, "the initialiser", [model.init], set(), origin)


def _check_reads(graph: Graph, user: str, roots: Iterable[str], fed: Collection[str], origin: str) -> None:
    for name in sorted(reachable(graph, roots).difference(fed)):
        if graph[name].op == "Placeholder":
            whose = "the input of another signature" if name in graph.inputs else "an input of no signature"
            hint = "export each signature with all the inputs that it needs"
            raise UnsupportedModel(f"{user} reads {name}, which is {whose}", where=origin, hint=hint)
