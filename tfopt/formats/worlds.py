"""Signatures that cannot be read as one graph, because one of them feeds what another one computes.

    serving_default: x -> y                       y = Add(Exp(x), 1)
    second_half: middle -> y              ->      second_half/y = Add(middle, 1)

Each group of signatures that agree about what is fed is read with a copy of its own of the graph; weights, tables and
inputs stay shared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tfopt.formats.library import Body
from tfopt.formats.signatures import SignatureSpec
from tfopt.ir.graph import Value

_NONE: frozenset[Value] = frozenset()


@dataclass
class World:
    """Signatures that are read together; `computed` are values that others feed and these do not."""

    keys: list[str | None]
    fed: frozenset[Value]
    needed: frozenset[Value]
    computed: frozenset[Value] = _NONE

    def agrees(self, fed: Collection[Value], needed: Collection[Value]) -> bool:
        return self.needed.isdisjoint(fed) and self.fed.isdisjoint(needed)


def worlds(graph: Body, specs: Sequence[SignatureSpec], init: str) -> list[World]:
    """Every signature's key in one of them, and None, the initialiser, in one too."""
    disputed = frozenset(value for spec in specs for value in _fed(spec) if _is_computed(graph, value))
    found: list[World] = []
    for spec in specs:
        roots = [entry.value.node for entry in spec.outputs.values() if entry.value not in _fed(spec)]
        _join(found, spec.key, disputed & _fed(spec), _needed(graph, roots, _fed(spec), disputed))
    _join(found, None, _NONE, _needed(graph, [init] if init else [], _NONE, disputed))
    for world in found:
        world.computed = disputed - world.fed
    return found


def _fed(spec: SignatureSpec) -> frozenset[Value]:
    return frozenset(entry.value for entry in spec.inputs.values())


def _is_computed(graph: Body, value: Value) -> bool:
    return value.node in graph.defs and graph.defs[value.node].op != "Placeholder"


def _join(found: list[World], key: str | None, fed: frozenset[Value], needed: frozenset[Value]) -> None:
    world = next((world for world in found if world.agrees(fed, needed)), None)
    if world is None:
        found.append(World([key], fed, needed))
        return
    world.keys.append(key)
    world.fed |= fed
    world.needed |= needed


def _needed(graph: Body, roots: Iterable[str], fed: Collection[Value], disputed: Collection[Value]) -> frozenset[Value]:
    """Those of the disputed values that the roots are computed from."""
    if not disputed:
        return _NONE
    found, seen, waiting = set(), set(), list(roots)
    while waiting:
        name = waiting.pop()
        if name not in seen and name in graph.defs:
            seen.add(name)
            node = graph.node(name)
            found |= {value for value in node.inputs if value in disputed and value not in fed}
            waiting += [value.node for value in node.inputs if value not in fed]
            waiting += node.controls
    found |= {value for value in disputed if value.node in roots and value not in fed}
    return frozenset(found)
