"""Fold products and sums with constants into each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, numpy_dtype
from tfopt.passes.arithmetic.rounding import LARGEST_SCALE, LARGEST_SHIFT, SMALLEST_SCALE
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.channelwise.activation_parts import is_part_of_activation
from tfopt.passes.channelwise.affine_arrays import ELEMENTWISE, ArrayAffine, elementwise
from tfopt.passes.channelwise.scale_products import scale_products

_DIVISIONS = frozenset({"Div", "RealDiv"})


@graph_pass
def fold_scale(graph: Graph) -> Graph | Outcome:
    """Fold chains of products and sums with constants into one Mul and one AddV2.

        %a = RealDiv(%x, 127.5)
        %b = Sub(%a, 1.0)                             %m = Mul(%x, scale)
        %c = Mul(%b, %gamma)                    ->    %y = AddV2(%m, shift)
        %y = AddV2(%c, %beta)

    Mul, Div, RealDiv, Add, AddV2, Sub, Neg, BiasAdd and batch norms count, where their constants do not widen what
    they read. A division by a constant becomes a product with its reciprocal, which is 1.5 units in the last place
    off where the division is 0.5 off. What stands next to a linear layer is folded into that by fold_batch_norm,
    and a scalar behind a product of two computed matrices, as attention has it, is put before the one of them that
    comes from a linear layer, so that it can be. Sums and scales of a hard-swish or a GELU stay, so that they are known
    as such.

    The new constants are computed in float64 and rounded once. A chain stays where its sum would cancel against
    what it is added to, where its scales are extreme, and in 16 bits, where rounding shows.
    """
    scaled = scale_products(graph)
    graph, findings = scaled.graph, list(scaled.findings)
    editor = Editor(graph)
    taken: set[str] = set()
    for node in graph.nodes:
        if node.op not in ELEMENTWISE or node.name in taken:
            continue
        chain = _chain(graph, node)
        if chain is None:
            continue
        taken.update(step.name for step in chain.steps)
        findings += _shorten(graph, editor, chain)
    return Outcome(editor.finish(), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Chain:
    """Elementwise `steps`, first one first, behind `start`, and what they do together."""

    start: Value
    steps: tuple[Node, ...]
    effects: tuple[ArrayAffine, ...]

    @property
    def effect(self) -> ArrayAffine:
        whole = ArrayAffine()
        for effect in self.effects:
            whole = whole.then(effect)
        return whole

    @property
    def sums_before_scales(self) -> bool:
        """Is something added that is scaled later?"""
        first = next((at for at, effect in enumerate(self.effects) if effect.shifts), len(self.effects))
        return any(effect.scales for effect in self.effects[first + 1 :])

    @property
    def partial_scales(self) -> list[NDArray[np.float64]]:
        whole, found = ArrayAffine(), []
        for effect in self.effects:
            whole = whole.then(effect)
            found.append(whole.scale)
        return found


def _chain(graph: Graph, node: Node) -> _Chain | None:
    """The chain that `node` is the first of. The bias of a linear layer stays with that."""
    varying = [value for value in node.inputs if graph.constant(value) is None]
    if len(varying) != 1 or (node.op in ("BiasAdd", "AddV2") and graph.producer(varying[0]).op in LINEAR):
        return None
    value = start = varying[0]
    if not graph.type_of(start).dtype.is_floating:
        return None
    steps: list[Node] = []
    effects: list[ArrayAffine] = []
    reader: Node | None = node
    while reader is not None and not reader.controls and reader.op in ELEMENTWISE:
        effect = elementwise(graph, reader, value)
        if isinstance(effect, str) or is_part_of_activation(graph, reader):
            break
        steps.append(reader)
        effects.append(effect)
        value = reader.value()
        reader = graph.readers[value][0] if graph.is_private(value) else None
    return _Chain(start, tuple(steps), tuple(effects)) if steps else None


def _shorten(graph: Graph, editor: Editor, chain: _Chain) -> list[Finding]:
    last = chain.steps[-1]
    effect = chain.effect
    divides = any(step.op in _DIVISIONS for step in chain.steps)
    length = int(effect.scales) + int(effect.shifts)
    is_short = len(chain.steps) <= length and not (divides and len(chain.steps) == length)
    if is_short or not graph.is_read(last.value()):
        return []
    reason = _reason_against(graph, chain)
    if reason is not None:
        return [Finding(last.name, False, reason)]
    editor.redirect(last.value(), _written(graph, editor, chain))
    ops = ", ".join(step.op for step in chain.steps)
    rest = " and ".join(op for op, there in (("Mul", effect.scales), ("AddV2", effect.shifts)) if there)
    return [Finding(last.name, True, f"{ops} computed as {rest or 'nothing'}")]


def _reason_against(graph: Graph, chain: _Chain) -> str | None:
    made, effect = graph.type_of(chain.steps[-1].value()), chain.effect
    if made.dtype not in (DType.FLOAT32, DType.FLOAT64):
        return f"{made.dtype} would show the rounding of new constants"
    if made != graph.type_of(chain.start):
        return "the shape that goes in is not known as well as the one that comes out"
    if chain.start in graph.output_set and not (effect.scales or effect.shifts):
        return f"{chain.start} is an output already"
    if graph.producer(chain.start).op == "Placeholder" and not (effect.scales or effect.shifts):
        return f"nothing would be left between {chain.start} and what reads it"
    if any(_is_extreme(scale) for scale in chain.partial_scales):
        return "its scales are too small or too large to be put together"
    if chain.sums_before_scales and np.any(np.abs(effect.shift) > LARGEST_SHIFT):
        return f"its shift of {np.max(np.abs(effect.shift)):g} cancels what would have to be rounded before"
    if effect.size > max(one.size for one in chain.effects):
        return "the constants together would be larger than each of them"
    return None


def _is_extreme(scale: NDArray[np.float64]) -> bool:
    size = np.abs(scale[scale != 0])
    return bool(np.any(size < SMALLEST_SCALE) or np.any(size > LARGEST_SCALE))


def _written(graph: Graph, editor: Editor, chain: _Chain) -> Value:
    name, value, effect = chain.steps[-1].name, chain.start, chain.effect
    made = graph.type_of(value)
    for op, there, array in (("Mul", effect.scales, effect.scale), ("AddV2", effect.shifts, effect.shift)):
        if there:
            word = "scale" if op == "Mul" else "shift"
            constant = editor.constant(f"{name}/{word}", array.astype(numpy_dtype(made.dtype)), made.dtype)
            value = editor.add(op, f"{name}/{op}", (value, constant), (made,), {"T": made.dtype}).value()
    return value
