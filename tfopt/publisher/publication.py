"""Put a model into a base path as its next version, after it has been loaded and run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tfopt.errors import UsageError
from tfopt.publisher.child import run_rehearsal
from tfopt.publisher.source import artifact_files, artifacts_in, check_base, check_model, copy_model
from tfopt.publisher.task import Outcome, Task
from tfopt.store import Manifest, Store, joint_digest, tree_digest, verify_files, write_manifest
from tfopt.store.store import check_label
from tfopt.words import Tell

#: TensorFlow Serving refuses a model with more warmup requests.
LARGEST_WARMUP = 1000


@dataclass(frozen=True)
class Published:
    """A version in place. `ran` counts the requests that each artifact answered before; `samples` says what they were
    made of ("data", "warmup", "synthetic"); `notes` say what was not tried."""

    name: str
    number: int
    path: Path
    held: bool
    label: str | None
    bytes: int
    ran: Mapping[str, int]
    samples: str
    notes: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {**asdict(self), "path": str(self.path), "notes": list(self.notes)}


def publish(
    model: str | Path,
    base: str | Path,
    *,
    name: str | None = None,
    data: str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None = None,
    warmup: int = 8,
    hold: bool = False,
    label: str | None = None,
    timeout: float = 600.0,
    tell: Tell = lambda _: None,
) -> Published:
    """Publish a SavedModel directory, a version that `compress` made, a .tflite or a .onnx file as the next version.

    `base` is the model's base path, BASE/NAME, as in TF Serving's --model_base_path; with `name` versions go to
    `base/name`. The input is copied, never changed. `data` says where samples are, as for `compress`
    (`tfopt.data.source`): by signature, or one source for every signature that it fits. The first `warmup` examples
    become TF Serving's warmup requests; without `data` the model's own warmup file is kept; a model that has none gets
    one random example for each signature. Each request has run on each artifact, in another process that may take
    `timeout` seconds, before the version gets its number. An artifact that this machine cannot run is published on
    the strength of what its manifest says the gate has measured. `hold` leaves it out of service, `label` lets a label
    point at it.

    Raises NotFound, InvalidModel and UnsupportedModel for the model, UnmetRequirement when this machine cannot run it
    and nothing proves it, FidelityError when its artifacts answer in different forms, InvalidSamples, UsageError,
    OutputError. Nothing is in place then.
    """
    started = time.monotonic()
    source = Path(model)
    target = Path(base) if name is None else Path(base) / name
    samples = _sources(data)
    _check_arguments(source, target, name, samples, warmup, hold, label)
    store = Store(target)
    with store.stage() as staged:
        tell(f"copying {source}")
        copy_model(source, staged)
        own = verify_files(staged)
        manifest = own or _describe(source, staged)
        tell("loading and running it in a process of its own")
        task = Task(str(staged.resolve()), target.resolve().name, samples, str(Path.cwd()), warmup)
        outcome = run_rehearsal(task, source, timeout)
        if own is None:
            manifest = _with_requirements(manifest, outcome.requires)
        write_manifest(staged, manifest.with_entries(**_record(task, outcome)))
        tell("putting it in place")
        number = store.commit(staged, hold=hold)
    if label is not None:
        store.label(label, number)
    entry = store.entry(number)
    return Published(
        name=task.name,
        number=number,
        path=entry.path,
        held=hold,
        label=label,
        bytes=entry.bytes,
        ran=outcome.ran,
        samples=outcome.samples,
        notes=tuple(outcome.notes),
        seconds=time.monotonic() - started,
    )


def _sources(data: str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None) -> tuple[str, ...]:
    if isinstance(data, Mapping):
        return tuple(f"{signature}={place}" for signature, place in data.items())
    return () if data is None else (str(data),) if isinstance(data, str | Path) else tuple(map(str, data))


def _check_arguments(
    model: Path, base: Path, name: str | None, samples: Sequence[str], warmup: int, hold: bool, label: str | None
) -> None:
    """What can be known before anything is copied and a process is started."""
    check_model(model)
    if name is not None and (not name or "/" in name or name.startswith(".")):
        raise UsageError(f"{name!r} cannot be a model's name", hint="it is the name of one directory")
    check_base(base, model, named=name is not None)
    if samples:
        from tfopt.data import check_sources  # brings numpy, which nothing else here needs

        check_sources(samples, named=True)
    if not 0 <= warmup <= LARGEST_WARMUP:
        raise UsageError(f"{warmup} warmup requests; TensorFlow Serving takes 0 to {LARGEST_WARMUP}")
    if label is not None:
        check_label(label)
        if hold:
            raise UsageError("a held version cannot have a label", hint="hold it or label it")


def _describe(source: Path, staged: Path) -> Manifest:
    """What can be said of a model that `compress` has not made.

    Of the artifacts only the first is listed: a .tflite or .onnx of unknown origin beside a SavedModel has not been
    compared to it, so servers are not to take one for the other.
    """
    kind, path = next(iter(artifacts_in(staged).items()))
    files = artifact_files(staged, kind)
    artifact = {
        "path": path.relative_to(staged).as_posix(),
        "digest": joint_digest(files),
        "bytes": sum((staged / name).stat().st_size for name in files),
    }
    source_entry = {"name": source.resolve().name, "digest": tree_digest(staged)}
    return Manifest({"source": source_entry, "artifacts": {kind: artifact}})


def _with_requirements(manifest: Manifest, requires: Mapping[str, Sequence[str]]) -> Manifest:
    found = {kind: list(requires.get(kind, ())) for kind in manifest.artifacts}
    artifacts = {kind: {**entry, "requires": found[kind]} for kind, entry in manifest.artifacts.items()}
    return manifest.with_entries(artifacts=artifacts)


def _record(task: Task, outcome: Outcome) -> dict[str, Any]:
    published = {
        "model": task.name,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "ran": outcome.ran,
        "samples": outcome.samples,
        "notes": outcome.notes,
        "seconds": outcome.seconds,
    }
    return {"signatures": outcome.signatures, "published": published}
