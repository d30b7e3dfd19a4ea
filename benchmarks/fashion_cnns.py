"""More classifiers of Fashion-MNIST, trained once into .cache/models/: a plain CNN, a depthwise one with Relu6, and a
small ResNet.

    python -m benchmarks.fashion_cnns

What int8 and less structure cost them is judged on the 10,000 test images. Another residual one is bundled
(`train_fashion_cnn.py`). All take `image` float32 [n, 28, 28, 1] in 0..1 and give `probabilities` [n, 10].
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.cached import built
from benchmarks.train_fashion_cnn import as_input, correct, export_inference, train

EPOCHS: Final = 6
SEED: Final = 7


def plain() -> Path:
    """Convolutions, max pooling and two dense layers, 0.2 M parameters, as tutorials write them; no batch norm."""
    return built("fashion_plain", lambda folder: _trained(build_plain, folder))


def depthwise() -> Path:
    """Depthwise convolutions with batch norm and Relu6 between linear bottlenecks with sums, 0.1 M parameters."""
    return built("fashion_depthwise", lambda folder: _trained(build_depthwise, folder))


def resnet() -> Path:
    """Blocks of two convolutions beside a shortcut, as ResNet-8 of MLPerf Tiny has them; 78 k parameters."""
    return built("fashion_resnet", lambda folder: _trained(build_resnet, folder))


def build_plain() -> Any:
    import keras

    layers = keras.layers
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv1")(image)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Conv2D(64, 3, activation="relu", name="conv3")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(96, activation="relu", name="hidden")(x)
    probabilities = layers.Dense(10, activation="softmax", name="classifier")(x)
    return keras.Model({"image": image}, {"probabilities": probabilities}, name="fashion_plain")


def build_depthwise() -> Any:
    import keras

    layers = keras.layers

    def normalised(x: Any, name: str, relu6: bool = True) -> Any:
        x = layers.BatchNormalization(momentum=0.98, name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu6")(x) if relu6 else x

    def block(x: Any, width: int, name: str, stride: int = 1) -> Any:
        y = normalised(layers.Conv2D(4 * x.shape[-1], 1, use_bias=False, name=f"{name}_expand")(x), f"{name}_expand")
        depthwise = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")
        y = normalised(depthwise(y), f"{name}_depthwise")
        y = normalised(layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(y), f"{name}_project", False)
        return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and x.shape[-1] == width else y

    image = keras.Input((28, 28, 1), name="image")
    x = normalised(layers.Conv2D(24, 3, 2, padding="same", use_bias=False, name="stem")(image), "stem")
    x = block(x, 24, "block1")
    x = block(x, 48, "block2", stride=2)
    x = block(x, 48, "block3")
    x = block(x, 48, "block4")
    x = normalised(layers.Conv2D(160, 1, use_bias=False, name="head")(x), "head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    probabilities = layers.Dense(10, activation="softmax", name="classifier")(x)
    return keras.Model({"image": image}, {"probabilities": probabilities}, name="fashion_depthwise")


def build_resnet() -> Any:
    import keras

    layers = keras.layers

    def normalised(x: Any, width: int, kernel: int, name: str, stride: int = 1) -> Any:
        x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(momentum=0.98, name=f"{name}_bn")(x)

    def block(x: Any, width: int, name: str, stride: int = 1) -> Any:
        y = layers.ReLU(name=f"{name}_inner_relu")(normalised(x, width, 3, f"{name}_inner", stride))
        y = normalised(y, width, 3, f"{name}_outer")
        x = normalised(x, width, 1, f"{name}_shortcut", stride) if stride > 1 else x
        return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))

    image = keras.Input((28, 28, 1), name="image")
    x = layers.ReLU(name="stem_relu")(normalised(image, 16, 3, "stem"))
    x = block(x, 16, "block1")
    x = block(x, 32, "block2", stride=2)
    x = block(x, 64, "block3", stride=2)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    probabilities = layers.Dense(10, activation="softmax", name="classifier")(x)
    return keras.Model({"image": image}, {"probabilities": probabilities}, name="fashion_resnet")


def _trained(build: Callable[[], Any], folder: Path) -> None:
    images, labels = as_input("train")
    export_inference(train(images, labels, epochs=EPOCHS, seed=SEED, build=build), folder, build=build)


def main() -> None:
    images, labels = as_input("test")
    for model in (plain, depthwise, resnet):
        print(f"{model.__name__}: {correct(model(), images, labels)} of {len(labels)} test images right")


if __name__ == "__main__":
    main()
