"""The inputs of a bench: one signature that all artifacts have, and batches that all of them take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples, load_samples, synthetic_samples, warmup_samples
from tfopt.errors import InvalidSamples, NotFound, UsageError, nearest
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.types import Shape, TensorType
from tfopt.runtimes.base import Runtime, SignatureInfo
from tfopt.runtimes.edges import in_reals, off_edges, ready
from tfopt.words import counted

#: Other inputs each round, since the time of some models depends on them; few, so that all stay in memory.
MAX_BATCHES: Final = 8
#: Enough for a few different batches of the usual sizes.
SYNTHETIC_EXAMPLES: Final = 64

Batch = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Opened:
    """A loaded artifact under the name that errors and tables call it by."""

    name: str
    path: Path
    runtime: Runtime

    def ready(self, signature: str, batch: Batch) -> Batch:
        """The batch as the artifact takes it, on the grids of integer edges."""
        return ready(self.runtime, signature, batch)

    def answer(self, signature: str, batch: Batch) -> Batch:
        """The outputs, in real numbers."""
        outputs = self.runtime.run(signature, self.ready(signature, batch))
        return off_edges(self.runtime.signatures[signature], outputs)


@dataclass(frozen=True)
class Plan:
    """What is run: the batches by batch size, and what a reader has to know about them."""

    signature: str
    samples: Samples
    batches: Mapping[int, tuple[Batch, ...]]
    notes: tuple[str, ...]


def plan_inputs(
    opened: Sequence[Opened],
    *,
    signature: str | None,
    data: Path | None,
    shapes: Mapping[str, Sequence[int | None]],
    batch_sizes: Sequence[int],
) -> Plan:
    """Raises NotFound, UsageError and InvalidSamples."""
    chosen = choose_signature(signature, opened)
    types = narrow(common_inputs(chosen, opened), shapes)
    samples, notes = gather_samples(opened, chosen, types, data, max(SYNTHETIC_EXAMPLES, *batch_sizes))
    if samples.count < max(batch_sizes):
        notes.append(
            f"{counted(samples.count, 'sample')}, fewer than a batch of {max(batch_sizes)}: some are in it repeatedly"
        )
    batches = {size: make_batches(samples, size) for size in batch_sizes}
    return Plan(chosen, samples, batches, tuple(notes))


def choose_signature(wanted: str | None, opened: Sequence[Opened]) -> str:
    """The wanted signature, else serving_default, else the only one of the first artifact.

    Raises NotFound when an artifact lacks it, UsageError when there is a choice to make.
    """
    known = opened[0].runtime.signatures
    chosen = wanted or (DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in known else next(iter(known), None))
    if chosen is None:
        raise NotFound("the model has no signature", where=opened[0].name)
    if wanted is None and chosen != DEFAULT_SIGNATURE and len(known) > 1:
        raise UsageError(
            "several signatures, none called serving_default",
            where=opened[0].name,
            hint=f"name one with --signature: {', '.join(sorted(known))}",
        )
    for each in opened:
        if chosen not in each.runtime.signatures:
            raise NotFound(f"no signature {chosen}", where=each.name, hint=nearest(chosen, each.runtime.signatures))
    return chosen


def common_inputs(signature: str, opened: Sequence[Opened]) -> dict[str, TensorType]:
    """The inputs as narrow as every artifact wants them; those that all have a default for are left to it. Integers at
    the edges of a .tflite file stay integers where all artifacts mean the same by them, else they are real numbers.

    Raises UsageError when no value could suit all.
    """
    infos = _with_one_meaning([each.runtime.signatures[signature] for each in opened])
    defaulted = set.intersection(*(set(info.defaults) for info in infos))
    first, *others = ({n: i.type for n, i in info.inputs.items() if n not in defaulted} for info in infos)
    types = first
    for other, theirs in zip(opened[1:], others, strict=True):
        where = f"{opened[0].name} and {other.name}"
        if types.keys() != theirs.keys():
            message = f"signature {signature} has the inputs {_names(types)} in one and {_names(theirs)} in the other"
            raise UsageError(message, where=where, hint="only artifacts of one contract can be compared")
        types = {name: _meet(name, type_, theirs[name], where) for name, type_ in types.items()}
    return types


def _with_one_meaning(infos: Sequence[SignatureInfo]) -> Sequence[SignatureInfo]:
    meanings = [{name: (each.type.dtype, each.grid) for name, each in info.inputs.items()} for info in infos]
    return infos if all(meaning == meanings[0] for meaning in meanings) else [in_reals(info) for info in infos]


def narrow(types: Mapping[str, TensorType], shapes: Mapping[str, Sequence[int | None]]) -> dict[str, TensorType]:
    """Types with the given whole shapes, by input name; axis 0 of each is the batch: None or 1. Raises UsageError."""
    for name in shapes:
        if name not in types:
            raise UsageError(f"no input is called {name}", where="--shape", hint=nearest(name, types))
    return {
        name: TensorType(type_.dtype, _with_given(name, type_.shape, shapes[name])) if name in shapes else type_
        for name, type_ in types.items()
    }


def gather_samples(
    opened: Sequence[Opened], signature: str, types: Mapping[str, TensorType], data: Path | None, count: int
) -> tuple[Samples, list[str]]:
    """Samples from the file, else from the first warmup records beside an artifact, else synthetic ones.

    And notes on what had to be assumed.
    """
    if data is not None:
        return _load(data, types, opened[0].runtime.signatures[signature] if opened else None), []
    for each in opened:
        if each.path.is_dir() and (found := warmup_samples(each.path, signature, types)) is not None:
            return found, []
    settled, notes = settle(types)
    notes.append("synthetic inputs: a model whose work depends on its input may take another time on real ones")
    return synthetic_samples(settled, count=count), notes


def _load(data: Path, types: Mapping[str, TensorType], info: SignatureInfo | None) -> Samples:
    """Samples of these types, or of the real numbers that integers of these types stand for. A server says of none that
    they do."""
    try:
        return load_samples(data, types)
    except InvalidSamples:
        if info is None:
            raise
        real = in_reals(info)
        meant = {name: TensorType(real.inputs[name].type.dtype, type_.shape) for name, type_ in types.items()}
        if meant == types:
            raise
        return load_samples(data, meant)


def settle(types: Mapping[str, TensorType]) -> tuple[dict[str, TensorType], list[str]]:
    """Types whose unknown dimensions, the batch aside, are 1, and a note for each. Raises UsageError without a rank."""
    settled: dict[str, TensorType] = {}
    notes: list[str] = []
    for name, type_ in types.items():
        if type_.shape.dims is None:
            raise UsageError(f"input {name} has no known shape", hint=f"give it one, such as --shape {name}=1,28,28")
        dims = tuple(1 if axis and size is None else size for axis, size in enumerate(type_.shape.dims))
        settled[name] = TensorType(type_.dtype, Shape(dims))
        if dims != type_.shape.dims:
            flag = f"--shape {name}={','.join(str(size or 1) for size in dims)}"
            notes.append(f"input {name} is {type_.shape}, it ran as {Shape(dims)}: set it with {flag}")
    return settled, notes


def make_batches(samples: Samples, size: int) -> tuple[Batch, ...]:
    """Up to MAX_BATCHES different batches of `size` examples; few samples are used again until one batch is full.

    Raises UsageError when the model fixes another size.
    """
    fixed = samples.batching.size or (1 if samples.batching.whole == samples.arrays.keys() else None)
    if fixed not in (None, size):
        raise UsageError(f"the model takes batches of {fixed} alone, not {size}", hint=f"--batch-size {fixed}")
    count = max(1, min(MAX_BATCHES, samples.count // size))
    indices = np.arange(count * size) % samples.count
    return tuple(_batch(samples, part) for part in indices.reshape(count, size))


def parse_shape(text: str) -> tuple[str, tuple[int | None, ...]]:
    """`image=1,224,224,3` or `image=?,224,224,3` as name and sizes. Raises UsageError."""
    name, equals, sizes = text.rpartition("=")
    parts = [part.strip() for part in sizes.split(",")]
    if not (name and equals) or not all(part == "?" or (part.isdecimal() and int(part) > 0) for part in parts):
        raise UsageError(f"{text!r} is no shape", where="--shape", hint="write it as image=1,224,224,3")
    return name, tuple(None if part == "?" else int(part) for part in parts)


def _batch(samples: Samples, indices: NDArray[np.int64]) -> Batch:
    """These examples as one call; an input without a batch axis is the first one's."""
    whole = samples.batching.whole
    return {name: array[indices[0] if name in whole else indices] for name, array in samples.arrays.items()}


def _names(types: Mapping[str, TensorType]) -> str:
    return ", ".join(sorted(types)) or "none"


def _meet(name: str, one: TensorType, other: TensorType, where: str) -> TensorType:
    shape = _meet_shapes(one.shape, other.shape)
    if one.dtype != other.dtype or shape is None:
        raise UsageError(f"input {name} is {one} in one and {other} in the other", where=where)
    return TensorType(one.dtype, shape)


def _meet_shapes(one: Shape, other: Shape) -> Shape | None:
    if one.dims is None or other.dims is None:
        return other if one.dims is None else one
    if len(one.dims) != len(other.dims):
        return None
    pairs = list(zip(one.dims, other.dims, strict=True))
    if any(a is not None and b is not None and a != b for a, b in pairs):
        return None
    return Shape(tuple(b if a is None else a for a, b in pairs))


def _with_given(name: str, shape: Shape, given: Sequence[int | None]) -> Shape:
    met = _meet_shapes(shape, Shape((None, *given[1:])))
    if met is None or given[0] not in (None, 1, met.dims[0] if met.dims else None):
        shown = ",".join("?" if size is None else str(size) for size in given)
        hint = "its first size is the batch, which --batch-size sets" if met is not None else None
        raise UsageError(f"input {name} is {shape}, and [{shown}] does not fit it", where="--shape", hint=hint)
    return met
