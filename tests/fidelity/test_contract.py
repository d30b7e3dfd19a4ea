"""The contract: what has to stay as it was, each difference named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fidelity.arrays import f32
from tfopt.errors import FidelityError
from tfopt.fidelity import check_contract
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.runtimes.base import SignatureInfo, TensorInfo

CLASSIFY = "tensorflow/serving/classify"


def info(dtype: DType = DType.FLOAT32, *dims: int | None) -> TensorInfo:
    return TensorInfo("x:0", TensorType(dtype, Shape.of(*dims)))


BASE = SignatureInfo({"x": info(DType.FLOAT32, None, 4)}, {"y": info(DType.FLOAT32, None, 2)})


def difference(after: dict[str, SignatureInfo], kind: str = "saved_model") -> str:
    with pytest.raises(FidelityError) as caught:
        check_contract({"serve": BASE}, after, kind=kind, where="out")  # type: ignore[arg-type]  # a test's own words
    return str(caught.value)


def test_the_same_interface_passes_and_tensor_names_may_change() -> None:
    renamed = replace(BASE, inputs={"x": TensorInfo("other:0", BASE.inputs["x"].type)})
    check_contract({"serve": BASE}, {"serve": renamed})
    check_contract({"serve": BASE}, {"serve": renamed}, kind="tflite")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({}, "signature 'serve' is missing"),
        ({"serve": BASE, "more": BASE}, "signature 'more' is new"),
        ({"serve": replace(BASE, inputs={})}, "serve: input 'x' is missing"),
        ({"serve": replace(BASE, outputs={**BASE.outputs, "z": info()})}, "serve: output 'z' is new"),
        (
            {"serve": replace(BASE, inputs={"x": info(DType.INT8, None, 4)})},
            "input 'x' is int8[?,4], was float32[?,4]",
        ),
        ({"serve": replace(BASE, outputs={"y": info(DType.FLOAT32, 1, 2)})}, "output 'y' is float32[1,2]"),
        ({"serve": replace(BASE, method_name=CLASSIFY)}, "method 'tensorflow/serving/classify'"),
        ({"serve": replace(BASE, defaults={"x": Tensor(f32(1))})}, "serve: default of 'x' is new"),
    ],
)
def test_every_difference_of_a_saved_model_is_named(after: dict[str, SignatureInfo], words: str) -> None:
    message = difference(after)
    assert message.startswith("out: ")
    assert words in message


def test_a_changed_default_is_named() -> None:
    one, two = (replace(BASE, defaults={"x": Tensor(f32(value))}) for value in (1, 2))
    check_contract({"serve": one}, {"serve": replace(one)})
    with pytest.raises(FidelityError, match="default of 'x' changed"):
        check_contract({"serve": one}, {"serve": two})


def test_many_differences_are_counted() -> None:
    after = {"serve": replace(BASE, outputs={f"z{i}": info() for i in range(8)})}
    assert "and 4 more" in difference(after)


def test_a_tflite_may_know_less_of_methods_and_more_of_outputs() -> None:
    light = replace(BASE, method_name="", outputs={"y": info(DType.FLOAT32, 1, 2)})
    check_contract({"serve": BASE, "other": BASE}, {"serve": light}, kind="tflite")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({}, "it has no signature"),
        ({"other": BASE}, "signature 'other' is new"),
        (
            {"serve": replace(BASE, inputs={"x": info(DType.FLOAT32, 1, 4)})},
            "input 'x' is float32[1,4], was float32[?,4]",
        ),
        ({"serve": replace(BASE, outputs={"y": info(DType.INT8, None, 2)})}, "output 'y' is int8[?,2]"),
        ({"serve": replace(BASE, outputs={"y": info(DType.FLOAT32, None, 3)})}, "output 'y' is float32[?,3]"),
    ],
)
def test_what_a_tflite_must_keep(after: dict[str, SignatureInfo], words: str) -> None:
    assert words in difference(after, "tflite")


def test_a_fixed_input_may_become_free() -> None:
    fixed = replace(BASE, inputs={"x": info(DType.FLOAT32, 1, 4)})
    check_contract({"serve": fixed}, {"serve": BASE}, kind="tflite")
