"""A student that was damaged becomes like its teacher again, and stays what it is: sparse, on integers, one weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.learn.pupils import KEY, QUICK, arrays, changed, images, one_signature, samples, teach
from tfopt import requirements
from tfopt.errors import InvalidSamples, UnmetRequirement, UsageError
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model, Value
from tfopt.ir.grid import affine, symmetric
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.ir.verify import verify_model
from tfopt.learn.lifting import trainable
from tfopt.passes.needs.teaching import Aim
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe

Built = Callable[[Callable[[Path], Path]], Path]


@pytest.fixture(scope="module")
def teacher(built: Built) -> Model:
    return one_signature(run_pipeline(read_saved_model(built(models.cnn_with_batch_norm)), load_recipe("exact")).model)


def test_a_student_becomes_like_its_teacher(teacher: Model) -> None:
    student = changed(teacher)
    told: list[str] = []
    taught = teach(student, teacher, samples(teacher, image=images()), told=told)
    assert taught.after.loss < taught.before.loss / 3
    assert taught.after.agreement >= taught.before.agreement
    assert any("step 60" in line for line in told)
    (finding,) = taught.findings
    assert finding.done and "60 steps of 16" in finding.message and "20 samples kept" in finding.message
    verify_model(taught.model)
    assert taught.model.signatures == teacher.signatures
    before, after = arrays(student), arrays(taught.model)
    assert before.keys() == after.keys()
    assert all(not np.array_equal(before[name], after[name]) for name in before)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(teacher: Model) -> None:
    student, given = changed(teacher), samples(teacher, image=images())
    first, again = (arrays(teach(student, teacher, given).model) for _ in range(2))
    other = arrays(teach(student, teacher, given, replace(QUICK, seed=1)).model)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert any(not np.array_equal(array, other[name]) for name, array in first.items())


def test_what_was_pruned_stays_zero(teacher: Model) -> None:
    student = changed(teacher, floor=0.4)
    taught = teach(student, teacher, samples(teacher, image=images()))
    after = {weight.name: weight.tensor.array for weight in trainable(taught.model.graph).weights}
    sparse = [weight for weight in trainable(student.graph).weights if weight.mask is not None]
    assert sparse
    for weight in sparse:
        np.testing.assert_array_equal(after[weight.name] != 0, weight.tensor.array != 0)
    assert taught.after.loss < taught.before.loss


def test_what_lies_on_a_grid_lies_on_it_in_the_end(teacher: Model) -> None:
    student = changed(teacher, 0.3)
    weight = next(one for one in trainable(student.graph).weights if one.layer and one.layer.node.op == "Conv2D")
    assert weight.layer is not None
    grid = symmetric(np.abs(weight.tensor.array).max((0, 1, 2)), axes=(3,))
    editor = Editor(student.graph)
    node = student.graph[weight.name]
    editor.update(node.with_attrs(value=Tensor(grid.snapped(weight.tensor.array))))
    data = weight.layer.data_value
    grids = {node.value(): grid, data: affine(-4.0, 4.0)}
    quantized = student.with_graph(replace(editor.finish(), grids=grids))
    verify_model(quantized)
    taught = teach(quantized, teacher, samples(teacher, image=images()))
    verify_model(taught.model)
    assert taught.model.graph.grids == grids
    assert taught.after.loss < taught.before.loss
    array = taught.model.graph[weight.name].tensor.array
    np.testing.assert_array_equal(grid.snapped(array), array)
    assert not np.array_equal(array, quantized.graph[weight.name].tensor.array)


@pytest.mark.parametrize("builder", [models.lstm, models.recurrent, models.transformer])
def test_loops_and_attention_are_taught(built: Built, builder: Callable[[Path], Path]) -> None:
    """In the form that Keras exports: While loops, their weights captured by the body; the table stays as it is."""
    original = one_signature(read_saved_model(built(builder)))
    rng = np.random.default_rng(0)
    ((name, entry),) = original.signatures[KEY].inputs.items()
    shape = [6 if dim is None else dim for dim in (entry.type.shape.dims or ())[1:]]
    floats = entry.type.dtype.is_floating
    drawn = rng.standard_normal((96, *shape)) if floats else rng.integers(0, 10, (96, *shape))
    given = samples(original, **{name: drawn.astype(np.float32 if floats else np.int32)})
    student = changed(original, 0.5)
    taught = teach(student, original, given, replace(QUICK, steps=40))
    assert taught.after.loss < taught.before.loss * 0.7
    assert {f.message for f in taught.findings if not f.done} <= {
        found.message for found in trainable(original.graph).left
    }


def test_a_weight_of_two_layers_stays_one(built: Built) -> None:
    """`nested` calls one layer twice."""
    original = one_signature(read_saved_model(built(models.nested)))
    given = samples(original, x=np.random.default_rng(0).standard_normal((96, 4)).astype(np.float32))
    taught = teach(changed(original), original, given)
    assert len(trainable(taught.model.graph).weights) == 1
    assert taught.after.loss < taught.before.loss * 0.8


@dataclass(frozen=True)
class HalfAway:
    """Masks the smaller half of every layer's weight in the middle of the training."""

    def is_due(self, step: int, steps: int) -> bool:
        return step == steps // 3

    def masks(self, step: int, steps: int, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {name: np.abs(array) > np.median(np.abs(array)) for name, array in weights.items() if array.ndim > 1}

    def is_settled(self, step: int, steps: int) -> bool:
        return step > steps // 3


def test_a_schedule_sets_masks_on_the_way(teacher: Model) -> None:
    taught = teach(teacher, teacher, samples(teacher, image=images()), schedule=HalfAway())
    layers = [weight for weight in trainable(taught.model.graph).weights if weight.layer is not None]
    assert layers
    for weight in layers:
        assert np.mean(weight.tensor.array == 0) == pytest.approx(0.5, abs=0.02)
    assert taught.after.agreement > 0.5


def test_hints_compare_what_has_one_name_and_shape(teacher: Model) -> None:
    student, given = changed(teacher), samples(teacher, image=images())
    plain = teach(student, teacher, given)
    hinted = teach(student, teacher, given, aim=Aim(hints_weight=1.0))
    assert hinted.after.loss < hinted.before.loss
    assert not np.array_equal(*(next(iter(arrays(one.model).values())) for one in (plain, hinted)))
    with pytest.raises(UsageError, match="no value of both models"):
        teach(student, teacher, given, aim=Aim(hints_weight=1.0, hints=("nowhere*",)))


def test_labels_pull_towards_themselves(teacher: Model) -> None:
    given = samples(teacher, image=images())
    labels = np.full(given.count, 2)
    taught = teach(teacher, teacher, given, replace(QUICK, patience=None), Aim(labels_weight=1.0), labels=labels)
    assert taught.after.loss == taught.before.loss == pytest.approx(0.0, abs=1e-6)  # the teacher is still the mark
    assert "nothing was better" in taught.findings[0].message


def test_too_few_samples_and_none_are_refused(teacher: Model) -> None:
    with pytest.raises(InvalidSamples, match=r"20 samples to teach with; give 32 or more"):
        teach(changed(teacher), teacher, samples(teacher, image=images(20)))
    synthetic = replace(samples(teacher, image=images()), source="synthetic")
    with pytest.raises(InvalidSamples, match="no samples to teach with"):
        teach(changed(teacher), teacher, synthetic)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"steps": 0}, "steps is 1 or more"),
        ({"learning_rate": float("nan")}, "learning_rate is more than 0"),
        ({"replicas": 3}, "replicas is 1 or more, and divides batch_size"),
        ({"mixed_precision": True}, "does not multiply in bfloat16"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    teacher: Model, plan: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "_x86_flags", frozenset)
    with pytest.raises((UsageError, UnmetRequirement), match=said):
        teach(changed(teacher), teacher, samples(teacher, image=images()), replace(QUICK, **plan))


def test_two_replicas_train_as_one_does(teacher: Model) -> None:
    """On two processors that the session makes of one: each takes half of a batch, and gradients are averaged."""
    student, given = changed(teacher), samples(teacher, image=images())
    few = replace(QUICK, steps=10, augment="none")
    one, two = (teach(student, teacher, given, replace(few, replicas=count)) for count in (1, 2))
    assert two.after.loss < two.before.loss
    for name, array in arrays(one.model).items():
        np.testing.assert_allclose(arrays(two.model)[name], array, atol=2e-3)


@pytest.mark.skipif(not requirements.computes_bfloat16(), reason="this processor does not multiply in bfloat16")
def test_mixed_precision_learns_what_floats_learn(teacher: Model) -> None:
    student, given = changed(teacher), samples(teacher, image=images())
    exact, mixed = (teach(student, teacher, given, replace(QUICK, mixed_precision=on)) for on in (False, True))
    assert mixed.after.loss < mixed.before.loss / 2
    same = [np.array_equal(array, arrays(mixed.model)[name]) for name, array in arrays(exact.model).items()]
    assert not all(same)


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_best(teacher: Model) -> None:
    given = samples(teacher, image=images())
    taught = teach(changed(teacher), teacher, given, replace(QUICK, learning_rate=1e38))
    assert "the loss of step" in taught.findings[0].message and "nan" in taught.findings[0].message
    assert not taught.findings[0].done
    assert all(np.isfinite(array).all() for array in arrays(taught.model).values())


def test_answers_that_are_no_numbers_end_it_before_the_first_step(teacher: Model, tmp_path: Path) -> None:
    student, plan = changed(teacher, share=np.nan), replace(QUICK, checkpoint=tmp_path)
    taught = teach(student, teacher, samples(teacher, image=images()), plan)
    assert taught.model is student and taught.steps == 0
    assert taught.findings[0].message.startswith("the loss was nan before the first step, so there was none: ")
    assert not list(tmp_path.iterdir())


def test_a_model_without_weights_is_refused(built: Built) -> None:
    original = one_signature(read_saved_model(built(models.loop)))
    given = samples(original, x=np.ones(64, np.float32))
    with pytest.raises(UsageError, match="no weights that can be trained"):
        teach(original, original, given)


def test_tables_and_what_callers_read_are_no_weights(built: Built) -> None:
    found = trainable(read_saved_model(built(models.transformer)).graph)
    assert any("a table is not trained" in finding.message for finding in found.left)
    assert all(isinstance(Value(weight.name), Value) for weight in found.weights)
