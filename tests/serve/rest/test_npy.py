"""NumPy's files as bodies of predict requests and answers."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tfopt
from tests.serve.conftest import Ask, Reply
from tfopt.errors import Code, RequestError, UsageError
from tfopt.ir import DType
from tfopt.serve.rest.fitting import fitted
from tfopt.serve.rest.npy import read_npy, read_npz, write_npy, write_npz

NPY, NPZ = "application/x-npy", "application/x-npz"
LIMIT = 1 << 20
ROWS = np.array([[1.0, 2.0, 5.0], [0.0, 1.0, 2.0]], np.float32)
LINEAR = "/v1/models/linear:predict"
ECHO = "/v1/models/echo:predict"


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def loaded(reply: Reply) -> Any:
    assert reply.status == 200, reply.body
    return np.load(io.BytesIO(reply.body), allow_pickle=False)


def refusal(body: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read_npy(body)
    return caught.value


# -- the files --------------------------------------------------------------------------------------------------------


@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", ">f4", "f8", "i1", "u1", "<i2", ">i8", "u8", "?", "c8", "S3", "U2"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_what_numpy_writes_is_read(array: np.ndarray, fortran: bool) -> None:
    read = read_npy(npy(array.copy(order="F" if fortran else "C")))
    assert read.dtype == array.dtype and read.shape == array.shape
    assert read.tobytes() == array.tobytes()


def test_what_is_written_numpy_reads() -> None:
    for array in (ROWS, np.array(3), np.zeros((0, 2)), ROWS.T, np.array([True, False])):
        read = np.load(io.BytesIO(write_npy("y", array, LIMIT)), allow_pickle=False)
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)
    strings = np.array([[b"a", "é"], [b"", b"\0x"]], object)
    read = np.load(io.BytesIO(write_npy("s", strings, LIMIT)), allow_pickle=False)
    assert read.tolist() == [[b"a", "é".encode()], [b"", b"\0x"]]
    both = np.load(io.BytesIO(write_npz({"file": ROWS, "a/b": np.array(1)}, LIMIT)), allow_pickle=False)
    assert sorted(both) == ["a/b", "file"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([b"ends\0"], "the output s has strings that end in a zero byte, which .npy loses; ask for JSON"),
        ([b"x" * 2000] + [b""] * 1000, "the output s has strings of up to 2000 bytes, and .npy would make all as long"),
    ],
)
def test_strings_that_npy_cannot_hold(values: list[bytes], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        write_npy("s", np.array(values, object), LIMIT)
    assert message in caught.value.what


def header(text: bytes) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "no .npy file"),
        (b"\x93NUMPY\3\0" + b"\0" * 100, "no .npy file of version 1 or 2"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff{}", "header does not end"),
        (npy(ROWS)[:60], "header does not end"),
        (npy(ROWS)[:-1], "23 bytes of data where its shape [2, 3] of float32 takes 24"),
        (npy(ROWS) + b"\0", "25 bytes of data"),
        (npy(np.array([{}, 1], object), allow_pickle=True), "a dtype that no tensor has"),
        (npy(np.zeros(2, [("a", "f4")])), "a dtype that no tensor has"),
        (npy(np.zeros(2, "M8[s]")), "a dtype that no tensor has"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999,), }"), "has no shape"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "has no shape"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,), }"), "0 bytes of data where"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"0," * 33 + b"), }"), "0 bytes of data"),
        (header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0" + b",999999999999999999" * 4 + b"), }"),
         "impossible shape"),
        (header(b"{'descr': '<f4', 'fortran_order': " + b"-" * 5000 + b"1, 'shape': (1,)}"), "has no shape"),
    ],
    ids=range(15),
)  # fmt: skip
def test_what_is_no_npy(body: bytes, part: str) -> None:
    assert part in refusal(body).what


def test_an_npz_is_held_to_a_limit() -> None:
    assert read_npz(npz(a=ROWS, b=np.array(1)), LIMIT).keys() == {"a", "b"}
    with pytest.raises(RequestError, match="unpacks to more than 1048576 bytes") as caught:
        read_npz(npz(bomb=np.zeros(LIMIT, np.uint8)), LIMIT)
    assert caught.value.status is Code.RESOURCE_EXHAUSTED


def test_an_npz_that_lies_about_its_size_is_not_unpacked_further() -> None:
    body = npz(bomb=np.zeros(10 * LIMIT, np.uint8))
    true = (10 * LIMIT + 128).to_bytes(4, "little")
    assert body.count(true) >= 1
    with pytest.raises(RequestError):
        read_npz(body.replace(true, (200).to_bytes(4, "little")), LIMIT)


def test_an_npz_of_another_kind() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy(ROWS))
    with pytest.raises(RequestError, match="compressed as numpy does not"):
        read_npz(file.getvalue(), LIMIT)


@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_damaged_files_are_refused_or_read(damage: bytes, at: int, zipped: bool) -> None:
    whole = npz(a=ROWS, b=np.array([b"x"])) if zipped else npy(ROWS)
    damaged = whole[:at] + damage + whole[at + len(damage) :]
    try:
        read_npz(damaged, LIMIT) if zipped else read_npy(damaged)
    except RequestError as error:
        assert error.what


# -- to a signature's dtypes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "dtype", "expected"),
    [
        (np.array([0.5, 1e39]), DType.FLOAT32, np.array([0.5, np.inf], np.float32)),
        (np.array([1, 2]), DType.FLOAT32, np.array([1, 2], np.float32)),
        (np.array([1.5], np.float32), DType.FLOAT16, np.array([1.5], np.float16)),
        (np.array([1.5], np.float32), DType.BFLOAT16, np.array([1.5], ml_dtypes.bfloat16)),
        (np.array([1.5], ml_dtypes.bfloat16).view("V2"), DType.BFLOAT16, np.array([1.5], ml_dtypes.bfloat16)),
        (np.array([127, -128]), DType.INT8, np.array([127, -128], np.int8)),
        (np.array([], np.int64), DType.UINT8, np.array([], np.uint8)),
        (np.array([2**63], np.uint64), DType.UINT64, np.array([2**63], np.uint64)),
        (np.array([1], ">i4"), DType.INT32, np.array([1], np.int32)),
        (np.array([True]), DType.BOOL, np.array([True])),
        (np.array([1.5]), DType.COMPLEX64, np.array([1.5], np.complex64)),
    ],
)
def test_arrays_are_fitted(array: np.ndarray, dtype: DType, expected: np.ndarray) -> None:
    got = fitted("x", array, dtype)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([1.0]), DType.INT32), (np.array([300]), DType.UINT8), (np.array([-1]), DType.UINT64),
        (np.array([2**63], np.uint64), DType.INT64), (np.array([1]), DType.BOOL), (np.array([True]), DType.FLOAT32),
        (np.array([b"x"]), DType.FLOAT32), (np.array([1.0]), DType.STRING), (np.array([1j]), DType.FLOAT32),
        (np.array([1.5], ml_dtypes.bfloat16).view("V2"), DType.FLOAT16),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(array: np.ndarray, dtype: DType) -> None:
    with pytest.raises(RequestError, match=r"^the input x is an array of .*, the model takes "):
        fitted("x", array, dtype)


def test_text_that_is_none() -> None:
    for points in (b"\xff\xff\xff\xff", b"\0\xd8\0\0"):  # beyond Unicode; half of a pair
        with pytest.raises(RequestError, match="text that is no Unicode"):
            fitted("x", np.frombuffer(points, "<U1"), DType.STRING)


# -- over the wire ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["linear", "lite"])
def test_one_array_there_and_back(ask: Ask, model: str) -> None:
    path = f"/v1/models/{model}:predict"
    expected = np.array(ask("POST", path, {"inputs": ROWS.tolist()}).json["outputs"], np.float32)
    reply = ask("POST", path, npy(ROWS), {"Content-Type": NPY})
    assert reply.headers["content-type"] == NPY
    np.testing.assert_array_equal(loaded(reply), expected)
    zipped = ask("POST", path, npz(x=ROWS), {"Content-Type": NPZ})
    assert zipped.headers["content-type"] == NPZ
    assert list(loaded(zipped)) == ["y"]


def test_the_answer_has_the_form_that_is_asked_for(ask: Ask) -> None:
    column = ask("POST", LINEAR, npy(ROWS), {"Content-Type": NPY, "Accept": "application/json"})
    assert column.headers["content-type"] == "application/json" and np.shape(column.json["outputs"]) == (2, 2)
    for accept, kind in ((NPY, NPY), (f"text/html, {NPZ};q=0.9, */*", NPZ), ("application/zip", NPZ)):
        reply = ask("POST", LINEAR, {"instances": ROWS.tolist()}, {"Accept": accept})
        assert reply.headers["content-type"] == kind and loaded(reply) is not None
    for accept in ("*/*", f"{NPY};q=0, */*"):
        reply = ask("POST", LINEAR, {"instances": ROWS.tolist()}, {"Accept": accept})
        assert reply.headers["content-type"] == "application/json"


def test_several_inputs_and_outputs(ask: Ask) -> None:
    arrays = {"a": np.array([1.5, 2]), "b": np.array([1, 2])}
    reply = ask("POST", ECHO, npz(**arrays), {"Content-Type": NPZ, "Signature-Name": "pair"})
    assert loaded(reply)["y"].tolist() == [2.5, 4.0]
    one = ask("POST", ECHO, npy(ROWS), {"Content-Type": NPY, "Signature-Name": "pair"})
    assert (one.status, one.error) == (400, f"one array came, and the model takes a, b; send {NPZ}")
    # Two outputs for who sent one array: they come by name, unless that is not what was asked for.
    text = {"Content-Type": NPY, "Signature-Name": "text"}
    both = loaded(ask("POST", ECHO, npy(np.array(["é", "b"])), text))
    assert both["text"].tolist() == both["raw_bytes"].tolist() == ["é".encode(), b"b"]
    refused = ask("POST", ECHO, npy(np.array(["b"])), text | {"Accept": NPY})
    assert refused.status == 400 and refused.error.endswith(f".npy holds one array; accept {NPZ}")


@pytest.mark.parametrize(("signature", "dtype"), [("half", "f2"), ("uint64", "u8"), ("bool", "?"), ("int8", "i1")])
def test_what_json_can_and_cannot_carry_goes_through(ask: Ask, signature: str, dtype: str) -> None:
    array = np.array([[0, 1]], dtype)
    got = loaded(ask("POST", ECHO, npy(array), {"Content-Type": NPY, "Signature-Name": signature}))
    assert got.dtype == array.dtype and got.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("body", "kind", "status", "part"),
    [
        (npz(z=ROWS), NPZ, 400, "input tensor alias not found in signature: z. Inputs expected to be in the set {x}."),
        (b"no array", NPY, 400, "the body is no .npy file"),
        (b"no archive", NPZ, 400, "the body is no .npz file"),
        (npy(np.array(["a"])), NPY, 400, "the input x is an array of strings, the model takes float32"),
    ],
)
def test_errors_are_json(ask: Ask, body: bytes, kind: str, status: int, part: str) -> None:
    reply = ask("POST", LINEAR, body, {"Content-Type": kind})
    assert reply.status == status and part in reply.error


def test_an_unknown_signature(ask: Ask) -> None:
    reply = ask("POST", LINEAR, npy(ROWS), {"Content-Type": NPY, "Signature-Name": "nope"})
    assert (reply.status, reply.error) == (400, 'Serving signature name: "nope" not found in signature def')
    encoded = ask("POST", LINEAR, npy(ROWS), {"Content-Type": NPY, "Signature-Name": "n%C3%A9%0A"})
    assert encoded.error == 'Serving signature name: "n\u00e9\n" not found in signature def'


# -- the client -------------------------------------------------------------------------------------------------------


def test_the_client_on_either_wire(server: tfopt.Server) -> None:
    with tfopt.Client(server.url) as json_client, tfopt.Client(server.url, wire="npz") as npz_client:
        for inputs, signature in (
            (ROWS, "float32"), ({"x": ROWS}, "float32"), ([1.5, 2], None), ([True, False], "bool"),
            ({"a": [1.5], "b": [2]}, "pair"), (["é", "b"], "text"), ([b"\xff", b""], "text"),
        ):  # fmt: skip
            expected = json_client.outputs("echo", inputs, signature=signature)
            got = npz_client.outputs("echo", inputs, signature=signature)
            assert got.keys() == expected.keys()
            for name, array in expected.items():
                assert got[name].dtype == array.dtype and got[name].tolist() == array.tolist()
        assert npz_client.predict("echo", np.array([[1.5]], np.float16), signature="half").dtype == np.float16
        with pytest.raises(RequestError, match="Servable not found"):
            npz_client.predict("nobody", [1.0])
        with pytest.raises(RequestError, match='"n\u00e9\n" not found'):
            npz_client.predict("echo", [1.0], signature="n\u00e9\n")
        with pytest.raises(UsageError, match="end in a zero byte"):
            npz_client.predict("echo", [b"a\0"], signature="text")
    with pytest.raises(UsageError, match="cannot travel as 'xml'"):
        tfopt.Client(server.url, wire="xml")  # type: ignore[arg-type]
