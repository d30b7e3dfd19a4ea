"""What a server will do when it loads a version, done beforehand: `python -m tfopt.publisher.rehearsal TASK`.

It runs in a process of its own, so that a model that crashes or hangs takes nothing along and that the publisher
needs no TensorFlow. TASK and the answer on stdout are JSON: `Task` and `Outcome`, or an error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from tfopt.errors import ExecutionError, FidelityError, InvalidModel, NotFound, TfoptError
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, read_warmup, write_warmup
from tfopt.processes import end_with_parent
from tfopt.publisher.caller import as_the_caller
from tfopt.publisher.opened import Opened, open_version
from tfopt.publisher.requests import Requests, choose_requests
from tfopt.publisher.source import ONNX, TFLITE
from tfopt.publisher.task import Outcome, Task
from tfopt.publisher.timing import seconds_by_kind
from tfopt.runtimes.base import Runtime

_CALLED = {"saved_model": "the SavedModel", "tflite": TFLITE, "onnx": ONNX}
Outputs: TypeAlias = Mapping[str, NDArray[Any]]
_Expected: TypeAlias = tuple[str, Outputs]


def rehearse(task: Task) -> Outcome:
    """Load every artifact that this machine can run, write the warmup requests, run each of them on every artifact.

    Raises InvalidModel for what does not load or run, UnsafeModel for what would touch files, FidelityError for
    artifacts that answer in different forms, InvalidSamples, UnsupportedModel, MissingExtra, UnmetRequirement.
    """
    version = Path(task.version)
    with open_version(version) as opened:
        if not opened.signatures:
            raise InvalidModel("the model has no signatures, so no request can be made of it", where=str(version))
        with as_the_caller(task.directory):
            chosen = choose_requests(version, opened, task.name, task.data, task.warmup)
        requests = _settle(version, chosen, task.warmup)
        expected = [_expected(opened, request, number) for number, request in enumerate(requests, 1)]
        ran = {kind: _replay(runtime, requests, expected) for kind, runtime in opened.runtimes.items()}
        seconds = seconds_by_kind(opened.runtimes, requests)
        signatures = {key: info.as_dict() for key, info in opened.signatures.items()}
    notes = (*map(_not_run, opened.unmet.items()), *chosen.notes)
    return Outcome(signatures, ran, chosen.samples, notes, opened.requires, seconds)


def _not_run(unmet: tuple[str, str]) -> str:
    kind, reason = unmet
    return f"{_CALLED[kind]} was not run on this machine, as {reason}; that it has passed the gate is in its manifest"


def _settle(version: Path, chosen: Requests, warmup: int) -> list[WarmupRequest]:
    """Everything that is to be run: the warmup file as a server will read it, and what was chosen beside it."""
    path = version / WARMUP_PATH
    if warmup and chosen.requests and (chosen.samples == "data" or not path.exists()):
        write_warmup(path, chosen.requests)
        return read_warmup(path)
    kept = read_warmup(path) if path.exists() else []
    return [*kept, *(() if chosen.samples == "warmup" else chosen.requests)]


def _expected(opened: Opened, request: WarmupRequest, number: int) -> _Expected | None:
    """The kind of the first artifact that has the signature, and its answer; None when none can be run here."""
    try:
        runtime = opened.first(request.signature)
    except NotFound as error:
        raise _failed(request, number, error, None) from error
    return None if runtime is None else (runtime.kind, _answer(runtime, request, number))


def _answer(runtime: Runtime, request: WarmupRequest, number: int) -> Outputs:
    try:
        return runtime.run(request.signature, request.inputs)
    except TfoptError as error:
        raise _failed(request, number, error, _CALLED[runtime.kind]) from error


def _failed(request: WarmupRequest, number: int, error: TfoptError, where: str | None) -> InvalidModel:
    what = f"signature {request.signature} fails on warmup request {number}: {error.what}"
    return InvalidModel(what, where=where, hint=error.hint)


def _replay(runtime: Runtime, requests: Sequence[WarmupRequest], expected: Sequence[_Expected | None]) -> int:
    """Run what the artifact has a signature for; gives how many that were."""
    ran = 0
    for number, (request, wanted) in enumerate(zip(requests, expected, strict=True), 1):
        if wanted is not None and request.signature in runtime.signatures:
            first, outputs = wanted
            names = _CALLED[runtime.kind], _CALLED[first]
            _check_form(names, request.signature, _answer(runtime, request, number), outputs)
            ran += 1
    if not ran:
        have = ", ".join(sorted(runtime.signatures)) or "none"
        asked = ", ".join(sorted({request.signature for request in requests}))
        what = f"{_CALLED[runtime.kind]} has none of the signatures that are asked for ({asked})"
        raise InvalidModel(what, hint=f"it has: {have}")
    return ran


def _check_form(names: tuple[str, str], signature: str, given: Outputs, wanted: Outputs) -> None:
    """Raise FidelityError unless names, dtypes and shapes of the outputs are the first artifact's."""
    form, wanted_form = _form(given), _form(wanted)
    if form != wanted_form:
        what = f"{names[0]} answers with {form}, {names[1]} with {wanted_form}"
        raise FidelityError(what, where=f"signature {signature}", hint="make both from the same model")


def _form(outputs: Outputs) -> str:
    texts = {name: "string" if array.dtype.kind in "OSU" else array.dtype.name for name, array in outputs.items()}
    return ", ".join(f"{name} {texts[name]}{list(outputs[name].shape)}" for name in sorted(outputs))


def main() -> int:
    """Print what became of the task in argv as JSON; everything that libraries print goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    end_with_parent()
    try:
        result = asdict(rehearse(Task(**json.loads(sys.argv[1]))))
    except TfoptError as error:
        kind = InvalidModel.__name__ if isinstance(error, ExecutionError) else type(error).__name__
        result = {"error": kind, "what": error.what, "where": error.where, "hint": error.hint}
    with answer:
        json.dump(result, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
