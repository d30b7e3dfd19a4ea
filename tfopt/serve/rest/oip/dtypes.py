"""Element types under the Open Inference Protocol's names."""

from __future__ import annotations

from tfopt.errors import Code, RequestError
from tfopt.ir import DType

NAMES = {
    DType.BOOL: "BOOL", DType.UINT8: "UINT8", DType.UINT16: "UINT16", DType.UINT32: "UINT32", DType.UINT64: "UINT64",
    DType.INT8: "INT8", DType.INT16: "INT16", DType.INT32: "INT32", DType.INT64: "INT64", DType.FLOAT16: "FP16",
    DType.BFLOAT16: "BF16", DType.FLOAT32: "FP32", DType.FLOAT64: "FP64", DType.STRING: "BYTES",
}  # fmt: skip
#: Those that JSON has no numbers for: they travel as binary data.
BINARY_ONLY = frozenset({DType.FLOAT16, DType.BFLOAT16})


def name_of(dtype: DType) -> str:
    """For metadata: a dtype that the protocol lacks goes by our name in capitals."""
    return NAMES.get(dtype, dtype.value.upper())


def check_carried(what: str, dtype: DType) -> None:
    """Raises RequestError for a dtype that the protocol lacks."""
    if dtype not in NAMES:
        hint = "use gRPC, or .npy bodies of /v1/models"
        raise RequestError(f"{what} is {dtype}, which this protocol lacks", code=Code.UNIMPLEMENTED, hint=hint)
