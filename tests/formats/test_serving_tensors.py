"""Tensor messages, held against TensorFlow's own reader and writer (tensor.cc, which its servers use)."""

from __future__ import annotations

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tfopt.formats.serving.tensorflow_messages import DATA_TYPE_NUMBERS, RawTensor
from tfopt.formats.serving.tensors import read_tensor, write_tensor
from tfopt.formats.serving.varints import packed, unpacked
from tfopt.ir.types import DType, dtype_of

NUMBERS = {
    "float16": [0.5, -2, np.inf], "bfloat16": [0.5, -2, np.nan], "float32": [0.1, -3e38, np.nan],
    "float64": [0.1, -1e300, np.inf], "int8": [-128, 0, 127], "int16": [-(2**15), 1, 2**15 - 1],
    "int32": [-(2**31), 300, 2**31 - 1], "int64": [-(2**63), 128, 2**63 - 1], "uint8": [0, 127, 255],
    "uint16": [0, 128, 2**16 - 1], "uint32": [0, 2**21, 2**32 - 1], "uint64": [0, 2**63, 2**64 - 1],
    "bool": [True, False, True], "complex64": [1 + 2j, -0.5j, 3], "complex128": [1e200 + 2j, -0.5j, 3],
    "float8_e5m2": [0.5, -2, 4], "float8_e4m3fn": [0.5, -2, 4], "int4": [-8, 0, 7], "uint4": [0, 8, 15],
}  # fmt: skip
ARRAYS = {
    **{
        name: np.array([values, values[::-1]], getattr(ml_dtypes, name, None) or name)
        for name, values in NUMBERS.items()
    },
    "scalar": np.array(2.5, np.float32),
    "empty": np.empty((0, 3), np.int64),
    "strings": np.array([[b"", b"a\xff\0"], [b"x" * 300, "é".encode()]], object),
    "empty string": np.array(b"", object),
    "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
    "turned half": np.arange(6, dtype=np.float16).reshape(2, 3).T,
    "big end first": np.array([1, 2, 300], ">i4"),
}


def read(serialized: bytes) -> NDArray[Any]:
    return read_tensor(RawTensor.FromString(serialized))


def tensorflow_reads(serialized: bytes) -> NDArray[Any]:
    proto = TensorProto.FromString(serialized)
    made = tf.io.parse_tensor(serialized, proto.dtype).numpy()
    return np.array(made, object) if isinstance(made, bytes) else np.asarray(made)


def same(left: NDArray[Any], right: NDArray[Any]) -> None:
    assert (left.shape, left.dtype) == (right.shape, right.dtype)
    # NaN has no equal, and what is left of a byte beside four bits is nobody's.
    assert left.tolist() == right.tolist() or left.tobytes() == right.tobytes()


def written(array: NDArray[Any], *, as_content: bool) -> bytes:
    message = RawTensor()
    write_tensor(message, array, dtype_of(array), as_content=as_content)
    serialized: bytes = message.SerializeToString()
    return serialized


@pytest.mark.parametrize("as_content", [False, True], ids=["listed", "content"])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_what_we_write_tensorflow_and_we_read(array: NDArray[Any], as_content: bool) -> None:
    serialized = written(array, as_content=as_content)
    native = array.astype(array.dtype.newbyteorder("="))
    same(read(serialized), native)
    same(tensorflow_reads(serialized), native)
    proto = TensorProto.FromString(serialized)
    assert bool(proto.tensor_content) is (as_content and array.size > 0)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_what_tensorflow_writes_we_read(array: NDArray[Any]) -> None:
    native = array.astype(array.dtype.newbyteorder("="))
    if native.dtype.name not in ("int4", "uint4"):  # which it cannot make a message of
        same(read(tf.make_tensor_proto(native).SerializeToString()), native)
    if native.dtype.name not in ("int4", "uint4", "float8_e5m2", "float8_e4m3fn"):  # for which it has no kernel
        same(read(tf.io.serialize_tensor(tf.constant(native)).numpy()), native)


def message(dtype: DType, dims: list[int], **fields: Any) -> bytes:
    proto = TensorProto(dtype=DATA_TYPE_NUMBERS[dtype], **fields)
    proto.tensor_shape.SetInParent()
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    return proto.SerializeToString()


@pytest.mark.parametrize(
    "serialized",
    [
        message(DType.FLOAT32, [2, 2], float_val=[1, 2]),
        message(DType.FLOAT32, [2, 2]),
        message(DType.FLOAT32, [2], float_val=[1, 2, 3]),
        message(DType.FLOAT32, [], float_val=[7]),
        message(DType.FLOAT32, [0], float_val=[7]),
        message(DType.STRING, [3], string_val=[b"a", b"b"]),
        message(DType.STRING, [2]),
        message(DType.COMPLEX64, [3], scomplex_val=[1, 2, 3, 4, 5]),
        message(DType.COMPLEX128, [2], dcomplex_val=[1]),
        message(DType.UINT8, [2], int_val=[300, -1]),
        message(DType.INT8, [2], int_val=[200, -129]),
        message(DType.BOOL, [3], bool_val=[True]),
        message(DType.FLOAT16, [2], half_val=[15360 + 65536]),
        message(DType.FLOAT32, [2], tensor_content=b"\0\0\x80?\0\0\0@", float_val=[5]),
    ],
    ids=str,
)
def test_short_and_long_lists_are_read_as_tensorflow_does(serialized: bytes) -> None:
    same(read(serialized), tensorflow_reads(serialized))


def test_a_list_may_come_in_parts_and_unpacked() -> None:
    head = message(DType.FLOAT32, [3])
    one, two, three = (np.float32(value).tobytes() for value in (1, 2, 3))
    parts = head + b"\x2a\x04" + one + b"\x2a\x08" + two + three
    unpacked_list = head + b"\x2d" + one + b"\x2d" + two + b"\x2d" + three
    varints = message(DType.INT64, [2]) + b"\x50\x07\x50\xac\x02"
    for serialized in (parts, unpacked_list, varints):
        same(read(serialized), tensorflow_reads(serialized))
    assert read(varints).tolist() == [7, 300]


@pytest.mark.parametrize(
    ("serialized", "words"),
    [
        (message(DType.FLOAT32, [-1], float_val=[1]), "without a full shape"),
        (message(DType.FLOAT32, [2], tensor_content=b"1234567"), "7 bytes for 2"),
        (message(DType.FLOAT32, [2**31, 2**31], float_val=[1]), "too large"),
        (message(DType.FLOAT32, [2**62, 2**62, 4], float_val=[1]), "too large"),
        (message(DType.STRING, [2**29], string_val=[b""]), "too large"),
        (message(DType.FLOAT32, [1] * 33, float_val=[1]), "33 dimensions"),
        (message(DType.STRING, [2], tensor_content=b"\x01a"), "0 bytes for strings of 98"),
        (message(DType.STRING, [2], tensor_content=b"\x01\xff"), "no lengths"),
        (message(DType.STRING, [1], tensor_content=b"\xff" * 9 + b"\x01a"), "strings of"),
        (message(DType.INT32, [2]) + b"\x3a\x02\x01\x80", "within a number"),
        (message(DType.INT32, [2]) + b"\x3a\x0b" + b"\x80" * 10 + b"\x01", "of 11 bytes"),
        (message(DType.FLOAT32, [2]) + b"\x2a\x03123", "multiple of element size"),
        (TensorProto(dtype=20).SerializeToString(), "type 20"),
        (TensorProto(dtype=0).SerializeToString(), "type 0"),
        (TensorProto(dtype=99).SerializeToString(), "type 99"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_tensor_is_refused(serialized: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(serialized)


def test_a_giant_shape_is_refused_before_anything_is_allocated() -> None:
    proto = RawTensor.FromString(message(DType.FLOAT32, [2**22], float_val=[1]))
    tracemalloc.start()
    with pytest.raises(ValueError, match="too large"):
        read_tensor(proto, largest=2**24 - 1)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    assert read_tensor(proto, largest=2**24).nbytes == 2**24


def test_a_quantized_type_is_named_where_its_integers_travel() -> None:
    sent = RawTensor()
    write_tensor(sent, np.array([-3, 4], np.int8), DType.QINT8)
    proto = TensorProto.FromString(sent.SerializeToString())
    assert (proto.dtype, list(proto.int_val)) == (tf.qint8.as_datatype_enum, [-3, 4])
    assert read_tensor(sent).tolist() == [-3, 4]


def test_packed_integers_come_back() -> None:
    rng = np.random.default_rng(0)
    for bits in (6, 7, 14, 33, 63):
        numbers = rng.integers(0, 2**bits, 1000, np.uint64)
        assert np.array_equal(unpacked(packed(numbers)), numbers)
    assert unpacked(b"").size == 0 and packed(np.array([], np.int64)) == b""
