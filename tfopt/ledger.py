"""What each step of a recipe did to the model, in figures: one row a step, the original first."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from tfopt.ir.bodies import graphs
from tfopt.ir.graph import Graph, Model, Signature
from tfopt.ir.types import DType, Tensor
from tfopt.passes.base import Finding
from tfopt.passes.structure.counted_macs import counted_macs, uncounted_loops

#: How the one finding begins of a step that there was no need to run.
NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor, weighed. `gzip_bytes` is its deflated size at zlib's level 1."""

    elements: int
    nonzeros: int
    bytes: int
    gzip_bytes: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The model after one step, functions included.

    `parameters` and `nonzeros` count the elements of floating-point and quantized constants, `bytes` and `gzip_bytes`
    the payload of all constants, each shared tensor once. `macs` are multiply-accumulates of the linear layers for one
    example, in the signature that needs most; a loop's body counts as often as it runs where that is known, else once,
    and of several branches the one that needs most. `uncounted_loops` are those that count once.
    `change` is the largest difference of any output to the original's over the original's largest magnitude, on the
    probe samples; None where nothing was measured. `seconds` is the step's own time without measuring. `idle` says what
    was measured where the step made the model neither smaller nor faster; `dropped` that it was undone for that, so
    that all other figures are those of the model before it.
    """

    step: str
    options: Mapping[str, Any]
    nodes: int
    parameters: int
    nonzeros: int
    bytes: int
    gzip_bytes: int
    macs: int
    seconds: float
    change: float | None
    uncounted_loops: int = 0
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    idle: str = ""
    dropped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the findings but for the damage that layers do where it was measured, worst first; null
        stands for numbers that are no longer finite."""
        row = asdict(self)
        del row["findings"]
        row["done"] = sum(finding.done for finding in self.findings)
        if measured := [finding for finding in self.findings if finding.damage is not None]:
            done = "quantized" if self.step == "quantize" else "done"
            worst_first = sorted(measured, key=lambda one: -(one.damage or 0))
            row["sensitivity"] = [_damage(finding, done) for finding in worst_first]
        return row


def _damage(finding: Finding, done: str) -> dict[str, Any]:
    damage = finding.damage if finding.damage is not None and isfinite(finding.damage) else None
    return {"layer": finding.node, "damage": damage, done: finding.done}


def findings_by_step(rows: Iterable[LedgerRow]) -> dict[str, tuple[Finding, ...]]:
    """By step: what all rounds of a repeat did, and what the last one left."""
    found: dict[str, tuple[Finding, ...]] = {}
    for row in rows:
        done = (finding for finding in found.get(row.step, ()) if finding.done)
        found[row.step] = tuple(dict.fromkeys((*done, *row.findings)))
    return found


class Scales:
    """Weighs graphs; a tensor that stays through many steps is weighed once."""

    def __init__(self) -> None:
        # Keyed by identity; the tensor is kept beside its weight, so that its id is not given to another.
        self._known: dict[int, tuple[Tensor, Weight]] = {}

    def row(
        self,
        step: str,
        model: Model,
        *,
        options: Mapping[str, Any] | None = None,
        seconds: float = 0.0,
        change: float | None = None,
        findings: tuple[Finding, ...] = (),
    ) -> LedgerRow:
        graph = model.graph
        payloads = list(tensors(graph))
        # Compressing is most of the work and runs beside the interpreter's lock.
        with ThreadPoolExecutor() as pool:
            weighed = list(zip(payloads, pool.map(self._weigh, payloads), strict=True))
        numbers = [weight for tensor, weight in weighed if tensor.dtype.is_floating or tensor.dtype.is_quantized]
        return LedgerRow(
            step=step,
            options=dict(options or {}),
            nodes=sum(map(len, graphs(graph))),
            parameters=sum(weight.elements for weight in numbers),
            nonzeros=sum(weight.nonzeros for weight in numbers),
            bytes=sum(weight.bytes for _, weight in weighed),
            gzip_bytes=sum(weight.gzip_bytes for _, weight in weighed),
            macs=max((signature_macs(graph, s) for s in model.signatures.values()), default=0),
            seconds=seconds,
            change=change,
            uncounted_loops=uncounted_loops(graph),
            findings=findings,
        )

    def _weigh(self, tensor: Tensor) -> Weight:
        if id(tensor) not in self._known:
            self._known[id(tensor)] = tensor, weigh(tensor)
        return self._known[id(tensor)][1]


def signature_macs(graph: Graph, signature: Signature) -> int:
    """Multiply-accumulates of one call of one signature with one example."""
    return counted_macs(graph, (output.position for output in signature.outputs.values()))


def tensors(graph: Graph) -> Iterator[Tensor]:
    """Every constant's payload, a shared one once."""
    seen: set[int] = set()
    for node in (node for found in graphs(graph) for node in found.by_op.get("Const", ())):
        if id(node.tensor) not in seen:
            seen.add(id(node.tensor))
            yield node.tensor


def weigh(tensor: Tensor) -> Weight:
    array = tensor.array
    if tensor.dtype is DType.STRING:
        raw = b"".join(item if isinstance(item, bytes) else str(item).encode() for item in array.flat)
    else:
        raw = np.ascontiguousarray(array).tobytes()
    nonzeros = int(np.count_nonzero(array)) if tensor.dtype is not DType.STRING else array.size
    return Weight(int(array.size), nonzeros, tensor.nbytes, len(zlib.compress(raw, 1)))
