"""Small models to teach, and samples to teach them with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tfopt.data import Samples, batching
from tfopt.evidence import input_types
from tfopt.ir.bodies import innermost_first
from tfopt.ir.graph import Graph, Model
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.learn.lifting import trainable
from tfopt.learn.teacher import SampleTeaching
from tfopt.passes.needs.teaching import Aim, Plan, Schedule, Taught

KEY = "serving_default"


def one_signature(model: Model) -> Model:
    return replace(model, signatures={KEY: model.signatures[KEY]})


def images(count: int = 160, seed: int = 0) -> np.ndarray:
    """float32 [count, 8, 8, 3], some of whose parts are brighter than others."""
    rng = np.random.default_rng(seed)
    shades = rng.standard_normal((count, 2, 2, 3)).repeat(4, 1).repeat(4, 2)
    return (3 * shades + rng.standard_normal((count, 8, 8, 3))).astype(np.float32)


def samples(model: Model, key: str = KEY, **arrays: np.ndarray) -> Samples:
    return Samples(arrays, "file", "drawn", batching(input_types(model.signatures[key])))


def changed(model: Model, share: float = 1.5, seed: int = 0, floor: float = 0.0) -> Model:
    """With noise on every weight that can be trained, as large as this share of it; those no larger in magnitude than
    `floor` times the largest of a layer's become zero."""
    rng = np.random.default_rng(seed)
    made = {}
    for weight in trainable(model.graph).weights:
        array = weight.tensor.array
        noisy = array + share * np.abs(array).mean() * rng.standard_normal(array.shape)
        if weight.layer is not None:
            noisy[np.abs(array) <= floor * np.abs(array).max()] = 0
        made[id(weight.tensor)] = Tensor(noisy.astype(np.float32))

    def change(graph: Graph, _: str) -> Graph:
        editor = Editor(graph)
        for node in graph.by_op.get("Const", ()):
            if id(node.tensor) in made:
                editor.update(node.with_attrs(value=made[id(node.tensor)]))
        return editor.finish()

    return model.with_graph(innermost_first(model.graph, change))


def teach(
    student: Model,
    teacher: Model,
    given: Samples,
    plan: Plan | None = None,
    aim: Aim | None = None,
    *,
    schedule: Schedule | None = None,
    labels: np.ndarray | None = None,
    told: list[str] | None = None,
) -> Taught:
    def read(path: Path) -> Model:
        raise AssertionError(path)

    tell = (lambda _: None) if told is None else told.append
    teaching = SampleTeaching(dict.fromkeys(teacher.signatures, given), KEY, read, labels, tell)
    return teaching.teach(student, teacher, plan or QUICK, aim or Aim(), schedule)


QUICK = Plan(steps=60, batch_size=16, learning_rate=0.01, threads=1, evaluations=6)


def arrays(model: Model) -> dict[str, np.ndarray]:
    return {weight.name: weight.tensor.array for weight in trainable(model.graph).weights}
