"""NumPy's files as bodies: .npy is one array, .npz several by name. No pickles, and nothing is believed unread.

The header is read by a grammar of its own, not evaluated: it is a Python literal, and Python's parser can be made to
give up in many ways. Source: numpy/lib/format.py (versions 1.0 and 2.0).
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from tfopt.errors import Code, RequestError
from tfopt.serve.rest.dense import MAX_RANK

_MAGIC = b"\x93NUMPY"
#: Bytes of a header; one of numpy's has about 120.
_LONGEST_HEADER = 10_000
_DESCR = re.compile(rb"'descr' *: *'([<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16|V2|[SU][1-9][0-9]{0,8}))'")
_ORDER = re.compile(rb"'fortran_order' *: *(True|False)")
_SHAPE = re.compile(rb"'shape' *: *\(((?: *[0-9]{1,18}L? *,)*(?: *[0-9]{1,18}L? *)?)\)")
#: Arrays in one .npz file.
_MOST_MEMBERS = 1000


def read_npy(body: bytes, what: str = "the body") -> NDArray[Any]:
    """The array, read-only. Raises RequestError for what is no .npy file, or one of Python objects or of records."""
    if body[:6] != _MAGIC or body[6:7] not in (b"\1", b"\2"):
        raise RequestError(f"{what} is no .npy file of version 1 or 2")
    start = 10 if body[6:7] == b"\1" else 12
    end = start + int.from_bytes(body[8:start], "little")
    if end - start > _LONGEST_HEADER or end > len(body):
        raise RequestError(f"{what} is a .npy file whose header does not end")
    dtype, fortran, shape = _header(body[start:end], what)
    count = prod(shape)
    if len(shape) > MAX_RANK or len(body) - end != count * dtype.itemsize:
        told = (
            f"{len(body) - end} bytes of data where its shape {list(shape)} of {dtype} takes {count * dtype.itemsize}"
        )
        raise RequestError(f"{what} is a .npy file with {told}")
    flat = np.frombuffer(body, dtype, count, end) if count else np.empty(0, dtype)
    try:
        return flat.reshape(shape, order="F" if fortran else "C")
    except ValueError as error:  # an empty array of sizes that numpy cannot count
        raise RequestError(f"{what} is a .npy file of an impossible shape: {error}") from error


def _header(header: bytes, what: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    found = [pattern.search(header) for pattern in (_DESCR, _ORDER, _SHAPE)]
    descr, order, shape = found
    if descr is None:
        raise RequestError(f"{what} is a .npy file of a dtype that no tensor has; numbers, 'S' and 'U' are taken")
    if order is None or shape is None:
        raise RequestError(f"{what} is a .npy file whose header has no shape")
    sizes = tuple(int(size.strip(b" L")) for size in shape[1].split(b",") if size.strip())
    return np.dtype(descr[1].decode()), order[1] == b"True", sizes


def read_npz(body: bytes, limit: int) -> dict[str, NDArray[Any]]:
    """The arrays by name. `limit`: bytes that they may unpack to. Raises RequestError."""
    try:
        with zipfile.ZipFile(BytesIO(body)) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS or sum(member.file_size for member in members) > limit:
                what = f"the .npz file unpacks to more than {limit} bytes or {_MOST_MEMBERS} arrays"
                raise RequestError(what, code=Code.RESOURCE_EXHAUSTED)
            return {_array_name(member): _member(archive, member) for member in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise RequestError(f"the body is no .npz file: {error}") from error


def _array_name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RequestError(f"{member.filename} in the .npz file is compressed as numpy does not")
    with archive.open(member) as file:
        # No more than announced, whatever the data unpacks to.
        return read_npy(file.read(member.file_size), f"{member.filename} in the .npz file")


def write_npy(name: str, array: NDArray[Any], limit: int) -> bytes:
    """`limit`: bytes that strings may take, which are all as long as the longest. Raises RequestError."""
    file = BytesIO()
    npy_format.write_array(file, _storable(name, array, limit), allow_pickle=False)
    return file.getvalue()


def write_npz(arrays: Mapping[str, NDArray[Any]], limit: int) -> bytes:
    """As `write_npy`, not compressed."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", write_npy(name, array, limit))
    return file.getvalue()


def _storable(name: str, array: NDArray[Any], limit: int) -> NDArray[Any]:
    if array.dtype != object:
        return array
    values = [value.encode() if isinstance(value, str) else value for value in array.ravel()]
    longest = max(map(len, values), default=0)
    if any(value.endswith(b"\0") for value in values):
        raise RequestError(f"the output {name} has strings that end in a zero byte, which .npy loses; ask for JSON")
    if longest * len(values) > limit:
        what = f"the output {name} has strings of up to {longest} bytes, and .npy would make all as long; ask for JSON"
        raise RequestError(what, code=Code.RESOURCE_EXHAUSTED)
    return np.array(values, f"S{longest or 1}").reshape(array.shape)
