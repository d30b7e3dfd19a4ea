"""The 20 ImageNet photographs of foolbox, and how many of them a model names right."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import efficientnet_lite
from benchmarks.cached import Wheel, fetched

FOOLBOX: Final = Wheel("foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb")


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
