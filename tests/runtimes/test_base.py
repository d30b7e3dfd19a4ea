from __future__ import annotations

import json

import numpy as np
import pytest

from tfopt.errors import ExecutionError, NotFound
from tfopt.ir import DType, Shape, Tensor, TensorType
from tfopt.runtimes.base import SignatureInfo, TensorInfo, arguments, check_shapes, explained, find_signature

INFO = SignatureInfo(
    {
        "image": TensorInfo("image:0", TensorType(DType.FLOAT32, Shape.of(None, 28, 28))),
        "words": TensorInfo("w:0", TensorType(DType.STRING, Shape(None))),
        "scale": TensorInfo("scale:0", TensorType(DType.FLOAT32, Shape.of())),
    },
    {"y": TensorInfo("y:1", TensorType(DType.BFLOAT16, Shape.of(2)))},
    "tensorflow/serving/classify",
    {
        "scale": Tensor(np.array(0.1, np.float32)),
        "words": Tensor(np.array([[b"\x00\xff", "é".encode()]], object)),
    },
)


def test_a_signature_goes_through_json_and_back() -> None:
    again = SignatureInfo.from_dict(json.loads(json.dumps(INFO.as_dict())))
    assert (again.inputs, again.outputs, again.method_name) == (INFO.inputs, INFO.outputs, INFO.method_name)
    assert again.defaults.keys() == INFO.defaults.keys()
    for name, expected in INFO.defaults.items():
        found = again.defaults[name]
        assert found.type == expected.type
        np.testing.assert_array_equal(found.array, expected.array)


def test_inputs_of_another_shape_are_told_with_what_is_taken() -> None:
    good = arguments(INFO, {"image": np.zeros((4, 28, 28))})
    check_shapes(INFO, good)
    wrong = {**good, "image": np.zeros((28, 28)), "scale": np.zeros(3, np.float32)}
    with pytest.raises(ExecutionError) as caught:
        check_shapes(INFO, wrong)
    first, second = str(caught.value).split("; ")
    assert first == "the input image is float64[28,28], the model takes float32[?,28,28]"
    assert second == "the input scale is float32[3], the model takes float32[]"


def test_a_failure_is_explained_by_inputs_that_do_not_fit_else_in_the_engine_s_words() -> None:
    good = arguments(INFO, {"image": np.zeros((4, 28, 28), np.float32)})
    assert explained(INFO, good, "kernel:\n  index 9 is out of range") == "kernel: index 9 is out of range"
    said = explained(INFO, {**good, "image": np.zeros((4, 28, 28))}, "mkl_matmul_op.cc")
    assert said == "the input image is float64[4,28,28], the model takes float32[?,28,28]"


def test_defaults_are_filled_in_and_the_signatures_order_kept() -> None:
    image = np.zeros((1, 28, 28), np.float32)
    filled = arguments(INFO, {"scale": np.float32(2), "image": image})
    assert list(filled) == ["image", "words", "scale"]
    assert filled["image"] is image
    assert filled["scale"] == 2
    assert filled["words"] is INFO.defaults["words"].array


def test_names_that_do_not_fit_are_listed() -> None:
    with pytest.raises(ExecutionError, match=r"unknown: a, b; missing: image\); it takes: image, words, scale"):
        arguments(INFO, {"b": np.array(1), "a": np.array(1)})


def test_an_unknown_signature_is_answered_with_the_known_ones() -> None:
    assert find_signature({"serve": INFO}, "serve") is INFO
    with pytest.raises(NotFound, match='"x"; the model has: serve, train'):
        find_signature({"train": INFO, "serve": INFO}, "x")
    with pytest.raises(NotFound, match="the model has: none"):
        find_signature({}, "x")
