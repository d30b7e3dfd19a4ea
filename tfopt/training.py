"""`train()`: a Keras model trained to be sparser, of fewer different weights, or ready for int8, and then proven."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal

import numpy as np

from tfopt import errors
from tfopt.data import Samples, Split, load_labels, load_samples, split
from tfopt.errors import UsageError
from tfopt.evidence import Evidence, check_evidence, input_types
from tfopt.fidelity import Gate, Judgement, check_contract, judge
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.keras.file import KerasFile, is_keras_file, read_keras_file
from tfopt.keras.methods import Methods
from tfopt.keras.opened import exported
from tfopt.keras.tfmot import check_installed
from tfopt.keras.training import Course, Task
from tfopt.passes.weights.sparsity import parse_pattern
from tfopt.proof import run_artifact
from tfopt.store.disk import copy_tree
from tfopt.store.output import check_absent, check_parents, new_directory
from tfopt.targets.child import run_child
from tfopt.words import Tell

#: The share of the samples that nothing is trained on.
HELD_OUT = 0.2
#: A day: training is as long as its epochs say, and only what hangs takes longer.
_TIMEOUT_SECONDS = 86_400.0
_LOOK_SECONDS = 0.5
_WHAT = "training a Keras model"


@dataclass(frozen=True, eq=False)
class TrainResult:
    """`path` is a SavedModel; `judgement` what it lost against the original on samples it was not trained on."""

    path: Path
    judgement: Judgement
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), **self.judgement.to_dict(), "notes": list(self.notes)}


def train(
    model: Any,
    out: str | Path,
    *,
    data: str | Path,
    labels: str | Path | None = None,
    prune: float | str | None = None,
    schedule: Literal["polynomial", "constant"] = "polynomial",
    cluster: int | None = None,
    qat: bool = False,
    epochs: int = 3,
    batch_size: int = 128,
    learning_rate: float = 1e-4,
    loss: str | None = None,
    max_drop: str | float | None = None,
    min_cosine: float | None = None,
    seed: int = 0,
    tell: Tell = lambda _: None,
) -> TrainResult:
    """Train a Keras model with tensorflow-model-optimization, and write a SavedModel with the original's signatures.

    `model` is a file that Keras saved (.keras, .h5), or a model of Keras 2 or 3; one of Keras 3 is carried over to
    Keras 2 layer by layer, which tensorflow-model-optimization is made for. `data` are its inputs, as `compress` takes
    them; `labels` class numbers, and without them it learns to answer as the original does. A fifth of the samples is
    held out. `prune` is the share of weights to set to zero, little by little (`schedule`), or N:M; `cluster` how many
    different weights each layer keeps; `qat` trains with the rounding of int8, whose ranges `compress` with int8 then
    keeps. Several are done in this order, each with `epochs` of its own.

    Raises NotFound, InvalidModel, InvalidSamples, OutputExists, UsageError for numbers out of range and a loss that is
    no longer finite, MissingExtra without tensorflow-model-optimization, UnsupportedModel for a model with code of its
    own and for layers that Keras 2 has not, and FidelityError when the result loses more than allowed.
    """
    methods = _methods(prune, schedule, cluster, qat)
    course = _course(epochs, batch_size, learning_rate, loss, seed)
    gate, target, classes = Gate.of(max_drop=max_drop, min_cosine=min_cosine), Path(out), _path(labels)
    check_absent(target)
    check_parents(target)
    check_evidence([data], classes)
    check_installed(_WHAT)
    with _as_file(model) as path, tempfile.TemporaryDirectory(prefix="tfopt-") as directory:
        file = read_keras_file(path)
        with exported(path, tell) as original:
            evidence = _evidence(original, data, classes, seed)
            trained = Path(directory) / "model"
            notes = _run(file, original, evidence, methods, course, trained, Path(directory), tell)
            tell("running both models on the held-out samples")
            judgement = _judged(original, trained, evidence, gate)
            judgement.require(hint="nothing was written; train longer, ask for less, or allow more (--max-drop)")
            with new_directory(target) as made:
                copy_tree(trained, made)
    return TrainResult(target, judgement, notes)


def _methods(prune: float | str | None, schedule: Any, cluster: int | None, qat: bool) -> Methods:
    methods = Methods(prune, schedule, cluster, qat)
    if not methods.names:
        raise UsageError("there is nothing to train for", hint="say --prune, --cluster or --qat")
    if isinstance(prune, str):
        parse_pattern(prune)
    elif prune is not None and not 0 < prune < 1:
        raise UsageError(f"a share of weights to prune is between 0 and 1, not {prune}")
    if cluster is not None and cluster < 2:
        raise UsageError(f"a layer keeps at least 2 different weights, not {cluster}")
    if schedule not in ("polynomial", "constant"):
        raise UsageError(f"there is no schedule {schedule!r}", hint="polynomial or constant")
    return methods


def _course(epochs: int, batch_size: int, learning_rate: float, loss: str | None, seed: int) -> Course:
    for what, number in (("epochs", epochs), ("batch size", batch_size)):
        if number < 1:
            raise UsageError(f"{what}: at least 1, not {number}")
    if not 0 < learning_rate < float("inf"):
        raise UsageError(f"a learning rate is larger than 0, not {learning_rate}")
    if seed < 0:
        raise UsageError(f"a seed is 0 or more, not {seed}")
    return Course(epochs, batch_size, learning_rate, loss, seed)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


@contextmanager
def _as_file(model: Any) -> Iterator[Path]:
    """The file of a model; one that is an object is saved for as long as the block lasts."""
    if isinstance(model, str | Path):
        path = Path(model)
        if path.exists() and not is_keras_file(path):
            hint = "only Keras can train one on; `tfopt compress` makes a SavedModel smaller without training"
            raise UsageError("is no file that Keras saved (.keras, .h5)", where=str(path), hint=hint)
        yield path
        return
    if not hasattr(model, "save"):
        raise UsageError(f"a {type(model).__name__} is neither a path nor a Keras model")
    with tempfile.TemporaryDirectory(prefix="tfopt-") as directory:
        path = Path(directory) / "model.keras"
        model.save(path)
        yield path


def _evidence(original: Path, data: str | Path, labels: Path | None, seed: int) -> Evidence:
    from tfopt.formats.saved_model import read_saved_model

    read = read_saved_model(original)
    samples = load_samples(data, input_types(read.signatures[DEFAULT_SIGNATURE]))
    parts = split(samples, seed=seed, held_out=HELD_OUT)
    splits = dict.fromkeys(read.signatures, parts)
    if labels is None:
        return Evidence(DEFAULT_SIGNATURE, splits, None, ())
    classes = load_labels(labels, samples.count)
    held_out, others = classes[parts.held_out_indices], classes[parts.calibration_indices]
    return Evidence(DEFAULT_SIGNATURE, splits, held_out, (), others)


def _run(
    file: KerasFile,
    original: Path,
    evidence: Evidence,
    methods: Methods,
    course: Course,
    output: Path,
    scratch: Path,
    tell: Tell,
) -> tuple[str, ...]:
    parts: Split = evidence.splits[evidence.main]
    labels = None
    if evidence.calibration_labels is not None:
        labels = str(scratch / "labels.npy")
        np.save(labels, evidence.calibration_labels)
    task = Task(
        source=str(file.path.resolve()),
        generation=file.generation,
        original=str(original),
        inputs=_saved(parts.calibration, scratch),
        labels=labels,
        methods=asdict(methods),
        course=asdict(course),
        output=str(output),
        progress=str(scratch / "progress.txt"),
        refusal=str(scratch / "refusal.json"),
    )
    tell(f"training {file.path.name} on {parts.calibration.count:,} samples")
    with _followed(Path(task.progress), tell):
        run_child("tfopt.keras.training", [task.to_json()], scratch, what=_WHAT, timeout=_TIMEOUT_SECONDS)
    refusal = Path(task.refusal)
    if refusal.exists():
        said: Mapping[str, Any] = json.loads(refusal.read_text(encoding="utf-8"))
        what = " ".join(said["what"].split())
        raise getattr(errors, said["kind"])(what[:1000], where=said["where"] or str(file.path), hint=said["hint"])
    return tuple(line.removeprefix("note: ") for line in _lines(Path(task.progress)) if line.startswith("note: "))


def _saved(samples: Samples, scratch: Path) -> Mapping[str, str]:
    files = {name: str(scratch / f"input-{number}.npy") for number, name in enumerate(samples.arrays)}
    for name, path in files.items():
        np.save(path, np.asarray(samples.arrays[name][:]))
    return files


@contextmanager
def _followed(progress: Path, tell: Tell) -> Iterator[None]:
    """Tell each line that the other process writes."""
    over = Event()

    def follow() -> None:
        told = 0
        while not over.wait(_LOOK_SECONDS):
            lines: Sequence[str] = [line for line in _lines(progress) if not line.startswith("note: ")]
            for line in lines[told:]:
                tell(line)
            told = len(lines)

    follower = Thread(target=follow, name="training", daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _judged(original: Path, trained: Path, evidence: Evidence, gate: Gate) -> Judgement:
    contract, expected = run_artifact(original, evidence)
    offered, made = run_artifact(trained, evidence)
    check_contract(contract, offered, kind="saved_model", where="the trained model")
    key = evidence.main
    count = evidence.splits[key].held_out.count
    method = contract[key].method_name
    return judge(expected[key], made[key], gate, exact=False, method_name=method, labels=evidence.labels, samples=count)
