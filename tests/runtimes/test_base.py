from __future__ import annotations

import json

import numpy as np
import pytest

from tfopt.errors import ExecutionError, NotFound
from tfopt.ir import DType, Shape, Tensor, TensorType
from tfopt.runtimes.base import SignatureInfo, TensorInfo, arguments, find_signature

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
