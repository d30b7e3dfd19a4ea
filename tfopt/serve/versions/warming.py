"""A version answers its recorded requests before it is available, so that no client pays for its first ones."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from tfopt.errors import InvalidModel, TfoptError
from tfopt.runtimes.base import Runtime
from tfopt.serve.versions.servable import Servable

if TYPE_CHECKING:
    from tfopt.formats.serving.replay import ExamplesRequest
    from tfopt.formats.serving.warmup import WarmupRequest

#: Is told of a version that has been warmed up: its path, seconds, and how many records there were.
Told = Callable[[str, float, int], None]


@dataclass(frozen=True)
class Warmup:
    """Are recorded requests replayed, and each of them how often?"""

    enabled: bool = True
    iterations: int = 1
    told: Told | None = None


ONCE = Warmup()


def warm_up(runtime: Runtime, path: Path, left_out: Collection[str], warmup: Warmup = ONCE) -> None:
    """Replay the requests that come with a version, but those for signatures that are left out of it.

    Raises InvalidModel and UnsupportedModel as `read_replay`, and InvalidModel with the number of a request that fails.
    """
    from tfopt.formats.serving.replay import read_replay
    from tfopt.formats.serving.warmup import WARMUP_PATH

    records = path / WARMUP_PATH
    if not warmup.enabled or not records.is_file():
        return
    start, count = perf_counter(), 0
    servable = Servable(0, (), runtime)
    for count, request in enumerate(read_replay(records), 1):
        if _signatures(request) & set(left_out):
            continue
        try:
            for _ in range(max(1, warmup.iterations)):
                _run(servable, request)
        except TfoptError as error:
            raise InvalidModel(f"warmup request {count - 1} fails: {error}", where=str(records)) from error
    if warmup.told is not None:
        warmup.told(str(path), perf_counter() - start, count)


def _signatures(request: WarmupRequest | ExamplesRequest) -> set[str]:
    from tfopt.formats.serving.warmup import WarmupRequest

    return {request.signature} if isinstance(request, WarmupRequest) else {signature for signature, _ in request.tasks}


def _run(servable: Servable, request: WarmupRequest | ExamplesRequest) -> None:
    from tfopt.formats.serving.warmup import WarmupRequest
    from tfopt.serve import inference

    if isinstance(request, WarmupRequest):
        inference.predict(servable, request.signature, request.inputs)
    elif request.api == "MultiInference":
        tasks = [inference.Task(request.model_name, signature, method) for signature, method in request.tasks]
        inference.infer_all(servable, tasks, request.examples)
    else:
        call = inference.classify if request.api == "Classify" else inference.regress
        call(servable, request.tasks[0][0], request.examples)
