"""What REST and gRPC promise alike: the same answers, the same texts, codes that say the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models as saved_models
from tests.serve.contract.faces import Face, Refused
from tfopt.errors import Code
from tfopt.runtimes.tensorflow import TensorFlowRuntime

ROW = np.array([[1, 2, 5]], np.float32)
INVALID, MISSING = Code.INVALID_ARGUMENT, Code.NOT_FOUND


def test_predict_is_what_the_model_computes(face: Face, built: Callable[..., Path]) -> None:
    with TensorFlowRuntime(built(saved_models.linear)) as runtime:
        (expected,) = runtime.run("serving_default", {"x": ROW}).values()
    (found,) = face.predict("linear", {"x": ROW}).values()
    assert np.array_equal(np.asarray(found, np.float32), expected)


@pytest.mark.parametrize("spec", [{}, {"version": 123}, {"label": "stable"}])
def test_whom_a_request_is_for(face: Face, spec: Any) -> None:
    assert face.metadata("linear", **spec) == (123, {"serving_default"})
    (found,) = face.predict("linear", {"x": ROW}, **spec).values()
    assert np.shape(found) == (1, 2)


def test_several_outputs_and_defaults(face: Face) -> None:
    x = np.ones((1, 5), np.float32)
    assert face.predict("two", {"x": x, "scale": np.float32(2)}).keys() == {"embedding", "score"}
    (found,) = face.predict("two", {"x": x}, signature="score").values()
    assert np.shape(found) == (1, 1)


def test_no_rows_at_all(face: Face) -> None:
    (found,) = face.predict("echo", {"x": np.ones((0,), np.float32)}).values()
    assert found.size == 0


def test_a_scalar(face: Face) -> None:
    (found,) = face.predict("echo", {"x": np.float32(2.5)}).values()
    assert found.shape == () and found == 2.5


def test_a_lone_string(face: Face) -> None:
    (found,) = face.predict("echo", {"x": "word"}, signature="string").values()
    assert found.shape == () and found.item() in ("word", b"word")


def test_numbers_that_are_not_finite(face: Face) -> None:
    (found,) = face.predict("echo", {"x": np.array([0.0, -0.0], np.float32)}, signature="divide").values()
    assert found.tolist() == [np.inf, -np.inf]


def test_versions_that_are_served_by_litert(face: Face) -> None:
    (found,) = face.predict("lite", {"x": ROW}).values()
    (expected,) = face.predict("linear", {"x": ROW}).values()
    assert found == pytest.approx(expected)
    assert face.metadata("lite")[0] == 5


def test_examples(face: Face) -> None:
    two = [{"x": 2.0}, {"x": 4.0}]
    assert face.regress("examples", two) == face.regress("examples", two, signature="flat") == [3.0, 4.0]
    assert face.classify("examples", two, signature="scores") == [[("", 2.0), ("", -2.0)], [("", 4.0), ("", -4.0)]]


def test_status(face: Face) -> None:
    expected = [(123, "AVAILABLE", "")]
    assert face.status("linear") == face.status("linear", version=123) == face.status("linear", label="no") == expected


ONE = [{"x": 1.0}]


@pytest.mark.parametrize(
    ("ask", "code", "text"),
    [
        (lambda face: face.predict("foo", {"x": ROW}), MISSING, "Servable not found for request: Latest(foo)"),
        (lambda face: face.predict("linear", {"x": ROW}, version=99), MISSING,
         "Servable not found for request: Specific(linear, 99)"),
        (lambda face: face.predict("linear", {"x": ROW}, label="L"), INVALID,
         "Unrecognized servable version label: L"),
        (lambda face: face.predict("linear", {"x": np.ones((1, 4), np.float32)}), INVALID, "Matrix size-incompatible"),
        (lambda face: face.metadata("foo"), MISSING, "Servable not found for request: Latest(foo)"),
        (lambda face: face.metadata("linear", version=99), MISSING,
         "Servable not found for request: Specific(linear, 99)"),
        (lambda face: face.status("foo"), MISSING, "Could not find any versions of model foo"),
        (lambda face: face.status("linear", version=99), MISSING, "Could not find version 99 of model linear"),
        (lambda face: face.classify("foo", ONE), MISSING, "Servable not found for request: Latest(foo)"),
        (lambda face: face.regress("foo", ONE), MISSING, "Servable not found for request: Latest(foo)"),
        (lambda face: face.classify("examples", ONE, signature="no"), INVALID,
         "No signature was found with the name: no"),
        (lambda face: face.regress("examples", ONE, signature="no"), INVALID,
         "No signature was found with the name: no"),
        (lambda face: face.regress("examples", ONE, signature="wide"), INVALID,
         "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]"),
        (lambda face: face.classify("examples", ONE, signature="ranked"), INVALID,
         "Expected Tensor shape: [batch_size num_classes] but got [1]"),
        (lambda face: face.regress("linear", ONE), INVALID, "No regression inputs found in SignatureDef: inputs {"),
    ],
    ids=range(15),
)  # fmt: skip
def test_refusals(face: Face, ask: Callable[[Face], object], code: Code, text: str) -> None:
    with pytest.raises(Refused) as caught:
        ask(face)
    assert caught.value.status == face.code(code) and caught.value.text.startswith(text)
