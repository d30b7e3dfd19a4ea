"""Bytes on disk of one artifact, plain and compressed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfopt.errors import InvalidModel
from tfopt.store.onnx_files import onnx_files

#: What TensorFlow reads of a SavedModel. Warmup records, manifests and other artifacts beside it are not the model.
SAVED_MODEL_PARTS: Final = ("saved_model.pb", "saved_model.pbtxt", "variables", "assets")
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
    """The files that make up the artifact, in a fixed order. A .onnx file may have others beside it (`onnx_files`).

    Raises InvalidModel for a damaged .onnx file.
    """
    if path.suffix == ".onnx" and path.is_file():
        return onnx_files(path)
    if path.is_file():
        return [path]
    parts = [path / name for name in SAVED_MODEL_PARTS]
    return sorted(file for part in parts for file in [part, *part.rglob("*")] if file.is_file())
