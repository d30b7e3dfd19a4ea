"""Which requests a version is tried and warmed up with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfopt.data import Samples, load_samples, synthetic_samples
from tfopt.errors import ExecutionError, InvalidSamples
from tfopt.formats.warmup import WARMUP_PATH, WarmupRequest, read_warmup
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.types import TensorType
from tfopt.runtimes.base import Runtime, SignatureInfo


@dataclass(frozen=True)
class Requests:
    """`samples`: samples that were given, the model's own warmup file (kept as it is), or random numbers."""

    requests: tuple[WarmupRequest, ...]
    samples: Literal["data", "warmup", "synthetic"]
    notes: tuple[str, ...] = ()


def choose_requests(version: Path, runtime: Runtime, name: str, data: Path | None, count: int) -> Requests:
    """At least one request that the model can be run with.

    From `data` when given: `count` examples (one for a count of 0) for every signature that they fit. Else those of
    the model's own warmup file. Else one random example for every signature that runs on it.

    Raises InvalidSamples when the data fits no signature or nothing random can be run, InvalidModel.
    """
    if data is not None:
        return _from_data(data, runtime, name, max(count, 1))
    own = version / WARMUP_PATH
    recorded = tuple(read_warmup(own)) if own.is_file() else ()
    return Requests(recorded, "warmup") if recorded else _from_random_numbers(runtime, name)


def _from_data(data: Path, runtime: Runtime, name: str, count: int) -> Requests:
    requests: list[WarmupRequest] = []
    refused: dict[str, InvalidSamples] = {}
    for key in ordered(runtime.signatures):
        try:
            samples = _fitting(data, runtime.signatures[key])
        except InvalidSamples as error:
            refused[key] = error
        else:
            requests += _requests(samples, name, key, count)
    if not requests:
        raise next(iter(refused.values()))
    return Requests(
        tuple(requests), "data", tuple(f"signature {key} was not tried: {refused[key].what}" for key in refused)
    )


def _fitting(data: Path, signature: SignatureInfo) -> Samples:
    """The samples for a signature; inputs with a default may be missing from them."""
    inputs = input_types(signature)
    required = {name: kind for name, kind in inputs.items() if name not in signature.defaults}
    try:
        return load_samples(data, inputs)
    except InvalidSamples:
        if required == inputs:
            raise
        return load_samples(data, required)


def _requests(samples: Samples, name: str, signature: str, count: int) -> Iterator[WarmupRequest]:
    few = samples.take(range(min(samples.count, count * samples.batching.block)))
    return (WarmupRequest(name, signature, batch) for batch in few.batches(1))


def _from_random_numbers(runtime: Runtime, name: str) -> Requests:
    requests: list[WarmupRequest] = []
    failed: dict[str, str] = {}
    for key in ordered(runtime.signatures):
        try:
            (request,) = _requests(synthetic_samples(input_types(runtime.signatures[key]), 1), name, key, 1)
            runtime.run(key, request.inputs)
        except (InvalidSamples, ExecutionError) as error:
            failed[key] = error.what
        else:
            requests.append(request)
    if not requests:
        key, reason = next(iter(failed.items()))
        what = f"signature {key} does not run on random numbers: {reason}"
        raise InvalidSamples(what, hint="give samples of your own with --data")
    return Requests(
        tuple(requests), "synthetic", tuple(f"signature {key} was not tried: {failed[key]}" for key in failed)
    )


def input_types(signature: SignatureInfo) -> dict[str, TensorType]:
    return {name: info.type for name, info in signature.inputs.items()}


def ordered(signatures: Mapping[str, SignatureInfo]) -> list[str]:
    """By name, the one that is asked by default first."""
    return sorted(signatures, key=lambda key: (key != DEFAULT_SIGNATURE, key))
