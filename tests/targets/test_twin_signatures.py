"""Which signatures are one program; nothing here needs TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tfopt.ir import Model, Signature, SignatureInput, SignatureOutput, Tensor
from tfopt.ir.text import parse
from tfopt.targets.twin_signatures import twins

TEXT = """
graph {
  %a = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]
  %b = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]
  %w = Const() {dtype: float32, value: float32[4,300] random(1)} -> float32[4,300]
  %axis = Const() {dtype: int32, value: int32[1] 1} -> int32[1]
  %also = Const() {dtype: int32, value: int32[1] 1} -> int32[1]
  %y_a = MatMul(%a, %w) {T: float32, transpose_a: false} -> float32[?,300]
  %y_b = MatMul(%b, %w) {T: float32, transpose_a: false} -> float32[?,300]
  %sum_a = Sum(%y_a, %axis) {T: float32, Tidx: int32, keep_dims: false} -> float32[?]
  %sum_b = Sum(%y_b, %also) {T: float32, Tidx: int32, keep_dims: false} -> float32[?]
  inputs %a, %b
  outputs %sum_a, %sum_b
}
"""


def model(text: str = TEXT) -> Model:
    graph = parse(text.replace("value: int32[1] 1", "value: int32[1] [1]"))

    def signature(name: str, position: int) -> Signature:
        kind = graph.type_of(graph.outputs[position])
        return Signature({"x": SignatureInput(name, graph[name].outputs[0])}, {"y": SignatureOutput(position, kind)})

    return Model(graph, {"serve": signature("a", 0), "serving_default": signature("b", 1)})


def test_equal_programs_over_one_weight_are_twins_and_serving_default_is_kept() -> None:
    assert twins(model()) == {"serve": "serving_default"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%also = Const() {dtype: int32, value: int32[1] 1}", "%also = Const() {dtype: int32, value: int32[1] [0]}"),
        ("MatMul(%b, %w) {T: float32, transpose_a: false}", "MatMul(%b, %w) {T: float32, transpose_a: true}"),
        ("%b = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]",
         "%b = Placeholder() {dtype: float32, shape: [1,4]} -> float32[1,4]"),
        ("%y_b = MatMul(%b,", "%y_b = MatMul(%a,"),
        ("outputs %sum_a, %sum_b", "outputs %sum_a, %y_b"),
    ],
    ids=["constant", "attribute", "shape", "what it reads", "what it fetches"],
)  # fmt: skip
def test_any_difference_makes_them_two(old: str, new: str) -> None:
    assert old in TEXT
    assert twins(model(TEXT.replace(old, new))) == {}


def test_large_weights_are_equal_only_when_they_are_one() -> None:
    second = TEXT.replace(
        "%axis =", "%v = Const() {dtype: float32, value: float32[4,300] random(1)} -> float32[4,300]\n  %axis ="
    )
    assert twins(model(second.replace("MatMul(%b, %w)", "MatMul(%b, %v)"))) == {}


def test_names_method_and_defaults_count() -> None:
    found = model()
    serve = found.signatures["serve"]
    for changed in (
        replace(serve, inputs={"image": serve.inputs["x"]}),
        replace(serve, outputs={"z": serve.outputs["y"]}),
        replace(serve, method_name="tensorflow/serving/classify"),
        replace(serve, defaults={"x": Tensor(np.zeros((1, 4), np.float32))}),
    ):
        assert twins(replace(found, signatures={**found.signatures, "serve": changed})) == {}


def test_one_program_under_three_keys() -> None:
    found = model()
    signatures = {
        "b": found.signatures["serve"],
        "a": found.signatures["serving_default"],
        "c": found.signatures["serve"],
    }
    assert twins(replace(found, signatures=signatures)) == {"b": "a", "c": "a"}
