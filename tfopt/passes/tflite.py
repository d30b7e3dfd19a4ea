"""Ask for a TensorFlow Lite file."""

from __future__ import annotations

from typing import Literal

from tfopt.passes.base import target_step


@target_step
def tflite(
    *, precision: Literal["float32", "float16", "dynamic", "int8", "int16"] = "int8", sparse: bool = False
) -> None:
    """Write the model as it stands here as a TensorFlow Lite file too.

    `int8` quantizes weights and activations to eight bits, as a `quantize` step before it has decided, or else with
    ranges that TensorFlow's converter takes from the samples; `int16` gives activations sixteen bits and weights eight,
    always with ranges that the converter takes, for accelerators that compute so; `dynamic` quantizes the weights
    alone, and activations as they come, which needs no samples; `float16` halves the weights; `float32` keeps the
    numbers as they are. `sparse` leaves the zeros of pruned weights out of the file, for a smaller one; LiteRT puts
    them back when it loads the file, so that it is no faster.
    """
