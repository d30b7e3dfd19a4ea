"""Samples: what is read, what is refused and how it is said, how examples become calls, and an honest split."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfopt.demo
from tfopt.data import Samples, batching, load_labels, load_samples, split, synthetic_samples, warmup_samples
from tfopt.errors import InvalidModel, InvalidSamples
from tfopt.formats.warmup import WARMUP_PATH, WarmupRequest, write_warmup
from tfopt.ir.types import UNKNOWN_SHAPE, DType, Shape, TensorType

DEMO = Path(tfopt.demo.__file__).parent


def kind(dtype: DType, *dims: int | None) -> TensorType:
    return TensorType(dtype, Shape.of(*dims))


IMAGE = kind(DType.FLOAT32, None, 2, 3)
TWO = {"image": IMAGE, "ids": kind(DType.INT32, None)}


def images(count: int = 4) -> np.ndarray:
    return np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)


def saved(tmp_path: Path, **arrays: np.ndarray) -> Path:
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)
    return path


def refused(path: Path, inputs: Mapping[str, TensorType]) -> str:
    with pytest.raises(InvalidSamples) as caught:
        load_samples(path, inputs)
    assert caught.value.where == str(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- files ------------------------------------------------------------------------------------------------------------


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


# --- labels -----------------------------------------------------------------------------------------------------------


def test_labels_of_any_integer_type(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.array([[3], [1]], np.uint8))
    labels = load_labels(tmp_path / "labels.npy", 2)
    assert (labels.tolist(), labels.dtype) == ([3, 1], np.int64)
    np.savez(tmp_path / "labels.npz", truth=np.array([0, 1]))
    assert load_labels(tmp_path / "labels.npz", 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([1, 2, 3]), "3 labels for 2 samples"),
        (np.array([0.0, 1.0]), "class numbers"),
        (np.eye(2, dtype=int), "argmax"),
        (np.array([0, -1]), r"-1 at \[1\] is negative"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(InvalidSamples, match=words):
        load_labels(tmp_path / "labels.npy", 2)


def test_labels_are_one_array(tmp_path: Path) -> None:
    with pytest.raises(InvalidSamples, match="has 2"):
        load_labels(saved(tmp_path, a=np.arange(2), b=np.arange(2)), 2)


# --- examples and calls -----------------------------------------------------------------------------------------------


def shapes(samples: Samples, size: int) -> list[dict[str, tuple[int, ...]]]:
    return [{name: array.shape for name, array in batch.items()} for batch in samples.batches(size)]


def test_a_free_batch() -> None:
    samples = synthetic_samples({"x": kind(DType.FLOAT32, None, 3), "n": TensorType(DType.INT64, UNKNOWN_SHAPE)}, 5)
    assert shapes(samples, 2) == [{"x": (k, 3), "n": (k,)} for k in (2, 2, 1)]


def test_a_fixed_batch_takes_full_blocks(tmp_path: Path) -> None:
    inputs = {"x": kind(DType.FLOAT32, 4, 2), "y": kind(DType.INT32, 4)}
    path = saved(tmp_path, x=np.ones((10, 2), np.float32), y=np.arange(10))
    samples = load_samples(path, inputs)
    assert shapes(samples, 99) == [{"x": (4, 2), "y": (4,)}] * 2
    assert "the last 2 are left out" in samples.description
    assert "batches of exactly 4" in refused(saved(tmp_path, x=np.ones((3, 2), np.float32), y=np.arange(3)), inputs)
    assert synthetic_samples(inputs, 5).count == 8


def test_whole_batches_may_be_stacked_in_the_file(tmp_path: Path) -> None:
    inputs = {"x": kind(DType.FLOAT32, 1, 2, 3)}
    samples = load_samples(saved(tmp_path, x=images(5)[:, None]), inputs)
    assert shapes(samples, 8) == [{"x": (1, 2, 3)}] * 5


def test_inputs_without_a_batch_axis_are_whole(tmp_path: Path) -> None:
    inputs = {"x": IMAGE, "rate": kind(DType.FLOAT32), "table": kind(DType.FLOAT32, 2, 2)}
    rates = np.array([1, 2, 3, 4], np.float32)
    samples = load_samples(saved(tmp_path, x=images(), rate=rates, table=np.ones((4, 2, 2), np.float32)), inputs)
    assert shapes(samples, 99) == [{"x": (1, 2, 3), "rate": (), "table": (2, 2)}] * 4
    assert [float(batch["rate"]) for batch in samples.batches(1)] == [1, 2, 3, 4]
    words = synthetic_samples({"a": kind(DType.STRING), "b": kind(DType.FLOAT32, 3, 2)}, 2)
    batch = next(iter(words.batches(1)))
    assert isinstance(batch["a"].item(), bytes)
    assert batch["b"].shape == (3, 2)


@pytest.mark.parametrize(
    ("types", "size", "whole"),
    [
        ([IMAGE, kind(DType.FLOAT32)], None, {"1"}),
        ([kind(DType.FLOAT32, 8, 2), kind(DType.FLOAT32, 8)], 8, set()),
        ([kind(DType.FLOAT32, 1, 2), kind(DType.FLOAT32)], 1, {"1"}),
        ([kind(DType.FLOAT32, 8, 2), kind(DType.FLOAT32)], None, {"0", "1"}),
        ([kind(DType.FLOAT32, 8, 2), kind(DType.FLOAT32, 4)], None, {"0", "1"}),
        ([kind(DType.FLOAT32)], None, {"0"}),
    ],
)
def test_what_one_example_is(types: list[TensorType], size: int | None, whole: set[str]) -> None:
    how = batching({str(i): t for i, t in enumerate(types)})
    assert (how.size, how.whole) == (size, whole)


@given(st.integers(1, 20), st.integers(1, 7))
def test_map_gives_the_examples_back_in_order(count: int, size: int) -> None:
    samples = Samples({"x": np.arange(count)}, "file", "")
    outputs = samples.map(
        lambda batch: {
            "same": batch["x"],
            "rows": np.stack([batch["x"]] * 2, 1),
            "constant": np.zeros((0, 3)),
            "ragged": np.zeros(len(batch["x"]) + 1),
        },
        size,
    )
    calls = -(-count // size)
    np.testing.assert_array_equal(outputs["same"], np.arange(count))
    np.testing.assert_array_equal(outputs["rows"], np.stack([np.arange(count)] * 2, 1))
    assert outputs["constant"].shape == (calls, 0, 3)
    assert outputs["ragged"].size == count + calls


def test_map_of_whole_inputs_stacks() -> None:
    samples = synthetic_samples({"v": kind(DType.FLOAT32, 3), "w": kind(DType.FLOAT32, 2)}, 5)
    outputs = samples.map(lambda batch: {"y": batch["v"]})
    np.testing.assert_array_equal(outputs["y"], samples.arrays["v"])


# --- synthetic --------------------------------------------------------------------------------------------------------


def test_synthetic_samples_are_seeded_and_say_what_they_are() -> None:
    inputs = {"x": IMAGE, "t": kind(DType.STRING, None, None)}
    one, same, other = (synthetic_samples(inputs, 8, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.arrays["x"], same.arrays["x"])
    assert (one.arrays["t"] == same.arrays["t"]).all()
    assert (one.arrays["x"] != other.arrays["x"]).any()
    assert one.source == "synthetic"
    assert "no real data" in one.description
    assert one.arrays["t"].shape == (8, 1)
    assert synthetic_samples(inputs, 8, unknown_dim=5).arrays["t"].shape == (8, 5)


@pytest.mark.parametrize("dtype", [d for d in DType if d not in (DType.RESOURCE, DType.VARIANT)])
def test_synthetic_samples_of_every_type(dtype: DType) -> None:
    array = synthetic_samples({"x": kind(dtype, None, 50)}, 4).arrays["x"]
    assert array.shape == (4, 50)
    assert len({str(value) for value in array.flat}) > 1
    if dtype.value.startswith(("int", "uint")) and dtype.itemsize > 1:
        assert array.min() >= 0
        assert array.max() <= 1


def test_a_signature_without_inputs_has_one_call() -> None:
    samples = synthetic_samples({})
    assert samples.count == 1
    assert list(samples.batches(32)) == [{}]


# --- the split --------------------------------------------------------------------------------------------------------


def rows(samples: Samples) -> set[bytes]:
    return {row.tobytes() for row in samples.arrays["x"]}


def numbers(*values: float) -> Samples:
    return Samples({"x": np.array(values, np.float32)[:, None]}, "file", "numbers")


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.integers(0, 5), st.floats(0.05, 0.95))
def test_no_example_is_on_both_sides(values: list[int], seed: int, share: float) -> None:
    samples = numbers(*values)
    if len(set(values)) < 2:
        with pytest.raises(InvalidSamples, match="two different"):
            split(samples, seed=seed, held_out=share)
        return
    sides = split(samples, seed=seed, held_out=share)
    assert not rows(sides.calibration) & rows(sides.held_out)
    assert sides.calibration.count
    assert sides.held_out.count
    together = np.concatenate([sides.calibration_indices, sides.held_out_indices])
    assert sorted(together.tolist()) == list(range(len(values)))
    np.testing.assert_array_equal(sides.held_out.arrays["x"], samples.arrays["x"][sides.held_out_indices])
    again = split(samples, seed=seed, held_out=share)
    assert again.record == sides.record


def test_the_share_is_kept_and_the_seed_decides() -> None:
    samples = numbers(*range(100))
    assert [split(samples, held_out=share).held_out.count for share in (0.5, 0.2, 0.001)] == [50, 20, 1]
    assert split(samples, seed=0).held_out_indices.tolist() != split(samples, seed=1).held_out_indices.tolist()
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(samples, held_out=1.0)


def test_the_side_of_an_example_does_not_depend_on_its_place() -> None:
    forward, backward = numbers(*range(40)), numbers(*reversed(range(40)))
    assert rows(split(forward).held_out) == rows(split(backward).held_out)


def test_the_record_is_enough_to_tell_whether_it_was_the_same_split() -> None:
    record = split(numbers(1, 2, 3, 4, 4), seed=3).record
    assert {k: record[k] for k in ("seed", "held_out_share", "source", "count", "distinct", "dropped")} == {
        "seed": 3, "held_out_share": 0.5, "source": "file", "count": 5, "distinct": 4, "dropped": 0,
    }  # fmt: skip
    assert record["calibration"] + record["held_out"] == 5
    assert split(numbers(1, 2, 3, 4, 5), seed=3).record["data"] != record["data"]


def test_too_few_to_split() -> None:
    with pytest.raises(InvalidSamples, match="at least two samples"):
        split(numbers(1))
    with pytest.raises(InvalidSamples, match="all 3 samples are equal"):
        split(numbers(1, 1, 1))
    fixed = load_samples_of_four(6)
    with pytest.raises(InvalidSamples, match="at least 8 samples"):
        split(fixed)


def load_samples_of_four(count: int) -> Samples:
    return Samples({"x": np.arange(float(count))}, "file", "", batching({"x": kind(DType.FLOAT64, 4)}))


def test_blocks_of_a_fixed_batch_stay_together() -> None:
    sides = split(load_samples_of_four(22))
    assert sides.record["dropped"] == 2
    for side in (sides.calibration, sides.held_out):
        assert all(batch["x"][0] % 4 == 0 and np.ptp(batch["x"]) == 3 for batch in side.batches(4))


def test_strings_are_told_apart_by_content() -> None:
    def words(*items: bytes) -> Samples:
        return Samples({"t": np.array(items, object)}, "file", "")

    sides = split(words(b"a", b"b", b"a", b"b"))
    assert {*sides.calibration.arrays["t"]} & {*sides.held_out.arrays["t"]} == set()


# --- warmup records ---------------------------------------------------------------------------------------------------


def model_with(tmp_path: Path, *requests: WarmupRequest) -> Path:
    write_warmup(tmp_path / WARMUP_PATH, requests)
    return tmp_path


def request(signature: str = "serve", **inputs: np.ndarray) -> WarmupRequest:
    return WarmupRequest("m", signature, inputs)


def test_warmup_requests_are_joined(tmp_path: Path) -> None:
    ids = np.array([5, 6], np.int32)
    path = model_with(
        tmp_path, request(image=images(2), ids=ids), request("other", z=ids), request(image=images(1), ids=ids[:1])
    )
    samples = warmup_samples(path, "serve", TWO)
    assert samples is not None
    assert (samples.count, samples.source) == (3, "warmup")
    assert samples.arrays["ids"].tolist() == [5, 6, 5]
    assert "2 of the model's 2 warmup requests" in samples.description
    assert warmup_samples(path, "unknown", TWO) is None
    assert warmup_samples(tmp_path / "elsewhere", "serve", TWO) is None


def test_warmup_requests_of_another_shape_are_left_out(tmp_path: Path) -> None:
    inputs = {"ids": kind(DType.INT32, None, None)}
    lengths = [request(ids=np.zeros((1, n), np.int32)) for n in (4, 7, 7)]
    samples = warmup_samples(model_with(tmp_path, *lengths), "serve", inputs)
    assert samples is not None
    assert samples.arrays["ids"].shape == (2, 7)
    assert "2 of the model's 3" in samples.description


def test_a_whole_input_is_repeated_for_every_example(tmp_path: Path) -> None:
    inputs = {"image": IMAGE, "rate": kind(DType.FLOAT32)}
    path = model_with(tmp_path, request(image=images(2), rate=np.float32(0.5) * np.ones((), np.float32)))
    samples = warmup_samples(path, "serve", inputs)
    assert samples is not None
    assert samples.arrays["rate"].tolist() == [0.5, 0.5]


def test_warmup_requests_that_do_not_fit(tmp_path: Path) -> None:
    path = model_with(tmp_path, request(imag=images()))
    with pytest.raises(InvalidSamples, match="did you mean image"):
        warmup_samples(path, "serve", {"image": IMAGE})
    (path / WARMUP_PATH).write_bytes(b"no records")
    with pytest.raises(InvalidModel, match="record 1"):
        warmup_samples(path, "serve", {"image": IMAGE})
