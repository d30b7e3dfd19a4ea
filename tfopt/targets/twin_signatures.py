"""Signatures that are one program under two keys. Keras 3 exports every model as `serve` and `serving_default`."""

from __future__ import annotations

from collections.abc import Hashable

from tfopt.ir import Model, Node, Signature, Value
from tfopt.ir.equal import attr_key
from tfopt.ir.graph import DEFAULT_SIGNATURE


def twins(model: Model) -> dict[str, str]:
    """Each signature that computes what another one does, with the key of that one. Names of inputs and outputs,
    types, method and defaults are equal too."""
    numbers: dict[Hashable, int] = {}
    first: dict[Hashable, str] = {}
    found: dict[str, str] = {}
    for key in sorted(model.signatures, key=lambda key: (key != DEFAULT_SIGNATURE, key)):
        original = first.setdefault(_program(model, model.signatures[key], numbers), key)
        if original != key:
            found[key] = original
    return found


def _program(model: Model, signature: Signature, numbers: dict[Hashable, int]) -> Hashable:
    """Equal for signatures that compute the same. `numbers` gives each distinct computation one number."""
    fed = {entry.node: name for name, entry in signature.inputs.items()}
    computed: dict[str, int] = {}
    for node in model.graph:
        described = ("fed", fed[node.name]) if node.name in fed else _describe(node, computed)
        computed[node.name] = numbers.setdefault(described, len(numbers))

    def result(value: Value) -> tuple[int, int]:
        return computed[value.node], value.port

    return (
        frozenset((name, entry.type) for name, entry in signature.inputs.items()),
        frozenset(
            (name, entry.type, result(model.graph.outputs[entry.position])) for name, entry in signature.outputs.items()
        ),
        signature.method_name,
        signature.composites,
        frozenset((name, attr_key(tensor)) for name, tensor in signature.defaults.items()),
    )


def _describe(node: Node, computed: dict[str, int]) -> Hashable:
    if node.op == "Placeholder" or any(value.node not in computed for value in node.inputs):
        return ("itself", node.name)  # what nobody feeds, and where a loop of TensorFlow 1 begins
    return (
        node.op,
        tuple((computed[value.node], value.port) for value in node.inputs),
        frozenset((name, attr_key(value)) for name, value in node.attrs.items()),
        frozenset(computed[name] for name in node.controls),
    )
