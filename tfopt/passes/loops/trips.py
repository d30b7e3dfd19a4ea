"""How often a loop runs, found by running what decides about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfopt.errors import ExecutionError
from tfopt.ir.evaluate import EVALUABLE, evaluate
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import reachable
from tfopt.ir.types import Tensor
from tfopt.passes.loops.variables import Loop

#: A loop that runs longer is not counted: what counts is a few hundred at most, and it may run for ever.
MOST_TRIPS = 4096
#: Elements of a variable that is followed; counters have one.
_SMALL = 16


@dataclass(frozen=True)
class Trips:
    """A loop that runs `count` times; `counters` are the variables known at the start of each iteration, and behind
    the last: `count + 1` values each."""

    count: int
    counters: Mapping[int, Sequence[Tensor]]


def trips(graph: Graph, loop: Loop) -> Trips | str:
    """How often the loop runs, or why that is not known."""
    counters = _counters(graph, loop)
    decides = _arguments(loop.cond, loop.cond.outputs)
    if not decides.issubset(counters):
        return f"its length depends on {', '.join(str(loop.node.inputs[i]) for i in sorted(decides - counters))}"
    condition = _Slice(loop.cond, loop.cond.outputs[:1])
    if not condition.is_computable:
        return f"its condition needs {', '.join(condition.foreign)}, which is not computed here"
    step = _Slice(loop.body, [loop.body.outputs[index] for index in sorted(counters)])
    start = {index: graph[loop.node.inputs[index].node].tensor for index in sorted(counters)}
    return _run(loop, condition, step, start)


def _run(loop: Loop, condition: _Slice, step: _Slice, values: Mapping[int, Tensor]) -> Trips | str:
    seen: dict[int, list[Tensor]] = {index: [] for index in values}
    try:
        for count in range(MOST_TRIPS + 1):
            for index, tensor in values.items():
                seen[index].append(tensor)
            (goes_on,) = condition.compute({loop.cond.inputs[index]: tensor for index, tensor in values.items()})
            if not goes_on.array.all():
                return Trips(count, seen)
            made = step.compute({loop.body.inputs[index]: tensor for index, tensor in values.items()})
            values = dict(zip(values, made, strict=True))
    except ExecutionError as error:
        return f"its length cannot be computed: {error.what}"
    return f"runs more than {MOST_TRIPS} times"


def _counters(graph: Graph, loop: Loop) -> set[int]:
    """The variables that start with a constant and become what depends on such variables only."""
    found = {index for index in range(loop.count) if _is_small_constant(graph, loop.node.inputs[index])}
    while True:
        kept = {i for i in found if _is_computed_from(loop.body, loop.body.outputs[i], found)}
        if kept == found:
            return found
        found = kept


def _is_small_constant(graph: Graph, value: Value) -> bool:
    tensor = graph.constant(value) if value.node not in graph.targets else None
    return tensor is not None and tensor.array.size <= _SMALL


def _is_computed_from(body: Graph, value: Value, known: set[int]) -> bool:
    return _arguments(body, [value]).issubset(known) and _Slice(body, [value]).is_computable


def _arguments(function: Graph, values: Iterable[Value]) -> set[int]:
    """Which arguments the values depend on."""
    needed = reachable(function, (value.node for value in values))
    return {index for index, name in enumerate(function.inputs) if name in needed}


class _Slice:
    """The part of a function that makes some values."""

    def __init__(self, function: Graph, values: Sequence[Value]) -> None:
        needed = reachable(function, (value.node for value in values))
        self._values = values
        self._nodes: list[Node] = []
        self._constants: dict[Value, Tensor] = {}
        self.foreign: list[str] = []
        for node in function.nodes:
            if node.name not in needed or node.name in function.inputs:
                continue
            if node.op == "Const":
                self._constants[node.value()] = node.tensor
            elif node.op in EVALUABLE and not node.controls:
                self._nodes.append(node)
            else:
                self.foreign.append(node.op)

    @property
    def is_computable(self) -> bool:
        return not self.foreign

    def compute(self, arguments: Mapping[str, Tensor]) -> list[Tensor]:
        known = dict(self._constants)
        known.update((Value(name), tensor) for name, tensor in arguments.items())
        for node in self._nodes:
            made = evaluate(node, [known[value] for value in node.inputs])
            known.update((node.value(port), tensor) for port, tensor in enumerate(made))
        return [known[value] for value in self._values]
