"""Run a model part by part: what one part made of all samples is kept for the next, as long as something reads it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.data.rows import Rows, Spool
from tfopt.ir.graph import Graph, Model, Node, Signature, SignatureInput, SignatureOutput, Value
from tfopt.learn.runs import Made, Run, fetched, runs_of

#: Bytes of one value of all samples that are kept, in a file; what is larger is computed again.
_LARGEST = 1 << 32

_Kept: TypeAlias = "dict[Value, NDArray[Any]]"


class Frontier:
    """Of a model whose later parts may still change. `later` are nodes whose inputs will be asked for."""

    def __init__(self, samples: Mapping[str, Samples], later: Collection[str]) -> None:
        self._samples = dict(samples)
        self._later = set(later)
        self._kept: dict[str, _Kept] = {}

    def examples(self, model: Model, value: Value) -> int:
        """How many reach it."""
        return sum(run.count for run in runs_of(model, self._samples, [value]) if value in run.values)

    def fetch(self, model: Model, values: Sequence[Value], readers: Collection[str]) -> Iterator[Made]:
        """What samples make of these values, call by call. They will not change any more, and the inputs of these of
        their readers are not asked for again."""
        self._later -= set(readers)
        for run in runs_of(model, self._samples, values):
            if model.init is not None or run.samples.batching.whole:
                yield from fetched(model, [run])
            elif run.fetched:
                kept = self._kept.setdefault(run.signature, {})
                collected = {value: _Collected(run.count) for value in run.fetched if value not in kept}
                for value, array, examples in _continued(model, run, kept):
                    if value in collected:
                        collected[value].add(array, examples)
                    yield value, array, examples
                kept |= {value: each.finish() for value, each in collected.items() if each.is_whole}
                reached = _reached(model.graph, self._later, kept)
                self._kept[run.signature] = {value: array for value, array in kept.items() if value in reached}


def _continued(model: Model, run: Run, kept: _Kept) -> Iterator[Made]:
    """From what is kept on."""
    places = {value: Node(f"{value.node}/kept_{value.port}", "Placeholder") for value in kept}
    part, used = _part(model.graph, run.fetched, places)
    whole = {name: entry for name, entry in model.signatures[run.signature].inputs.items() if entry.node in part}
    arrays: dict[str, Rows] = {name: run.samples.arrays[name] for name in whole}
    arrays |= {places[value].name: kept[value] for value in used}
    inputs = whole | {
        places[value].name: SignatureInput(places[value].name, model.graph.type_of(value)) for value in used
    }
    outputs = {str(at): SignatureOutput(at, part.type_of(value)) for at, value in enumerate(part.outputs)}
    shown = Model(part, {run.signature: Signature(inputs, outputs)})
    samples = {run.signature: replace(run.samples, arrays=arrays)}
    asked = dict(zip(part.outputs, run.fetched, strict=True))
    for value, array, examples in fetched(shown, runs_of(shown, samples, part.outputs)):
        yield asked[value], array, examples


def _part(graph: Graph, values: Sequence[Value], places: Mapping[Value, Node]) -> tuple[Graph, list[Value]]:
    """The nodes that make these values of what is kept, and what of that they read."""
    needed, used = _behind(graph, values, places)
    fed = [
        replace(places[value], outputs=(kind,), attrs={"dtype": kind.dtype, "shape": kind.shape})
        for value in used
        for kind in (graph.type_of(value),)
    ]

    def now(value: Value) -> Value:
        return places[value].value() if value in places else value

    nodes = [replace(node, inputs=tuple(map(now, node.inputs))) for node in graph.nodes if node.name in needed]
    inputs = [node.name for node in fed] + [name for name in graph.inputs if name in needed]
    return Graph((*fed, *nodes), tuple(inputs), tuple(map(now, values))), used


def _behind(graph: Graph, values: Sequence[Value], kept: Collection[Value]) -> tuple[set[str], list[Value]]:
    """The nodes that these values need, and which of the kept ones they read instead of more nodes."""
    used = dict.fromkeys(value for value in values if value in kept)
    left = [value.node for value in values if value not in kept]
    needed: set[str] = set()
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            node = graph[name]
            used.update(dict.fromkeys(value for value in node.inputs if value in kept))
            left += [value.node for value in node.inputs if value not in kept]
            left += node.controls
    return needed, list(used)


def _reached(graph: Graph, later: Collection[str], kept: Collection[Value]) -> set[Value]:
    """What will be read of the kept ones, until these nodes' inputs are made."""
    return set(_behind(graph, [value for name in sorted(later) for value in graph[name].inputs], kept)[1])


class _Collected:
    """A value of all examples; not whole where an axis of examples is missing, or where it is too large."""

    def __init__(self, count: int) -> None:
        self.is_whole = True
        self._count = count
        self._spool = Spool()
        self._shape: tuple[int, ...] | None = None

    def add(self, array: NDArray[Any], examples: int) -> None:
        row = array.shape[1:]
        has_rows = len(array.shape) > 0 and len(array) == examples and self._shape in (None, row)
        if not has_rows or array.nbytes // examples * self._count > _LARGEST:
            self.is_whole = False
            self._spool = Spool()
        if self.is_whole:
            self._shape = row
            self._spool.append(array)

    def finish(self) -> NDArray[Any]:
        return self._spool.finish((self._count, *(self._shape or ())))
