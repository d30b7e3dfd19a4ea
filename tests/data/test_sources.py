"""Where samples come from: records, images, functions, recorded requests, and how a place is named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.kinds import kind
from tfopt.data import by_signature, load_samples
from tfopt.data.source import parse_source
from tfopt.errors import InvalidSamples, NotFound, UsageError
from tfopt.formats.serving.tensorflow_messages import Example
from tfopt.formats.serving.warmup import WarmupRequest, write_warmup
from tfopt.formats.tfrecord import encode_records
from tfopt.ir.types import DType, TensorType

PHOTO = {"image": kind(DType.FLOAT32, None, 2, 2, 3)}


def refused(source: str | Path, inputs: dict[str, TensorType]) -> str:
    with pytest.raises(InvalidSamples) as caught:
        load_samples(source, inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- how a place is named -------------------------------------------------------------------------------------------


def test_options_follow_the_place() -> None:
    source = parse_source("photos,range=-1..1,limit=7")
    assert (source.place, source.options, source.limit) == ("photos", {"range": "-1..1", "limit": "7"}, 7)


def test_a_path_that_exists_is_taken_with_its_commas(tmp_path: Path) -> None:
    path = tmp_path / "a,limit=3.npz"
    np.savez(path, x=np.zeros((5, 2), np.float32))
    assert load_samples(path, {"x": kind(DType.FLOAT32, None, 2)}).count == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.npz,limt=3", "did you mean limit"),
        ("a.npz,limit=0", "not a number of samples"),
        ("a.npz,limit", "no option"),
    ],
)
def test_options_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    np.save(tmp_path / "a.npz", np.zeros((5, 2), np.float32))
    (tmp_path / "a.npz.npy").rename(tmp_path / "a.npz")
    assert words in refused(f"{tmp_path}/{text}", {"x": kind(DType.FLOAT32, None, 2)})


def test_limit_takes_the_first(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(10, dtype=np.float32).reshape(5, 2))
    samples = load_samples(f"{tmp_path}/a.npz,limit=2", {"x": kind(DType.FLOAT32, None, 2)})
    np.testing.assert_array_equal(samples.arrays["x"], [[0, 1], [2, 3]])


def test_an_option_of_another_kind_of_place_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 2), np.float32))
    assert "does not go with" in refused(f"{tmp_path}/a.npz,range=0..1", {"x": kind(DType.FLOAT32, None, 2)})


def test_sources_by_signature() -> None:
    keys = ["serving_default", "score"]
    assert by_signature(["a.npz", "score=b.npz,limit=3"], keys, "serving_default") == {
        "serving_default": "a.npz",
        "score": "b.npz,limit=3",
    }
    assert by_signature(["photos,range=0..1"], keys, "score") == {"score": "photos,range=0..1"}
    with pytest.raises(NotFound, match="did you mean score"):
        by_signature(["scor=b.npz"], keys, "serving_default")
    with pytest.raises(UsageError, match="two sources"):
        by_signature(["a.npz", "b.npz"], keys, "serving_default")


# --- tf.train.Example -----------------------------------------------------------------------------------------------


def example(**features: list[float] | list[int] | list[bytes]) -> bytes:
    message = Example()
    for name, values in features.items():
        feature = message.features.feature[name]
        target = {float: feature.float_list, int: feature.int64_list, bytes: feature.bytes_list}[type(values[0])]
        target.value.extend(values)
    content: bytes = message.SerializeToString(deterministic=True)
    return content


def records(path: Path, *examples: bytes) -> Path:
    path.write_bytes(encode_records(examples))
    return path


INPUTS = {"x": kind(DType.FLOAT32, None, 2, 2), "ids": kind(DType.INT32, None, None), "word": kind(DType.STRING, None)}


def test_examples_become_arrays_of_the_models_types(tmp_path: Path) -> None:
    path = records(
        tmp_path / "a.tfrecord",
        example(x=[1.0, 2.0, 3.0, 4.0], ids=[5, 6, 7], word=[b"one"], unread=[1]),
        example(x=[5.0, 6.0, 7.0, 8.0], ids=[8, 9, 10], word=[b"two"]),
    )
    samples = load_samples(path, INPUTS)
    np.testing.assert_array_equal(samples.arrays["x"], np.arange(1, 9, dtype=np.float32).reshape(2, 2, 2))
    np.testing.assert_array_equal(samples.arrays["ids"], np.array([[5, 6, 7], [8, 9, 10]], np.int32))
    assert samples.arrays["ids"].dtype == np.int32
    assert samples.arrays["word"][:2].tolist() == [b"one", b"two"]


def test_tensorflow_writes_what_is_read(tmp_path: Path) -> None:
    import tensorflow as tf

    features = {
        "x": tf.train.Feature(float_list=tf.train.FloatList(value=[1, 2, 3, 4])),
        "ids": tf.train.Feature(int64_list=tf.train.Int64List(value=[-5, 6])),
        "word": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"w"])),
    }
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    path = tmp_path / "b.tfrecord.gz"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        writer.write(record)
        writer.write(record)
    samples = load_samples(path, INPUTS)
    np.testing.assert_array_equal(samples.arrays["ids"], [[-5, 6], [-5, 6]])


def test_shards_are_read_in_order_from_a_directory_or_a_pattern(tmp_path: Path) -> None:
    for number in range(3):
        records(tmp_path / f"part-{number}.tfrecord", example(v=[float(number)]), example(v=[float(number)]))
    inputs = {"v": kind(DType.FLOAT32, None)}
    for source in (tmp_path, f"{tmp_path}/part-*.tfrecord"):
        assert load_samples(source, inputs).arrays["v"][:9].tolist() == [0, 0, 1, 1, 2, 2]
    assert load_samples(f"{tmp_path},limit=3", inputs).count == 3


def test_features_of_other_names_and_raw_bytes(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8)
    path = records(tmp_path / "a.tfrecord", *[example(**{"image/raw": [pixels.tobytes()]})] * 2)
    samples = load_samples(f"{path},map=image:image/raw", {"image": kind(DType.UINT8, None, 2, 2, 3)})
    np.testing.assert_array_equal(samples.arrays["image"][:1], pixels.reshape(1, 2, 2, 3))
    halves = np.array([1.5, -2.0], np.float16)
    path = records(tmp_path / "h.tfrecord", example(x=[halves.tobytes()]))
    assert load_samples(path, {"x": kind(DType.FLOAT16, None, 2)}).arrays["x"][:1].tolist() == [[1.5, -2.0]]


def test_encoded_images_in_records(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (255, 0, 51)).save(tmp_path / "a.png")
    path = records(tmp_path / "a.tfrecord", example(image=[(tmp_path / "a.png").read_bytes()]))
    samples = load_samples(f"{path},range=0..1", PHOTO)
    np.testing.assert_allclose(samples.arrays["image"][:1], np.tile([1, 0, 0.2], (1, 2, 2, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (example(x=[1.0, 2.0, 3.0, 4.0], ids=[1]), "no feature 'word'"),
        (example(x=[1.0, 2.0, 3.0], ids=[1], word=[b"w"]), "3 values for 'x' do not make one example of [2,2]"),
        (example(x=[1, 2, 3, 4], ids=[1], word=[b"w"]), "scale it as the model's preprocessing does"),
        (example(x=[b"123"], ids=[1], word=[b"w"]), "3 bytes for 'x'"),
        (b"\xff\xff", "no tf.train.Example"),
    ],
    ids=["missing", "too few", "integers", "odd bytes", "no message"],
)
def test_examples_that_do_not_fit(tmp_path: Path, record: bytes, words: str) -> None:
    assert words in refused(records(tmp_path / "a.tfrecord", record), INPUTS)


def test_examples_of_different_lengths_are_refused_with_their_number(tmp_path: Path) -> None:
    path = records(tmp_path / "a.tfrecord", example(ids=[1, 2]), example(ids=[1, 2, 3]))
    assert "example 1: 'ids' is [3], before [2]" in refused(path, {"ids": kind(DType.INT64, None, None)})


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_records(tmp_path: Path, packed: bool) -> None:
    content = encode_records([example(v=[1.0]), example(v=[2.0])])
    path = tmp_path / "a.tfrecord"
    path.write_bytes(gzip.compress(content)[:-12] if packed else content[:-3])
    assert "damaged" in refused(path, {"v": kind(DType.FLOAT32, None)})


def test_a_record_that_claims_to_be_huge_is_not_asked_for(tmp_path: Path) -> None:
    from tfopt.formats import tfrecord

    head = struct.pack("<Q", 1 << 60)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(head + struct.pack("<I", tfrecord._masked(head)) + b"short")
    assert "the file ends before" in refused(path, {"v": kind(DType.FLOAT32, None)})


# --- images ---------------------------------------------------------------------------------------------------------


def photos(directory: Path) -> Path:
    directory.mkdir()
    Image.new("RGB", (2, 2), (0, 0, 0)).save(directory / "b.png")
    Image.new("RGB", (8, 4), (255, 255, 255)).save(directory / "c.png")
    (directory / "a").mkdir()
    Image.new("L", (2, 2), 51).save(directory / "a" / "a.png")
    (directory / ".hidden").write_text("no image")
    return directory


def test_images_of_a_folder_in_the_order_of_their_paths(tmp_path: Path) -> None:
    samples = load_samples(f"{photos(tmp_path / 'photos')},range=-1..1", PHOTO)
    assert samples.arrays["image"].shape == (3, 2, 2, 3)
    np.testing.assert_allclose(samples.arrays["image"][:3][:, 0, 0, 0], [-0.6, -1, 1], atol=1e-6)


def test_channels_first_mean_and_std(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (255, 0, 51)).save(tmp_path / "a.png")
    inputs = {"x": kind(DType.FLOAT32, None, 3, 2, 3)}
    source = f"{tmp_path}/a.png,layout=nchw,range=0..1,mean=0.5/0/0.2,std=0.5"
    array = load_samples(source, inputs).arrays["x"][:1]
    assert array.shape == (1, 3, 2, 3)
    np.testing.assert_allclose(array[0, :, 0, 0], [1, 0, 0], atol=1e-6)


def test_bytes_go_in_as_they_are_and_blue_first(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "a.png")
    samples = load_samples(f"{tmp_path}/a.png,colors=bgr", {"x": kind(DType.UINT8, None, 2, 2, 3)})
    assert samples.arrays["x"][:1][0, 0, 0].tolist() == [3, 2, 1]


@pytest.mark.parametrize(("resize", "corner"), [("stretch", 255), ("crop", 255), ("pad", 0)])
def test_other_aspect_ratios(tmp_path: Path, resize: str, corner: int) -> None:
    Image.new("L", (8, 4), 255).save(tmp_path / "a.png")
    source = f"{tmp_path}/a.png,size=4x4,resize={resize}"
    array = load_samples(source, {"x": kind(DType.UINT8, None, None, None, 1)}).arrays["x"][:1]
    assert array.shape == (1, 4, 4, 1)
    assert int(array[0, 0, 0, 0]) == corner
    assert int(array[0, 2, 2, 0]) == 255


@pytest.mark.parametrize(
    ("options", "inputs", "words"),
    [
        ("", PHOTO, "their scale has to be given; range=0..1"),
        (",range=0", PHOTO, "not LOW..HIGH"),
        (",range=0..1,size=3x3", PHOTO, "the input takes 2x2"),
        (",range=0..1,colors=grey", PHOTO, "the input has 3 channels"),
        (",range=0..1,mean=1/2", PHOTO, "not one number for each of 3 channels"),
        (",range=0..1,std=0", PHOTO, "not one number"),
        (",range=0..1,resize=zoom", PHOTO, "one of stretch, crop, pad"),
        (",range=0..1", {"x": kind(DType.FLOAT32, None, None, None, 3)}, "size=224x224"),
        (",range=0..1", {"x": kind(DType.FLOAT32, None, 4)}, "takes no images"),
        (",range=0..1", {"x": kind(DType.FLOAT32, None, 5, 5, 7)}, "layout=nhwc"),
        (",range=0..1", {**PHOTO, "y": kind(DType.FLOAT32, None)}, "images are one input"),
        (",map=a:b", PHOTO, "does not go with"),
    ],
)
def test_images_that_do_not_fit(tmp_path: Path, options: str, inputs: dict[str, TensorType], words: str) -> None:
    assert words in refused(f"{photos(tmp_path / 'photos')}{options}", inputs)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    directory = photos(tmp_path / "photos")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(directory / "b.png")
    (directory / "b.png").write_bytes((directory / "b.png").read_bytes()[:2000])
    assert "b.png" in refused(f"{directory},range=0..1", PHOTO)
    (directory / "b.png").write_bytes(b"hello")
    assert "is no image" in refused(f"{directory},range=0..1", PHOTO)


def test_a_mixed_directory_is_refused(tmp_path: Path) -> None:
    directory = photos(tmp_path / "photos")
    (directory / "notes.txt").write_text("hello")
    assert "neither all images nor all TFRecords" in refused(f"{directory},range=0..1", PHOTO)


# --- functions ------------------------------------------------------------------------------------------------------

MODULE = """
import numpy as np
from beside import SCALE

def arrays():
    return {"x": np.ones((4, 2), np.float32) * SCALE}

def single():
    return np.zeros((3, 2), np.float32)

def one_by_one():
    for number in range(5):
        yield {"x": np.full(2, number, np.float32)}

def broken():
    yield {"x": np.zeros(2, np.float32)}
    raise RuntimeError("out of\\ndata")

def words():
    return "hello"
"""
TWO = {"x": kind(DType.FLOAT32, None, 2)}


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("SCALE = 3")
    (tmp_path / "feed.py").write_text(MODULE)
    return tmp_path / "feed.py"


def test_functions_give_arrays_or_examples(module: Path) -> None:
    samples = load_samples(f"{module}:arrays", TWO)
    assert (samples.count, samples.source) == (4, "function")
    np.testing.assert_array_equal(samples.arrays["x"], np.full((4, 2), 3))
    assert load_samples(f"{module}:single", TWO).count == 3
    np.testing.assert_array_equal(load_samples(f"{module}:one_by_one,limit=3", TWO).arrays["x"][:9][:, 0], [0, 1, 2])
    assert load_samples("tests.data.functions:arrays", TWO).count == 2


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("array", "did you mean arrays"),
        ("broken", "RuntimeError: out of data"),
        ("words", "gave a str"),
        ("np", "has no function np"),
    ],
)
def test_functions_that_give_no_samples(module: Path, function: str, words: str) -> None:
    assert words in refused(f"{module}:{function}", TWO)


def test_what_is_no_function_is_not_suggested(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text("samples = 3\n\ndef sample():\n    return None\n")
    assert "did you mean sample?" in refused(f"{tmp_path}/feed.py:samples", TWO)


def test_modules_that_are_not_there(tmp_path: Path) -> None:
    assert "no such file" in refused(f"{tmp_path}/none.py:arrays", TWO)
    assert "ModuleNotFoundError" in refused("no_such_module:arrays", TWO)


# --- recorded requests ----------------------------------------------------------------------------------------------


def test_recorded_requests_are_samples_of_their_signature(tmp_path: Path) -> None:
    path = tmp_path / "requests"
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_warmup(path, [WarmupRequest("m", "score", {"x": array}), WarmupRequest("m", "score", {"x": array[:1] + 9})])
    samples = load_samples(path, TWO, signature="score")
    assert (samples.count, samples.source) == (4, "warmup")
    assert "none of the recorded requests is for the signature serving_default" in refused(path, TWO)
