"""Warmup records against TensorFlow's own reader, writer and messages."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfopt.errors import InvalidModel, OutputError, UsageError
from tfopt.formats.serving.api import PredictionLog
from tfopt.formats.serving.tensorflow_messages import TensorProto as OurTensor
from tfopt.formats.serving.warmup import WarmupRequest, read_warmup, write_warmup
from tfopt.formats.tfrecord import crc32c, decode_records, encode_records

ARRAYS = [
    np.array([[1.5, -2.0]], np.float32),
    np.array([1e300, 0.0], np.float64),
    np.array([1.5, 65504], np.float16),
    np.array([1.5, -3.0], ml_dtypes.bfloat16),
    np.array([-128, 127], np.int8),
    np.array([0, 255], np.uint8),
    np.array([-32768, 32767], np.int16),
    np.array([0, 65535], np.uint16),
    np.array([-(2**31), 2**31 - 1], np.int32),
    np.array([0, 2**32 - 1], np.uint32),
    np.array([-(2**63), 2**63 - 1], np.int64),
    np.array([0, 2**64 - 1], np.uint64),
    np.array([True, False]),
    np.array([1 + 2j], np.complex64),
    np.array([1 - 2j], np.complex128),
    np.array([b"", "grün".encode()], object),
    np.array(3.0, np.float32),
    np.zeros((0, 3), np.float32),
    np.zeros((2, 0), object),
]
IDS = [f"{a.dtype.name}{list(a.shape)}" for a in ARRAYS]


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes() if a.dtype != object else a.tolist() == b.tolist()


def one_record(tmp_path: Path, tensor: bytes) -> Path:
    """A warmup file that TensorFlow writes, around a TensorProto of TensorFlow's."""
    tensor_proto = OurTensor.FromString(tensor)
    log = PredictionLog()
    log.predict_log.request.model_spec.name = "m"
    log.predict_log.request.inputs["x"].CopyFrom(tensor_proto)
    path = tmp_path / "warmup"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
    return path


@pytest.mark.parametrize("array", ARRAYS, ids=IDS)
def test_tensorflow_reads_what_we_write(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "assets.extra" / "warmup"
    write_warmup(path, [WarmupRequest("half", "sig", {"x": array})])
    (record,) = [item.numpy() for item in tf.data.TFRecordDataset(str(path))]
    message = PredictionLog.FromString(record).predict_log.request
    assert (message.model_spec.name, message.model_spec.signature_name) == ("half", "sig")
    theirs = tf.make_tensor_proto(0.0)
    theirs.ParseFromString(message.inputs["x"].SerializeToString())
    same(np.asarray(tf.make_ndarray(theirs)), array)


@pytest.mark.parametrize("array", ARRAYS, ids=IDS)
def test_we_read_what_tensorflow_writes(tmp_path: Path, array: np.ndarray) -> None:
    path = one_record(tmp_path, tf.make_tensor_proto(array).SerializeToString())
    (request,) = read_warmup(path)
    assert (request.model_name, request.signature) == ("m", "serving_default")
    same(request.inputs["x"], array)


@pytest.mark.parametrize(
    "array", [a for a in ARRAYS if a.size], ids=[i for a, i in zip(ARRAYS, IDS, strict=True) if a.size]
)
def test_we_read_values_that_are_listed_and_cut_short(tmp_path: Path, array: np.ndarray) -> None:
    # A tensor of one value has no tensor_content, and TensorFlow repeats the last value over the shape.
    last = array.reshape(-1)[-1:]
    proto = tf.make_tensor_proto(last, dtype=tf.as_dtype("string") if array.dtype == object else array.dtype)
    assert not proto.tensor_content
    proto.tensor_shape.CopyFrom(tf.TensorShape([3]).as_proto())
    (request,) = read_warmup(one_record(tmp_path, proto.SerializeToString()))
    same(request.inputs["x"], np.asarray(tf.make_ndarray(proto)))
    same(request.inputs["x"], np.repeat(last, 3))


def test_round_trip_is_deterministic(tmp_path: Path) -> None:
    inputs = {f"input_{i}": array for i, array in enumerate(ARRAYS)}
    requests = [WarmupRequest("m", "s", inputs), WarmupRequest("m", "t", dict(reversed(inputs.items())))]
    one, two = tmp_path / "one", tmp_path / "two"
    write_warmup(one, requests)
    write_warmup(two, [WarmupRequest("m", "s", dict(reversed(inputs.items()))), requests[1]])
    assert one.read_bytes() == two.read_bytes()
    back = read_warmup(one)
    assert [request.signature for request in back] == ["s", "t"]
    for name, array in inputs.items():
        same(back[0].inputs[name], array)


def test_requests_of_other_apis_are_left_out(tmp_path: Path) -> None:
    logs = [PredictionLog(), PredictionLog()]
    logs[0].classify_log.SetInParent()
    logs[1].predict_log.request.model_spec.name = "m"
    path = tmp_path / "warmup"
    path.write_bytes(encode_records(log.SerializeToString() for log in logs))
    assert [request.model_name for request in read_warmup(path)] == ["m"]


def records(count: int) -> bytes:
    log = PredictionLog()
    log.predict_log.SetInParent()
    return encode_records([log.SerializeToString()] * count)


def tensor(**fields: Any) -> bytes:
    log = PredictionLog()
    message = log.predict_log.request.inputs["x"]
    for name, value in fields.items():
        if name == "dims":
            for size in value:
                message.tensor_shape.dim.add(size=size)
        elif isinstance(value, Sequence) and not isinstance(value, bytes):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return encode_records([log.SerializeToString()])


TWO = encode_records([b"first", b"second record"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (records(1) + b"xx", "record 2 is damaged: it ends in the record's head"),
        (records(1) + records(1)[:-1], "record 2 is damaged: it should have 2 bytes"),
        (records(1) + b"\xff" * 20, "record 2 is damaged: the checksum of its length"),
        (records(1)[:-1] + b"\0", "record 1 is damaged: its checksum"),
        (encode_records([b"\xff\xff\xff"]), "record 1: is no PredictionLog"),
        (encode_records([b""]), "record 1: is a PredictionLog without a request"),
        (records(1001), "more than the 1000"),
        (tensor(dtype=20), "record 1, input x: a tensor of type 20"),
        (tensor(dtype=1, tensor_content=b"123", dims=[1]), "3 bytes for 1 elements of float32"),
        (tensor(dtype=7, tensor_content=b"123", dims=[1]), "2 bytes for strings of 49"),
        (tensor(dtype=1, tensor_content=b"1234", dims=[2]), "4 bytes for 2 elements of float32"),
        (tensor(dtype=1, float_val=[1.0], dims=[-1]), "without a full shape"),
        (tensor(dtype=1, float_val=[1.0], dims=[1 << 16, 1 << 16]), "too large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_a_damaged_file_names_the_record(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "warmup"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=words) as caught:
        read_warmup(path)
    assert str(caught.value).startswith(str(path))


def test_limits_and_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="cannot be read"):
        read_warmup(tmp_path / "none")
    many = [WarmupRequest("m", "s", {})] * 1001
    with pytest.raises(UsageError, match="1001 warmup requests"):
        write_warmup(tmp_path / "warmup", many)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_warmup(tmp_path / "file" / "warmup", [])
    write_warmup(tmp_path / "warmup", many[:1000])
    assert len(read_warmup(tmp_path / "warmup")) == 1000
    write_warmup(tmp_path / "warmup", [])
    assert read_warmup(tmp_path / "warmup") == []


@pytest.mark.parametrize(
    ("data", "crc"),
    # RFC 3720, appendix B.4, and the check value of the catalogue of parametrised CRC algorithms.
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_crc32c_of_the_standard(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_records_survive_a_round(items: list[bytes]) -> None:
    assert list(decode_records(encode_records(items), "here")) == items


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TWO) * 8 - 1))
    content = bytearray(TWO)
    content[place // 8] ^= 1 << place % 8
    with pytest.raises(InvalidModel, match=r"record [12] is damaged"):
        list(decode_records(bytes(content), "here"))


def test_lengths_are_those_of_tfrecord() -> None:
    assert struct.unpack_from("<Q", TWO) == (5,)


def test_the_schema_needs_no_tensorflow_and_does_not_meet_its_own() -> None:
    script = (
        "import sys; import tfopt.formats.serving.warmup, tfopt.data; assert 'tensorflow' not in sys.modules;"
        "from tensorflow.core.framework import tensor_pb2; tensor_pb2.TensorProto()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
