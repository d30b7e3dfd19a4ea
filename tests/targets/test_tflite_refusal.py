"""One line out of what the converter writes. The texts are its own, of TensorFlow 2.21, shortened at the end."""

from __future__ import annotations

import pytest

from tests.targets.ir_models import model_of
from tfopt.ir.text import parse
from tfopt.targets.tflite_refusal import refusal

TWO_KINDS = """Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(fused["Svd:", "svd@__inference_f_1"]): \
'tf.Svd' op is neither a custom op nor a flex op
<unknown>:0: error: failed while converting: 'main':
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select.
TF Select ops: RegexReplace, AsString
Some ops in the model are custom ops, See instructions
Custom ops: Svd
"""


def test_ops_that_tflite_lacks_are_listed_with_the_nodes_that_are_known() -> None:
    assert refusal(TWO_KINDS) == "TFLite has no AsString, RegexReplace, Svd (node svd)"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_dtype_that_tflite_does_not_compute_in_is_told(dtype: str) -> None:
    graph = f"""
    graph {{
      %x = Placeholder() {{dtype: {dtype}, shape: [?,4]}} -> {dtype}[?,4]
      %y = Relu(%x) {{T: {dtype}}} -> {dtype}[?,4]
      inputs %x
      outputs %y
    }}
    """
    said = "failed while converting: 'main':\nTF Select ops: Relu\n"
    narrow, usual = (
        model_of(parse(text), {"serving_default": ({"x": "x"}, {"y": 0})})
        for text in (graph, graph.replace(dtype, "float32"))
    )
    assert refusal(said, "", narrow) == f"TFLite has no Relu (node y) of {dtype}; export the model in float32"
    assert refusal(said, "", usual) == "TFLite has no Relu (node y)"


def test_another_error_is_quoted_with_its_node() -> None:
    message = """<unknown>:0: error: loc(fused["StridedSlice:", "model/slice"]): 'tfl.strided_slice' op new axis mask \
is not supported
<unknown>:0: note: see current operation: pages
"""
    assert refusal(message) == (
        "'tfl.strided_slice' op new axis mask is not supported (StridedSlice, node model/slice)"
    )


def test_the_talk_is_read_where_the_exception_says_nothing() -> None:
    assert refusal("", "I0000 reader.cc\n<unknown>:0: error: mismatched axes\n") == "mismatched axes"


def test_what_is_left_is_the_first_line_or_that_there_is_none() -> None:
    assert refusal("Input 0 of node x is wrong\nTraceback") == "Input 0 of node x is wrong"
    assert refusal("x" * 1000).endswith("...")
    assert refusal("  \n ") == "it does not say why"
