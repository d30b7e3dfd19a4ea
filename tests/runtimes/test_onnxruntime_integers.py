from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tfopt.measure.machine import describe_machine
from tfopt.runtimes.onnxruntime_integers import PRODUCT, saturates


def test_what_is_tried_out_is_one_product_of_bytes() -> None:
    graph = onnx.load_from_string(PRODUCT).graph
    onnx.checker.check_model(PRODUCT, full_check=True)
    assert [node.op_type for node in graph.node] == ["MatMulInteger"]
    weights = numpy_helper.to_array(graph.initializer[0])
    assert weights.dtype == np.int8
    assert weights.tolist() == [[127]] * 64


def test_processors_with_vnni_add_up_in_32_bits() -> None:
    if not {"avx512_vnni", "avx_vnni"} & set(describe_machine().flags):
        pytest.skip("this processor has no VNNI")
    assert not saturates()
