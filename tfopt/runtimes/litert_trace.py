"""Where the time of a .tflite file goes.

LiteRT's Python package has no profiler, so the file is cut behind each op, and an op takes what the file cut behind it
takes longer than the file cut before it. Neighbours and the whole run in turns. Nothing is recorded while they run, so
that nothing has to be taken off; a loop or a branch is one op. What lies around the ops, the inputs' way in and the
outputs' way out, is in no cut and missing in the sum. Each cut is a file of its own that has to be loaded, so a file of
many ops is cut behind the costliest alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import MissingExtra
from tfopt.formats.native_stderr import without_lines
from tfopt.runtimes.base import arguments, find_signature
from tfopt.runtimes.litert import NOISE, LiteRTRuntime
from tfopt.runtimes.trace import OpTime, Trace, calm, seconds_of

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError as error:
    raise MissingExtra.of("ai-edge-litert", "litert", "running a .tflite file") from error

_OPS: Mapping[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
_ITEMSIZE = {
    name: size
    for size, names in {
        1: ("INT8", "UINT8", "BOOL"),
        2: ("FLOAT16", "INT16", "UINT16", "BFLOAT16"),
        4: ("FLOAT32", "INT32", "UINT32"),
        8: ("FLOAT64", "INT64", "UINT64", "COMPLEX64"),
    }.items()
    for name in names
}
_SIZES = {
    getattr(schema.TensorType, name): size for name, size in _ITEMSIZE.items() if hasattr(schema.TensorType, name)
}

Work = Callable[[], object]

#: Each costs about what loading the file does.
_MOST_CUTS = 32
#: Seconds to run a cut beside its neighbour and the whole, and how often at least.
_PATIENCE = 0.2
_FEWEST = 4


class LiteRTTracer:
    """One signature of a .tflite file, op by op; a loop or a branch is one op."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self.runtime = LiteRTRuntime(path, threads=threads)
        self._content = path.read_bytes()
        self._threads = threads

    def trace(self, signature: str, inputs: Mapping[str, NDArray[Any]], repeats: int) -> Trace:
        """As `Tracer.trace`, each cut run for a moment beside its neighbours and the whole, the last `repeats` times at
        least. Raises what the runtime raises."""
        info = find_signature(self.runtime.signatures, signature)
        values = {name: np.asarray(value) for name, value in arguments(info, inputs).items()}
        fed = {info.inputs[name].name: value for name, value in values.items()}
        model = self._alone(signature)
        tensors = model.subgraphs[0].tensors
        named = [(_op_name(model, op), op) for op in model.subgraphs[0].operators]
        shapes = _shapes(_interpreter(model, self._threads, fed, keep=True))
        ops = [_untimed(name, op, tensors, shapes) for name, op in named]
        places = _places(ops)
        works = [partial(self._cut, signature, place, fed) for place in places]
        shares, whole = _shares(works, partial(self.runtime.runner(signature), **values), repeats)
        timed = [
            replace(_together(ops[start:end]), seconds=(after - before) * whole)
            for (start, end), (before, after) in zip(pairwise([0, *places]), pairwise([0.0, *shares]), strict=True)
        ]
        return Trace(timed, whole)

    def _cut(self, signature: str, ops: int, fed: Mapping[str, NDArray[Any]]) -> Work:
        """Runs the first `ops` ops."""
        model = self._alone(signature)
        graph = model.subgraphs[0]
        graph.outputs = _needed_later(graph, ops)
        graph.operators = graph.operators[:ops]
        run: Work = _interpreter(model, self._threads, fed).invoke
        return run

    def _alone(self, signature: str) -> Any:
        """The file's objects with the signature's graph in front, where an interpreter runs it without a name."""
        model = schema.ModelT.InitFromPackedBuf(self._content)
        place = _place(model, signature)
        moved = {0: place, place: 0}
        graphs = model.subgraphs
        graphs[0], graphs[place] = graphs[place], graphs[0]
        for op in (op for graph in graphs for op in graph.operators):
            for name, value in vars(op.builtinOptions).items() if op.builtinOptions else ():
                if name.lower().endswith(("subgraphindex", "subgraph")):
                    setattr(op.builtinOptions, name, moved.get(value, value))
        model.signatureDefs = []
        return model


def _place(model: Any, signature: str) -> int:
    """Which of the file's graphs a signature is."""
    for entry in model.signatureDefs or ():
        if entry.signatureKey.decode() == signature:
            return int(entry.subgraphIndex)
    return 0


def _interpreter(model: Any, threads: int | None, fed: Mapping[str, NDArray[Any]], keep: bool = False) -> Any:
    """Loaded and run once. With `keep` every tensor can be looked at afterwards."""
    builder = flatbuffers.Builder(1 << 24)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    with warnings.catch_warnings(), without_lines(NOISE):
        warnings.simplefilter("ignore")  # it says that keeping all tensors is for looking at them
        interpreter = Interpreter(model_content=content, num_threads=threads, experimental_preserve_all_tensors=keep)
        return _ready(interpreter, fed)


def _shapes(interpreter: Any) -> Mapping[int, tuple[int, ...]]:
    """Of every tensor, as run."""
    return {tensor["index"]: tuple(map(int, tensor["shape"])) for tensor in interpreter.get_tensor_details()}


def _op_name(model: Any, op: Any) -> str:
    code = model.operatorCodes[op.opcodeIndex]
    return _OPS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _untimed(name: str, op: Any, tensors: Sequence[Any], shapes: Mapping[int, tuple[int, ...]]) -> OpTime:
    ends = [index for index in (*op.inputs, *op.outputs) if index >= 0]
    names = tensors[op.outputs[0]].name.decode().split(";") if len(op.outputs) else [name]
    return OpTime(
        name=names[0],
        op=name,
        seconds=0.0,
        covers=tuple(names),
        macs=_macs(name, op, shapes),
        bytes=sum(prod(shapes.get(i, ())) * _SIZES.get(tensors[i].type, 0) for i in ends),
        integer=bool(len(op.inputs)) and tensors[op.inputs[0]].type == schema.TensorType.INT8,
    )


def _places(ops: Sequence[OpTime]) -> list[int]:
    """Where the file is cut: behind every op, or behind the costliest of many."""
    if len(ops) <= _MOST_CUTS:
        return list(range(1, len(ops) + 1))
    costliest = sorted(range(len(ops)), key=lambda n: (ops[n].macs or 0, ops[n].bytes or 0), reverse=True)
    return sorted({n + 1 for n in costliest[: _MOST_CUTS - 1]} | {len(ops)})


def _together(ops: Sequence[OpTime]) -> OpTime:
    """Neighbours that are timed as one, under the name of the costliest."""
    costliest = max(ops, key=lambda op: (op.macs or 0, op.bytes or 0))
    if len(ops) == 1:
        return costliest
    return replace(
        costliest,
        op=f"{costliest.op} and {len(ops) - 1} more",
        covers=tuple(name for op in ops for name in op.covers),
        macs=sum(op.macs or 0 for op in ops),
        bytes=sum(op.bytes or 0 for op in ops),
    )


def _needed_later(graph: Any, ops: int) -> list[int]:
    """What the first `ops` ops have made and somebody behind them, or the caller, reads."""
    made = {int(index) for op in graph.operators[:ops] for index in op.outputs}
    read = {int(index) for op in graph.operators[ops:] for index in op.inputs} | {int(i) for i in graph.outputs}
    return sorted(made & read)


def _ready(interpreter: Any, fed: Mapping[str, NDArray[Any]]) -> Any:
    for details in interpreter.get_input_details():
        if details["name"] in fed:
            interpreter.resize_tensor_input(details["index"], fed[details["name"]].shape)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], fed[details["name"]])
    interpreter.invoke()
    return interpreter


def _shares(load: Sequence[Callable[[], Work]], whole: Work, repeats: int) -> tuple[list[float], float]:
    """What each takes for a share of what the whole takes at that time, and the whole's seconds. Each is run in turns
    with the one before it and with the whole, then with the one behind it; two are loaded at a time. The last, which
    stands for the sum, runs `repeats` times at least."""
    found: list[list[float]] = [[] for _ in load]
    wholes: list[float] = []
    beside: list[tuple[int, Work]] = []
    for number, work in enumerate(load):
        beside = [*beside[-1:], (number, work())]
        works = [whole, *(each for _, each in beside)]
        fewest = repeats if number == len(load) - 1 else _FEWEST
        count = max(fewest, int(_PATIENCE / sum(map(seconds_of, works))))
        seconds = list(zip(*([seconds_of(each) for each in works] for _ in range(count)), strict=True))
        wholes += seconds[0]
        for (place, _), own in zip(beside, seconds[1:], strict=True):
            found[place].append(calm(own) / calm(seconds[0]))
    return [fmean(shares) for shares in found], calm(wholes)


def _macs(name: str, op: Any, shapes: Mapping[int, tuple[int, ...]]) -> int:
    """Multiply-accumulates of a linear op, from its shapes; 0 for all others, as the pruning literature counts."""
    made = prod(shapes.get(int(op.outputs[0]), (0,))) if len(op.outputs) else 0
    weight = shapes.get(int(op.inputs[1]), ()) if len(op.inputs) > 1 else ()
    if name == "CONV_2D":
        return made * prod(weight[1:])
    if name == "DEPTHWISE_CONV_2D":
        return made * prod(weight[1:3])
    if name in ("FULLY_CONNECTED", "BATCH_MATMUL") and weight:
        left = shapes.get(int(op.inputs[0]), (0,))
        return made * (weight[-1] if name == "FULLY_CONNECTED" else left[-1])
    return 0
