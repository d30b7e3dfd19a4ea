"""Ask for a TensorFlow Lite file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from tfopt.errors import InvalidRecipe
from tfopt.passes.base import target_step

Precision: TypeAlias = Literal["float32", "float16", "dynamic", "int8", "int16"]
InferenceType: TypeAlias = Literal["float32", "int8", "uint8", "int16"]

#: What inputs and outputs of float32 may become, by the precision.
INTEGERS: Final[Mapping[str, tuple[str, ...]]] = {"int8": ("int8", "uint8"), "int16": ("int16",)}


@target_step
def tflite(
    *,
    precision: Precision = "int8",
    inference_input_type: InferenceType = "float32",
    inference_output_type: InferenceType = "float32",
    sparse: bool = False,
) -> None:
    """Write the model as it stands here as a TensorFlow Lite file too.

    `int8` quantizes weights and activations to eight bits, as a `quantize` step before it has decided, or else with
    ranges that TensorFlow's converter takes from the samples; `int16` gives activations sixteen bits and weights eight,
    always with ranges that the converter takes, for accelerators that compute so; `dynamic` quantizes the weights
    alone, and activations as they come, which needs no samples; `float16` halves the weights; `float32` keeps the
    numbers as they are. `sparse` leaves the zeros of pruned weights out of the file, for a smaller one; LiteRT puts
    them back when it loads the file, so that it is no faster.

    `inference_input_type` and `inference_output_type` say what inputs and outputs of float32 become: with `int8` also
    int8 or uint8, with `int16` int16, for devices that have no floating point. Whoever calls the file then gives and
    gets whole numbers, which stand for `scale * (number - zero_point)`; scale and zero point are in the file. Raises
    InvalidRecipe for an integer that does not go with the precision.
    """
    for option, chosen in (
        ("inference_input_type", inference_input_type),
        ("inference_output_type", inference_output_type),
    ):
        fitting = ("float32", *INTEGERS.get(precision, ()))
        if chosen not in fitting:
            what = f"{option} is {chosen}, which does not go with the precision {precision}"
            raise InvalidRecipe(what, hint=f"it can be {' or '.join(fitting)}")
