"""Files of arrays: what is read, what is refused and how it is said."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfopt.demo
from tests.data.kinds import IMAGE, TWO, images, kind, refused, saved
from tfopt.data import load_labels, load_samples, synthetic_samples
from tfopt.errors import InvalidSamples
from tfopt.ir.types import DType, Shape, TensorType

DEMO = Path(tfopt.demo.__file__).parent


def test_an_npz_by_input_name(tmp_path: Path) -> None:
    samples = load_samples(saved(tmp_path, ids=np.array([1, 2, 3, 4]), image=images()), TWO)
    assert list(samples.arrays) == ["image", "ids"]
    assert samples.arrays["ids"].dtype == np.int32  # numpy's int64 fits
    assert (samples.count, samples.source, samples.description) == (4, "file", "4 samples from samples.npz")


def test_an_npy_for_one_input_is_mapped_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, images())
    samples = load_samples(path, {"image": IMAGE})
    assert isinstance(samples.arrays["image"], np.memmap)
    np.testing.assert_array_equal(samples.arrays["image"], images())


def test_one_array_without_a_name_is_for_the_one_input(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, images())
    assert load_samples(path, {"image": IMAGE}).count == 4
    np.save(tmp_path / "images.npy", images())
    assert "the model has 2 inputs: ids, image" in refused(tmp_path / "images.npy", TWO)


def test_the_bundled_samples() -> None:
    samples = load_samples(DEMO / "fashion_mnist.npz", {"image": kind(DType.FLOAT32, None, 28, 28, 1)})
    assert samples.count == 400
    assert len(load_labels(DEMO / "fashion_mnist_labels.npy", samples.count)) == 400


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"imgae": images()}, ["no input called 'imgae'", "did you mean image?", "ids, image"]),
        ({"image": images(), "ids": np.arange(4), "labels": np.arange(4)}, ["'labels'", "ids, image"]),
        ({"image": images()}, ["nothing for the input 'ids'", "ids, image"]),
        ({"image": images(), "ids": np.arange(3)}, ["different numbers", "image 4", "ids 3"]),
        ({"image": images(0), "ids": np.arange(0)}, ["not one sample"]),
        ({"image": images()[0], "ids": np.arange(4)}, ["[2,3]", "[?,2,3]", "array[None]"]),
        ({"image": images().reshape(4, 6), "ids": np.arange(4)}, ["[4,6]", "reshape(-1, 2, 3)"]),
        ({"image": images()[:, :, :2], "ids": np.arange(4)}, ["[4,2,2]", "every example"]),
        ({"image": np.float32(1), "ids": np.arange(4)}, ["[]", "[?,2,3]"]),
        ({"image": images().astype(np.uint8), "ids": np.arange(4)}, ["uint8", "float32", "/ 255"]),
        ({"image": images().astype(str), "ids": np.arange(4)}, ["are text", "float32"]),
        ({"image": images(), "ids": np.arange(4.0)}, ["float64", "int32", "astype('int32')"]),
        ({"image": images(), "ids": np.arange(4) == 1}, ["bool", "int32"]),
        ({"image": images(), "ids": np.array([0, 0, 1 << 40, 0])}, [str(1 << 40), "at [2]", "int32"]),
        ({"image": images().astype(np.float64) * 1e300, "ids": np.arange(4)}, ["at [0,0,1]", "float32"]),
    ],
)
def test_arrays_that_are_no_samples(tmp_path: Path, arrays: dict[str, np.ndarray], words: list[str]) -> None:
    message = refused(saved(tmp_path, **arrays), TWO)
    for word in words:
        assert word in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    array = images(100)
    array[37, 1, 2] = array[80, 0, 0] = bad
    path = saved(tmp_path, image=array)
    assert f"'image' has {np.float32(bad)} at [37,1,2]" in refused(path, {"image": IMAGE})
    assert load_samples(path, {"image": IMAGE}, allow_nan=True).count == 100


def test_floats_are_rounded_and_the_description_says_so(tmp_path: Path) -> None:
    samples = load_samples(saved(tmp_path, image=images().astype(np.float64) / 3), {"image": IMAGE})
    assert samples.arrays["image"].dtype == np.float32
    assert samples.description == "4 samples from samples.npz; image rounded from float64"


def test_half_precision_inputs_take_floats(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.array([1.5, 2.0], np.float32))
    assert load_samples(path, {"x": kind(DType.FLOAT16, None)}).arrays["x"].dtype == np.float16
    assert load_samples(path, {"x": kind(DType.BFLOAT16, None)}).arrays["x"].dtype == ml_dtypes.bfloat16


def test_text_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", words=np.array(["fine", "\ud800"]))
    with pytest.raises(
        InvalidSamples, match=r"'words': the text at \[1\] cannot be written as UTF-8; give it as bytes"
    ):
        load_samples(tmp_path / "x.npz", {"words": TensorType(DType.STRING, Shape((None,)))})


def test_text_becomes_bytes(tmp_path: Path) -> None:
    inputs = {"text": kind(DType.STRING, None)}
    for words in (np.array(["grün", "rot"]), np.array(["grün".encode(), b"rot"])):
        array = load_samples(saved(tmp_path, text=words), inputs).arrays["text"]
        assert array.tolist() == ["grün".encode(), b"rot"]
        assert array.dtype == object


def test_an_input_that_no_array_can_hold(tmp_path: Path) -> None:
    assert "is a resource" in refused(saved(tmp_path, t=np.arange(2)), {"t": TensorType(DType.RESOURCE)})
    with pytest.raises(InvalidSamples, match="is a variant"):
        synthetic_samples({"t": TensorType(DType.VARIANT)})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    inputs = {"image": IMAGE}
    assert "no such file" in refused(tmp_path / "none.npz", inputs)
    assert "the directory holds no samples" in refused(tmp_path, inputs)
    for name, content in {"words.txt": b"hello", "empty.npz": b"", "pickle.npz": b"\x80\x04N."}.items():
        (tmp_path / name).write_bytes(content)
        assert "no file of samples" in refused(tmp_path / name, inputs)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, image=np.array([{}], object))
    assert "never unpickled" in refused(path, {"image": IMAGE})
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    refused(tmp_path / "objects.npy", {"image": IMAGE})


@given(st.data())
def test_a_damaged_file_is_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    write = data.draw(st.sampled_from([np.save, np.savez, np.savez_compressed]))
    write(buffer, images())
    content = bytearray(buffer.getvalue())
    content = content[: data.draw(st.integers(1, len(content)))]
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(content))
    try:
        load_samples(path, {"image": IMAGE}, allow_nan=True)
    except InvalidSamples as error:
        assert error.where == str(path)


def test_an_archive_of_other_things(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "readme.txt is no array" in refused(path, {"image": IMAGE})
