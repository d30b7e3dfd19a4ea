"""Which requests a version is tried and warmed up with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfopt.data import Samples, batching, by_signature, load_samples, split_name, synthetic_samples
from tfopt.errors import ExecutionError, InvalidSamples
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, read_warmup
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.types import TensorType
from tfopt.publisher.opened import Opened
from tfopt.runtimes.base import SignatureInfo


@dataclass(frozen=True)
class Requests:
    """`samples`: samples that were given, the model's own warmup file (kept as it is), or random numbers."""

    requests: tuple[WarmupRequest, ...]
    samples: Literal["data", "warmup", "synthetic"]
    notes: tuple[str, ...] = ()


def choose_requests(version: Path, opened: Opened, name: str, data: Sequence[str], count: int) -> Requests:
    """At least one request that the model can be run with, or none where this machine can run nothing of it.

    From `data` when given, as `tfopt.data.source` reads it: `count` examples (one for a count of 0) for every signature
    that has a source of its own or that the source without a name fits. Else those of the model's own warmup file.
    Else one random example for every signature that runs on it.

    Raises InvalidSamples when a source does not fit its signature, the one without a name none, or nothing random can
    be run; NotFound for an unknown signature, UsageError for two sources of one, InvalidModel, MissingExtra.
    """
    if data:
        return _from_data(data, opened, name, max(count, 1))
    own = version / WARMUP_PATH
    recorded = tuple(read_warmup(own)) if own.is_file() else ()
    return Requests(recorded, "warmup") if recorded else _from_random_numbers(opened, name)


def _from_data(data: Sequence[str], opened: Opened, name: str, count: int) -> Requests:
    keys = ordered(opened.signatures)
    sources = by_signature(data, keys, keys[0])
    own = {key: sources[key] for key, _ in map(split_name, data) if key is not None}
    everybodys = next((place for key, place in map(split_name, data) if key is None), None)
    requests = [request for key, place in own.items() for request in _read(place, opened, name, key, count)]
    left = [key for key in keys if key not in own]
    if everybodys is None:
        return Requests(tuple(requests), "data", tuple(_not_tried(key, "it was given no samples") for key in left))
    refused: dict[str, InvalidSamples] = {}
    for key in left:
        try:
            requests += _read(everybodys, opened, name, key, count)
        except InvalidSamples as error:
            refused[key] = error
    if len(refused) == len(left):
        raise next(iter(refused.values()))
    return Requests(tuple(requests), "data", tuple(_not_tried(key, error.what) for key, error in refused.items()))


def _read(source: str, opened: Opened, name: str, key: str, count: int) -> list[WarmupRequest]:
    return list(_requests(_fitting(source, opened.signatures[key], key, count), name, key, count))


def _fitting(source: str, signature: SignatureInfo, key: str, count: int) -> Samples:
    """The first samples for a signature; inputs with a default may be missing from them."""
    inputs = input_types(signature)
    few = count * batching(inputs).block
    required = {name: kind for name, kind in inputs.items() if name not in signature.defaults}
    try:
        return load_samples(source, inputs, signature=key, limit=few)
    except InvalidSamples:
        if required == inputs:
            raise
        return load_samples(source, required, signature=key, limit=few)


def _not_tried(key: str, why: str) -> str:
    return f"signature {key} was not tried: {why}"


def _requests(samples: Samples, name: str, signature: str, count: int) -> Iterator[WarmupRequest]:
    few = samples.take(range(min(samples.count, count * samples.batching.block)))
    return (WarmupRequest(name, signature, batch) for batch in few.batches(1))


def _from_random_numbers(opened: Opened, name: str) -> Requests:
    requests: list[WarmupRequest] = []
    failed: dict[str, str] = {}
    for key in ordered(opened.signatures):
        try:
            (request,) = _requests(synthetic_samples(input_types(opened.signatures[key]), 1), name, key, 1)
            opened.run(key, request.inputs)
        except (InvalidSamples, ExecutionError) as error:
            failed[key] = error.what
        else:
            requests.append(request)
    if not requests and opened.runtimes:
        key, reason = next(iter(failed.items()))
        what = f"signature {key} does not run on random numbers: {reason}"
        raise InvalidSamples(what, hint="give samples of your own with --data")
    return Requests(tuple(requests), "synthetic", tuple(_not_tried(key, why) for key, why in failed.items()))


def input_types(signature: SignatureInfo) -> dict[str, TensorType]:
    return {name: info.type for name, info in signature.inputs.items()}


def ordered(signatures: Mapping[str, SignatureInfo]) -> list[str]:
    """By name, the one that is asked by default first."""
    return sorted(signatures, key=lambda key: (key != DEFAULT_SIGNATURE, key))
