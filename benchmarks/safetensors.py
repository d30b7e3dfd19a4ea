"""Read a .safetensors file with numpy alone: a length, a JSON header with dtypes, shapes and places, then the bytes.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel

_DTYPES: Final = {"F32": "<f4", "I64": "<i8"}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors by name, float32 or int64. Raises InvalidModel when the file is broken or holds another dtype."""
    content = path.read_bytes()
    try:
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        return {name: _tensor(content[8 + length :], entry) for name, entry in header.items()}
    except (struct.error, ValueError, KeyError) as error:
        raise InvalidModel("not a whole .safetensors file of float32 and int64", where=str(path)) from error


def _tensor(values: bytes, entry: dict[str, Any]) -> NDArray[Any]:
    start, end = entry["data_offsets"]
    return np.frombuffer(values[start:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
