"""Photographs that packages carry: foolbox's 20 of ImageNet, 18 others, and crops of them for judging and calibration.

None of the photographs that are calibrated on is judged. Code licences are foolbox MIT, scikit-image and scikit-learn
BSD-3, matplotlib its own (PSF-like), mahotas, imgaug and insightface MIT, gradio Apache-2.0, ultralytics AGPL-3; the
photographs have terms of their own: they are read here, and not bundled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import efficientnet_lite
from benchmarks.cached import CPYTHON_311, Wheel, fetched

FOOLBOX: Final = Wheel("foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb")
GRADIO: Final = Wheel("gradio", "6.31.0", "7b50b9b6a2d23cd02851ad4c8b1c8312c88d8b911d1f29c93f9761c98348a64a")
IMGAUG: Final = Wheel("imgaug", "0.4.0", "ce61e65b4eb7405fc62c1b0a79d2fa92fd47f763aaecb65152d29243592111f9")
INSIGHTFACE: Final = Wheel("insightface", "2.1", "dcd58ee79d99d689572477315f3149353afd65a36dc575f597cbb217a7bde399")
MAHOTAS: Final = Wheel(
    "mahotas", "1.4.19", "512f5c23a061ee37c05b65224cc9f99940b8413519c10ea148c7f785a31d0540", CPYTHON_311
)
MATPLOTLIB: Final = Wheel(
    "matplotlib", "3.11.2", "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8", CPYTHON_311
)
SCIKIT_IMAGE: Final = Wheel(
    "scikit-image", "0.26.0", "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af", CPYTHON_311
)
SCIKIT_LEARN: Final = Wheel(
    "scikit-learn", "1.9.1", "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df", CPYTHON_311
)
ULTRALYTICS: Final = Wheel("ultralytics", "8.4.190", "bd309728efa168af64d39040136828edd2dbcb4aeceb4510bdff4f3ca0ea01b8")

#: Judged, beside foolbox's: a cup, a temple, a lion, a tower, a street with a bus, a cheetah.
JUDGED: Final[Mapping[Wheel, Sequence[str]]] = {
    SCIKIT_IMAGE: ("skimage/data/coffee.png",),
    SCIKIT_LEARN: ("sklearn/datasets/images/china.jpg",),
    GRADIO: (
        "gradio/media_assets/images/lion.jpg",
        "gradio/media_assets/images/tower.jpg",
        "gradio/test_data/cheetah2.jpg",
    ),
    ULTRALYTICS: ("ultralytics/assets/bus.jpg",),
}
#: Calibrated on: people, a cat, a rocket, a motorcycle, a flower, a quokka, another cheetah, a toy, shops.
CALIBRATED: Final[Mapping[Wheel, Sequence[str]]] = {
    SCIKIT_IMAGE: tuple(
        f"skimage/data/{name}" for name in ("astronaut.png", "chelsea.png", "motorcycle_left.png", "rocket.jpg")
    ),
    SCIKIT_LEARN: ("sklearn/datasets/images/flower.jpg",),
    GRADIO: ("gradio/media_assets/images/cheetah.jpg", "gradio/media_assets/images/groot.jpeg"),
    IMGAUG: ("imgaug/quokka.jpg",),
    INSIGHTFACE: ("insightface/data/images/t1.jpg",),
    MAHOTAS: ("mahotas/demos/data/DepartmentStore.jpg",),
    MATPLOTLIB: ("matplotlib/mpl-data/sample_data/grace_hopper.jpg",),
    ULTRALYTICS: ("ultralytics/assets/zidane.jpg",),
}
#: Where a crop lies: how far down and right, of what is left over.
_CORNERS: Final = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
_CROP: Final = 0.75

Photo = NDArray[np.uint8]


def imagenet_samples(side: int = efficientnet_lite.SIDE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Foolbox's ImageNet photographs, the central square scaled to `side`: uint8 [20, side, side, 3], labels [20].

    Scaled without antialiasing, as TensorFlow did it when the network was trained.
    """
    named = list(_foolbox())
    images = [_scaled(_square(photo, min(photo.shape[:2]), 0.5, 0.5), side) for _, photo in named]
    return np.stack(images), np.array([int(Path(member).stem.rpartition("_")[2]) for member, _ in named], np.int64)


def judged_crops() -> NDArray[np.uint8]:
    """11 crops each of foolbox's 20 photographs and six others, without the 20 of `imagenet_samples`: [286, ...]."""
    photos = [*(photo for _, photo in _foolbox()), *_photographs(JUDGED)]
    return np.stack([crop for photo in photos for crop in crops(photo)])


def calibration_crops() -> NDArray[np.uint8]:
    """11 crops each of 12 photographs that are not judged: [132, 224, 224, 3]."""
    return np.stack([crop for photo in _photographs(CALIBRATED) for crop in crops(photo)])


def crops(photo: Photo, side: int = efficientnet_lite.SIDE) -> Iterator[Photo]:
    """The mirrored central square, and squares of three quarters of it in the middle and in the photograph's corners,
    plain and mirrored; 11, scaled to `side`."""
    whole = min(photo.shape[:2])
    yield _scaled(_square(photo, whole, 0.5, 0.5)[:, ::-1], side)
    for down, right in _CORNERS:
        crop = _scaled(_square(photo, int(whole * _CROP), down, right), side)
        yield from (crop, crop[:, ::-1])


def _square(photo: Photo, size: int, down: float, right: float) -> Photo:
    top, left = (int((length - size) * share) for length, share in zip(photo.shape[:2], (down, right), strict=True))
    return photo[top : top + size, left : left + size]


def _scaled(square: Photo, side: int) -> Photo:
    import tensorflow as tf

    scaled: Photo = tf.image.resize(square, (side, side)).numpy().round().astype(np.uint8)
    return scaled


def _foolbox() -> Iterator[tuple[str, Photo]]:
    with zipfile.ZipFile(fetched(FOOLBOX)) as wheel:
        for member in sorted(wheel.namelist()):
            if member.startswith("foolbox/data/imagenet_"):
                yield member, _decoded(wheel.read(member))


def _photographs(members: Mapping[Wheel, Sequence[str]]) -> Iterator[Photo]:
    for package, names in members.items():
        with zipfile.ZipFile(fetched(package)) as wheel:
            yield from (_decoded(wheel.read(name)) for name in names)


def _decoded(content: bytes) -> Photo:
    import tensorflow as tf

    photo: Any = tf.io.decode_image(content, channels=3, expand_animations=False)
    decoded: Photo = photo.numpy()
    return decoded


def recognised(path: Path) -> int:
    """How many of the 20 ImageNet photographs the EfficientNet-Lite0 at `path` names right; 19 when the port is."""
    import tensorflow as tf

    images, labels = imagenet_samples()
    image = tf.constant(efficientnet_lite.as_input(images))
    logits = tf.saved_model.load(str(path)).signatures["serving_default"](image=image)["logits"]
    return int((logits.numpy().argmax(-1) == labels).sum())
