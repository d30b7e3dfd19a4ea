"""Where a training stands, in one file that is replaced whole: a kill at any time leaves the last one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidSamples, UsageError
from tfopt.formats.graph_def import to_graph_def
from tfopt.learn.lesson import Lesson
from tfopt.passes.needs.teaching import Plan
from tfopt.store.disk import sync_directory, writing

Arrays = dict[str, NDArray[Any]]
_FILE = "training.npz"


@dataclass(slots=True)
class Progress:
    """`stale` evaluations in a row brought nothing better than `best_loss`, which was found behind step `best`."""

    step: int = 0
    seconds: float = 0.0
    before: tuple[float, float] = (0.0, 0.0)
    after: tuple[float, float] = (0.0, 0.0)
    best_loss: float = float("inf")
    best: int = 0
    stale: int = 0
    ended: str | None = None
    failed: bool = False


@dataclass(slots=True)
class State:
    """`arrays` has the groups of a workbench, and `best`: the best weights."""

    progress: Progress
    arrays: dict[str, Arrays] = field(default_factory=dict)


def save(directory: Path, fingerprint: str, state: State) -> None:
    """Raises OutputError when the disk is full or not to be written to; what was there before is there still."""
    text = json.dumps({"fingerprint": fingerprint, **asdict(state.progress)})
    named = {f"{group}/{name}": array for group, arrays in state.arrays.items() for name, array in arrays.items()}
    place = directory / _FILE
    new = place.with_name(f"{_FILE}.new")
    with writing(new):
        directory.mkdir(parents=True, exist_ok=True)
        try:
            with new.open("wb") as file:
                # The names of arrays are those of files in there, which may be anything but one too long.
                arrays: dict[str, Any] = {f"{number}": array for number, array in enumerate(named.values())}
                np.savez(file, progress=np.array(text), names=np.array(list(named)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            new.replace(place)
            sync_directory(directory)
        except OSError:
            new.unlink(missing_ok=True)
            raise


def load(directory: Path, fingerprint: str) -> State | None:
    """What `save` wrote last; None when there is nothing.

    Raises UsageError for that of another training, InvalidSamples for a file that is broken.
    """
    place = directory / _FILE
    if not place.exists():
        return None
    try:
        with np.load(place, allow_pickle=False) as file:
            told = json.loads(str(file["progress"]))
            names = [str(name) for name in file["names"]]
            arrays = [file[str(number)] for number in range(len(names))]
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise InvalidSamples(f"no checkpoint: {error}", where=str(place), hint="delete it and begin anew") from error
    if told.pop("fingerprint") != fingerprint:
        what = "the checkpoint is of another training: other models, samples or options"
        raise UsageError(what, where=str(place), hint="name another directory, or delete it and begin anew")
    state = State(Progress(**told))
    for name, array in zip(names, arrays, strict=True):
        group, _, weight = name.partition("/")
        state.arrays.setdefault(group, {})[weight] = array
    return state


def fingerprint(lesson: Lesson, plan: Plan, schedule: object) -> str:
    """Of all that the result depends on."""
    digest = hashlib.sha256()
    told = {key: value for key, value in asdict(plan).items() if not key.startswith("checkpoint")}
    digest.update(repr((sorted(told.items()), lesson.aim)).encode())
    digest.update(repr(schedule).encode())
    for model in (lesson.student, lesson.teacher):
        digest.update(to_graph_def(model.graph).SerializeToString(deterministic=True))
    for weight in lesson.weights:
        digest.update(repr((weight.name, weight.grid)).encode())
        _add(digest, {"mask": weight.mask if weight.mask is not None else np.zeros(0)})
    for part in lesson.parts:
        digest.update(repr((part.key, part.targets)).encode())
        for samples in (part.samples, part.kept):
            _add(digest, {name: samples.arrays[name] for name in sorted(samples.arrays)})
        for labels in (part.labels, part.kept_labels):
            _add(digest, {} if labels is None else {"labels": labels})
    return digest.hexdigest()


def _add(digest: Any, arrays: Mapping[str, Any]) -> None:
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        for start in range(0, len(array), 256):
            part = np.asarray(array[start : start + 256])
            # Strings are objects, of which only what they say is the same in another process.
            digest.update(repr(part.tolist()).encode() if part.dtype.hasobject else np.ascontiguousarray(part).data)
