"""Can ONNX Runtime's kernels for 8-bit integers be trusted here?

A processor without VNNI adds two products of an unsigned and a signed byte in 16 bits, where large ones end: answers
are then wrong by some percent, without a word. So it is tried out.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import Final

import numpy as np
import onnxruntime

_INNER: Final = 64
#: A .onnx file: y = MatMulInteger(x, w) for x uint8[1,64] and w int8[64,1], all of it 127.
PRODUCT: Final = base64.b64decode(
    "CAg6lAEKGAoBeAoBdxIBeSINTWF0TXVsSW50ZWdlchIBZypLCEAIARADQgF3SkB/f39/f39/f39/f39/f39/f39/f39/f39/f39/"
    "f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/WhMKAXgSDgoMCAISCAoCCAEKAghAYhMKAXkSDgoMCAYSCAoCCAEK"
    "AggBQgQKABAR"
)


@cache
def saturates() -> bool:
    """Do 64 products of 255 and 127 add up to less here?"""
    session = onnxruntime.InferenceSession(PRODUCT, providers=["CPUExecutionProvider"])
    total = session.run(None, {"x": np.full((1, _INNER), 255, np.uint8)})[0]
    return int(total.item()) != 255 * 127 * _INNER
