"""Images to arrays: size, colours, scale and layout as the model takes them.

What the model's input says is taken from it: height, width, channels, and whether these come first or last. What no
model says, how bytes become numbers, has to be given for a float input.

- `range=LOW..HIGH`: what 0 and 255 become, such as `0..1`, `-1..1`, `0..255`;
- `mean=R/G/B`, `std=R/G/B`: then subtracted and divided by, per channel or one for all;
- `size=HEIGHTxWIDTH`: where the model takes any;
- `resize=stretch|crop|pad`: how another aspect ratio is met; `crop` keeps the centre, `pad` adds black. Bilinear, over
  the whole area of what a pixel covers;
- `colors=rgb|bgr|grey`, `layout=nhwc|nchw`: where the input does not tell.

Orientation marks (EXIF) are ignored, as TensorFlow's own decoders do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidSamples, MissingExtra
from tfopt.formats.numpy_types import array_dtype
from tfopt.ir.types import DType, TensorType

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
IMAGE_OPTIONS = ("range", "mean", "std", "size", "resize", "colors", "layout")

_INTEGERS = (DType.UINT8, DType.INT16, DType.UINT16, DType.INT32, DType.INT64)
_CHANNELS = (1, 3, 4)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"RIFF")


@dataclass(frozen=True, slots=True)
class ImageReader:
    """How one input of a model takes images."""

    size: tuple[int, int]
    channels: int
    channels_first: bool
    resize: str
    bgr: bool
    dtype: DType
    low: float
    high: float
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def read(self, file: BinaryIO | Path | bytes, where: str) -> NDArray[Any]:
        """One image as the model takes it, without a batch axis. Raises InvalidSamples for what is no image."""
        pixels = self._pixels(_open(BytesIO(file) if isinstance(file, bytes) else file, where), where)
        if self.bgr:
            pixels = pixels[..., ::-1]
        values: NDArray[Any] = pixels
        if self.dtype.is_floating:
            scaled = self.low + pixels * ((self.high - self.low) / 255)
            values = ((scaled - self.mean) / self.std).astype(array_dtype(self.dtype))
        elif self.dtype is not DType.UINT8:
            values = pixels.astype(array_dtype(self.dtype))
        return np.ascontiguousarray(values.transpose(2, 0, 1) if self.channels_first else values)

    def _pixels(self, image: Image, where: str) -> NDArray[np.uint8]:
        try:
            fitted = _resized(image.convert(_MODES[self.channels]), self.size, self.resize)
        except (OSError, ValueError, SyntaxError) as error:
            raise InvalidSamples(f"the image is damaged: {error}", where=where) from error
        height, width = self.size
        return np.asarray(fitted, np.uint8).reshape(height, width, self.channels)


def image_reader(name: str, kind: TensorType, options: Mapping[str, str], where: str) -> ImageReader:
    """How the input `name` takes images. Raises InvalidSamples when it takes none, or does not say enough."""
    dims = kind.shape.dims
    if dims is None or len(dims) != 4 or not (kind.dtype.is_floating or kind.dtype in _INTEGERS):
        hint = "images go into an input of 4 dimensions, batch first"
        raise InvalidSamples(f"input {name!r} is {kind}, which takes no images", where=where, hint=hint)
    first, channels = _layout(dims, options, where)
    low, high = _range(kind.dtype, options, where)
    if kind.dtype is not DType.UINT8 and not kind.dtype.is_floating and (low, high) != (0, 255):
        raise InvalidSamples(f"input {name!r} is {kind.dtype}: pixels go in as 0..255", where=where)
    return ImageReader(
        size=_size(dims[2:] if first else dims[1:3], options, where),
        channels=channels,
        channels_first=first,
        resize=_choice("resize", ("stretch", "crop", "pad"), options, where),
        bgr=_blue_first(channels, options, where),
        dtype=kind.dtype,
        low=low,
        high=high,
        mean=_per_channel("mean", 0.0, channels, kind.dtype, options, where),
        std=_per_channel("std", 1.0, channels, kind.dtype, options, where),
    )


def is_encoded_image(content: bytes) -> bool:
    return content.startswith(_MAGIC)


def _open(file: BinaryIO | Path, where: str) -> Image:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtra.of("pillow", "images", "reading images") from error
    try:
        return Image.open(file)
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InvalidSamples(f"is no image that can be read: {error}", where=where) from error
    except OSError as error:
        raise InvalidSamples(f"cannot be read: {error.strerror or error}", where=where) from error


def _resized(image: Image, size: tuple[int, int], how: str) -> Image:
    from PIL import Image, ImageOps

    wanted = (size[1], size[0])  # Pillow says width first
    bilinear = Image.Resampling.BILINEAR
    if image.size == wanted:
        return image
    if how == "crop":
        return ImageOps.fit(image, wanted, bilinear)
    if how == "pad":
        return ImageOps.pad(image, wanted, bilinear)
    return image.resize(wanted, bilinear)


def _layout(dims: tuple[int | None, ...], options: Mapping[str, str], where: str) -> tuple[bool, int]:
    """Are channels first, and how many there are."""
    layout = _choice("layout", ("", "nhwc", "nchw"), options, where)
    if not layout:
        known = [name for name, axis in (("nhwc", 3), ("nchw", 1)) if dims[axis] in _CHANNELS]
        if not known:
            what = f"an input of {list(dims)} has no axis of 1, 3 or 4 channels"
            raise InvalidSamples(what, where=where, hint="say which it is: layout=nhwc or layout=nchw")
        layout = known[0]
    channels = dims[1 if layout == "nchw" else 3]
    if channels is None:
        channels = 1 if options.get("colors") == "grey" else 3
    if channels not in _CHANNELS:
        raise InvalidSamples(f"an image has 1, 3 or 4 channels, the input has {channels}", where=where)
    return layout == "nchw", channels


def _size(dims: tuple[int | None, ...], options: Mapping[str, str], where: str) -> tuple[int, int]:
    height, times, width = options.get("size", "").partition("x")
    if "size" in options:
        if not (times and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
            raise InvalidSamples(f"size={options['size']}: not HEIGHTxWIDTH", where=where)
        given = (int(height), int(width))
        if any(dim not in (None, size) for dim, size in zip(dims, given, strict=True)):
            raise InvalidSamples(f"size={options['size']}, but the input takes {dims[0]}x{dims[1]}", where=where)
        return given
    if dims[0] is None or dims[1] is None:
        raise InvalidSamples("the model takes images of any size", where=where, hint="say which: size=224x224")
    return dims[0], dims[1]


def _range(dtype: DType, options: Mapping[str, str], where: str) -> tuple[float, float]:
    text = options.get("range")
    if text is None:
        if not dtype.is_floating:
            return 0.0, 255.0
        hint = "range=0..1, range=-1..1 or range=0..255, as in training"
        raise InvalidSamples(
            f"pixels are bytes and the input is {dtype}: their scale has to be given", where=where, hint=hint
        )
    low, dots, high = text.partition("..")
    try:
        found = float(low), float(high)
    except ValueError:
        dots = ""
    if not dots or not np.isfinite(found).all() or found[0] == found[1]:
        raise InvalidSamples(f"range={text}: not LOW..HIGH", where=where)
    return found


def _blue_first(channels: int, options: Mapping[str, str], where: str) -> bool:
    colors = _choice("colors", ("", "rgb", "bgr", "grey"), options, where)
    if colors and (colors == "grey") != (channels == 1):
        raise InvalidSamples(f"colors={colors}, but the input has {channels} channels", where=where)
    return colors == "bgr"


def _per_channel(
    name: str, neutral: float, channels: int, dtype: DType, options: Mapping[str, str], where: str
) -> NDArray[np.float64]:
    text = options.get(name)
    if text is None:
        return np.full(channels, neutral)
    try:
        numbers = np.array([float(part) for part in text.split("/")])
    except ValueError as error:
        raise InvalidSamples(f"{name}={text}: not numbers with / between them", where=where) from error
    if numbers.size not in (1, channels) or not np.isfinite(numbers).all() or (name == "std" and not numbers.all()):
        raise InvalidSamples(f"{name}={text}: not one number for each of {channels} channels", where=where)
    if not dtype.is_floating:
        raise InvalidSamples(f"{name} goes with a float input, this one is {dtype}", where=where)
    return np.broadcast_to(numbers, (channels,))


def _choice(name: str, choices: tuple[str, ...], options: Mapping[str, str], where: str) -> str:
    value = options.get(name, choices[0])
    if value not in choices:
        raise InvalidSamples(f"{name}={value}: one of {', '.join(filter(None, choices))}", where=where)
    return value
