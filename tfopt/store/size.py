"""Bytes on disk of one artifact, plain and compressed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfopt.errors import InvalidModel

#: What TensorFlow reads of a SavedModel. Warmup records, manifests and other artifacts beside it are not the model.
SAVED_MODEL_PARTS: Final = ("saved_model.pb", "saved_model.pbtxt", "variables", "assets")
ONNX: Final = "model.onnx"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Size:
    """`gzip_bytes` is all files after each other through gzip: what travels, and whether zeros or repeats are left."""

    bytes: int
    gzip_bytes: int


def measure_size(path: Path) -> Size:
    """Of a SavedModel directory (SAVED_MODEL_PARTS) or of one file. Raises InvalidModel when it cannot be read."""
    compressor = zlib.compressobj(wbits=31)  # 31: with gzip's header and trailer
    plain = compressed = 0
    try:
        for file in model_files(path):
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    plain += len(chunk)
                    compressed += len(compressor.compress(chunk))
    except OSError as error:
        raise InvalidModel(f"cannot be read ({error.strerror})", where=str(path)) from error
    return Size(plain, compressed + len(compressor.flush()))


def model_files(path: Path) -> list[Path]:
    """The files that make up the artifact, in a fixed order. A model.onnx may have others beside it: a file for each
    further signature, and weights that they share."""
    if path.is_file():
        return [path, *(_beside_onnx(path.parent) if path.name == ONNX else ())]
    parts = [path / name for name in SAVED_MODEL_PARTS]
    return sorted(file for part in parts for file in [part, *part.rglob("*")] if file.is_file())


def _beside_onnx(directory: Path) -> list[Path]:
    others = (path for path in directory.glob("model.*.onnx") if path.name != ONNX)
    return sorted([*others, *directory.glob(f"{ONNX}.data")])
