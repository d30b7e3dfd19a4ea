"""Train a model that Keras saved, in a process of its own: `python -m tfopt.keras.training TASK`.

TASK is a `Task` as JSON. The SavedModel that it names is written, and the notes; or the refusal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import TfoptError, UnsupportedModel, UsageError
from tfopt.keras.methods import Methods, wrapped

#: What is off one where probabilities are added up in float32, at most.
_ONE = 1e-3
#: Examples that tell the ranges which int8's rounding begins with.
_BATCH = 512


@dataclass(frozen=True)
class Course:
    """How long and how fast each method trains. `loss` is one that Keras knows by name; None follows from the outputs
    and the labels."""

    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 1e-4
    loss: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """`source` is the file, `original` its SavedModel, whose signature the result has; `inputs` are .npy files by input
    name and `labels` one of class numbers, or None to learn the original's answers. `progress` is written line by line,
    `output` when all goes well, `refusal` when it does not."""

    source: str
    generation: int
    original: str
    inputs: Mapping[str, str]
    labels: str | None
    methods: Mapping[str, Any]
    course: Mapping[str, Any]
    output: str
    progress: str
    refusal: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def train(task: Task) -> None:
    """Raises UnsupportedModel, UsageError."""
    from tfopt.keras.export import load
    from tfopt.keras.saving import Contract, save

    contract = Contract.of(task.original)
    model = load(task.source, task.generation)
    if task.generation == 3:
        from tfopt.keras.carry import carried

        model = carried(model)
    import tf_keras

    course, methods = Course(**task.course), Methods(**task.methods)
    tf_keras.utils.set_random_seed(course.seed)
    feeds = [np.load(task.inputs[name], mmap_mode="r") for name in contract.inputs_of(model)]
    given = None if task.labels is None else np.load(task.labels)
    progress = Path(task.progress)
    goals = _goals(model, feeds, given, course)
    for name in methods.names:
        model = _trained(name, model, methods, course, feeds, goals, progress)
    save(model, contract, task.output)


@dataclass(frozen=True)
class _Goals:
    """What each output is to be, and the loss that says how far off it is."""

    targets: Sequence[NDArray[Any]]
    losses: Sequence[Any]
    metrics: Sequence[str]


def _goals(model: Any, feeds: Sequence[Any], labels: NDArray[Any] | None, course: Course) -> _Goals:
    import tf_keras

    made = model.predict(_one(feeds), batch_size=course.batch_size, verbose=0)
    outputs = list(made) if isinstance(made, (list, tuple)) else [made]
    losses = tf_keras.losses
    if labels is None:
        chosen = [losses.CategoricalCrossentropy() if _probabilities(x) else losses.MeanSquaredError() for x in outputs]
        return _Goals(outputs, [course.loss] * len(outputs) if course.loss else chosen, ())
    if len(outputs) != 1:
        hint = "leave the labels away: the outputs are then learned from the original"
        raise UsageError(f"labels are for a model of one output, and this one has {len(outputs)}", hint=hint)
    classes = outputs[0].shape[-1]
    if labels.max(initial=0) >= classes:
        raise UsageError(f"there is a label {labels.max()}, and the model has {classes} classes, from 0 on")
    entropy = losses.SparseCategoricalCrossentropy(from_logits=not _probabilities(outputs[0]))
    return _Goals([labels], [course.loss or entropy], ("accuracy",))


def _probabilities(array: NDArray[Any]) -> bool:
    return array.ndim > 1 and bool(np.all(array >= 0) and np.all(np.abs(array.sum(-1) - 1) < _ONE))


def _trained(
    name: str, model: Any, methods: Methods, course: Course, feeds: Sequence[Any], goals: _Goals, progress: Path
) -> Any:
    import tf_keras

    steps = course.epochs * -(-len(feeds[0]) // course.batch_size)
    under = wrapped(name, model, methods, steps, [feed[:_BATCH] for feed in feeds])
    _tell(progress, *(f"note: {name}: {layer}: {why}" for layer, why in under.left.items()))
    if not under.model.trainable_weights:
        raise UnsupportedModel(f"there is nothing to train in it for {name}")
    optimizer = tf_keras.optimizers.Adam(course.learning_rate)
    under.model.compile(optimizer, list(goals.losses), metrics=list(goals.metrics))
    under.model.fit(
        _one(feeds),
        _one(goals.targets),
        epochs=course.epochs,
        batch_size=course.batch_size,
        verbose=0,
        callbacks=[*under.callbacks, _progress(name, course.epochs, progress)],
    )
    return under.strip(under.model)


def _progress(name: str, epochs: int, progress: Path) -> Any:
    import tf_keras

    def told(epoch: int, logs: Mapping[str, float]) -> None:
        figures = ", ".join(f"{key} {value:.4g}" for key, value in logs.items())
        _tell(progress, f"{name}: epoch {epoch + 1} of {epochs}, {figures}")

    def checked(batch: int, logs: Mapping[str, float]) -> None:
        if not np.isfinite(logs["loss"]):
            hint = "try a smaller learning rate"
            raise UsageError(f"the loss is {logs['loss']} in step {batch + 1} of an epoch under {name}", hint=hint)

    return tf_keras.callbacks.LambdaCallback(on_epoch_end=told, on_train_batch_end=checked)


def _tell(progress: Path, *lines: str) -> None:
    with progress.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _one(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def main() -> None:
    from tfopt.processes import end_with_parent

    end_with_parent()
    task = Task(**json.loads(sys.argv[1]))
    try:
        train(task)
    except TfoptError as error:
        said = {"kind": type(error).__name__, "what": error.what, "where": error.where, "hint": error.hint}
        Path(task.refusal).write_text(json.dumps(said), encoding="utf-8")
    except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError) as error:
        said = {"kind": "UnsupportedModel", "what": f"{type(error).__name__}: {error}", "where": None, "hint": None}
        Path(task.refusal).write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main()
