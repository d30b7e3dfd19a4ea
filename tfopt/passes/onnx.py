"""Ask for an ONNX file."""

from __future__ import annotations

from tfopt.errors import InvalidRecipe
from tfopt.passes.base import target_step

#: Every runtime reads older ones; 17, of 2022, is the oldest with all that the lowering writes.
OLDEST, NEWEST = 17, 22


@target_step
def onnx(*, opset: int = OLDEST) -> None:
    """Write the model as it stands here as an ONNX file too.

    `opset`, 17 to 22, is the version of ONNX's operators that the file is written in. Runtimes read all versions up to
    the newest that they know, so 17 runs nearly everywhere. Raises InvalidRecipe for another one.
    """
    if not OLDEST <= opset <= NEWEST:
        raise InvalidRecipe(f"opset is {opset}", hint=f"give one from {OLDEST} to {NEWEST}")
