"""Say how the SavedModel is written."""

from __future__ import annotations

from tfopt.passes.base import target_step


@target_step
def saved_model(*, faster_only: bool = True) -> None:
    """Say how the SavedModel is written, which it always is, of the model as it stands at the end.

    Layers that `quantize` chose compute on 8-bit integers where that is faster for one example: small ones take less
    time in float than the way to integers takes. With `faster_only: false` all that can do.
    """
