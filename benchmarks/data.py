"""Fashion-MNIST as Debian ships it: gzipped IDX files of 28x28 grey images in ten classes (Zalando SE, MIT)."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidSamples, NotFound

FASHION_MNIST: Final = Path("/usr/share/datasets/fashion-mnist")

Split = Literal["train", "test"]
_PREFIX: Final[dict[Split, str]] = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE: Final = 0x08


def fashion_mnist(split: Split, folder: Path = FASHION_MNIST) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 [n, 28, 28] and labels int64 [n] of one split: 60,000 for "train", 10,000 for "test".

    Raises NotFound when the files are not installed, InvalidSamples when one is broken.
    """
    prefix = _PREFIX[split]
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise InvalidSamples(f"{len(images)} images but {len(labels)} labels", where=str(folder))
    return images, labels.astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The uint8 array in one gzipped IDX file: a magic number that names type and rank, the sizes, then the bytes."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(
            "Fashion-MNIST is not installed",
            where=str(path),
            hint="apt-get install dataset-fashion-mnist (Debian, Ubuntu), or put the four IDX files there",
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidSamples("not a whole gzip file", where=str(path)) from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise InvalidSamples("not an IDX file of unsigned bytes", where=str(path))
    rank = content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise InvalidSamples("the IDX file is cut off", where=str(path))
    shape = struct.unpack_from(f">{rank}I", content, 4)
    if len(content) - start != int(np.prod(shape)):
        raise InvalidSamples(f"an IDX file of shape {shape} holds {len(content) - start} bytes", where=str(path))
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
