"""A user's own model takes the teacher's place under its signatures, or is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.learn.pupils import KEY, one_signature
from tfopt.compression import compress
from tfopt.errors import UsageError
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model
from tfopt.learn.objective import squashed
from tfopt.learn.students import matched
from tfopt.passes.base import Step
from tfopt.passes.registry import steps
from tfopt.recipe import Recipe, RecipeStep, load_recipe
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime

Built = Callable[[Callable[[Path], Path]], Path]


def narrow(directory: Path) -> Path:
    """image float32[?,8,8,3] -> float32[?,4], other names than `models.classifier` has."""
    module = tf.Module()
    module.filters = tf.Variable(models.weights(3, 3, 3, 3) * 0.3)
    module.kernel = tf.Variable(models.weights(3, 4, seed=1) * 0.3)

    @tf.function(input_signature=[models.floats(None, 8, 8, 3, name="picture")])
    def serve(picture: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.nn.relu(tf.nn.conv2d(picture, module.filters, 2, "SAME"))
        return {"scores": tf.nn.softmax(tf.reduce_mean(features, [1, 2]) @ module.kernel)}

    return models.save(module, directory, mine=serve)


@pytest.fixture
def teacher(built: Built) -> Model:
    return one_signature(read_saved_model(built(models.classifier)))


def test_one_input_and_one_output_belong_together_whatever_their_names(teacher: Model, tmp_path: Path) -> None:
    student, findings = matched(read_saved_model(narrow(tmp_path / "narrow")), teacher, "narrow")
    assert student.signatures.keys() == {KEY}
    (name,) = student.signatures[KEY].inputs
    assert (name, *student.signatures[KEY].outputs) == ("image", "probabilities")
    assert findings[0].done


@pytest.mark.parametrize(
    ("builder", "said"),
    [
        (models.linear, r"its input 'image' is float32\[\?,3\], the model's float32\[\?,8,8,3\]"),
        (models.two_signatures, "has no input 'image', but scale, x"),
    ],
)
def test_what_does_not_match_is_refused(
    teacher: Model, built: Built, builder: Callable[[Path], Path], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        matched(read_saved_model(built(builder)), teacher, "mine")


def test_a_student_that_wants_more_is_refused(teacher: Model) -> None:
    own = teacher.signatures[KEY]
    wide = replace(own, inputs={**own.inputs, "more": next(iter(own.inputs.values()))})
    fewer = replace(own, outputs={})
    with pytest.raises(UsageError, match="has no output 'probabilities', but none"):
        matched(replace(teacher, signatures={KEY: fewer}), teacher, "mine")
    different = replace(wide.inputs["more"], node="other")
    with pytest.raises(UsageError, match="wants an input 'more'"):
        matched(
            replace(teacher, signatures={KEY: replace(wide, inputs={**own.inputs, "more": different})}), teacher, "m"
        )


def test_scores_become_probabilities_where_the_teacher_gives_these(teacher: Model, built: Built) -> None:
    own = teacher.signatures[KEY]
    ((name, output),) = own.outputs.items()
    _, scores = squashed(teacher.graph, teacher.graph.outputs[output.position])
    raw = teacher.with_graph(replace(teacher.graph, outputs=(scores,)))
    student, findings = matched(raw, teacher, "mine")
    assert "a Softmax was put behind it" in findings[1].message
    fed = {"image": models.weights(3, 8, 8, 3)}
    with ModelRunner(student) as made, ModelRunner(teacher) as expected:
        np.testing.assert_array_equal(made.run(KEY, fed)[name], expected.run(KEY, fed)[name])


def step(name: str) -> Step:
    return steps()[name]


def test_a_student_by_path_serves_as_its_teacher_did(built: Built, tmp_path: Path) -> None:
    source, own = built(models.classifier), narrow(tmp_path / "narrow")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", image=rng.standard_normal((200, 8, 8, 3)).astype(np.float32))
    distill = RecipeStep(step("distill"), {"student": str(own), "steps": 100, "learning_rate": 0.01})
    recipe = Recipe("taught", (*load_recipe("exact").steps, distill))
    result = compress(source, tmp_path / "out", recipe=recipe, data=str(tmp_path / "data.npz"), max_drop=60)
    row = next(row for row in result.ledger if row.step == "distill")
    assert row.parameters < result.ledger[0].parameters
    assert [finding.done for finding in row.findings] == [True, True]
    with TensorFlowRuntime(source) as before, TensorFlowRuntime(result.path) as after:
        assert before.signatures[KEY].outputs.keys() == after.signatures[KEY].outputs.keys()
        fed = {"image": models.weights(5, 8, 8, 3)}
        np.testing.assert_allclose(after.run(KEY, fed)["probabilities"].sum(-1), 1.0, rtol=1e-5)


def test_the_original_itself_has_nothing_to_learn(built: Built, tmp_path: Path) -> None:
    recipe = Recipe("idle", (*load_recipe("exact").steps, RecipeStep(step("distill"), {})))
    data = tmp_path / "data.npz"
    np.savez(data, x=models.weights(64, 3))
    result = compress(built(models.linear), tmp_path / "out", recipe=recipe, data=data)
    row = next(row for row in result.ledger if row.step == "distill")
    assert "it is the original" in row.findings[0].message
