"""Batches of samples for training, each drawn by its number alone, so that a training that is taken up again gets the
same ones; made beside the training, one ahead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples

Arrays = dict[str, NDArray[Any]]
#: Images are moved by up to this share of their height and width.
_REACH: Final = 1 / 14
_MOST_CHANNELS: Final = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs` of one call, and the `places` of its examples among the samples."""

    inputs: Arrays
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Feed:
    """Which examples make up batch number `n`: each pass over the samples has an order of its own."""

    samples: Samples
    size: int
    seed: int
    moved: bool = False
    mixed: bool = False

    @property
    def alters(self) -> bool:
        """Are the examples others than the samples?"""
        return self.moved or self.mixed

    def batch(self, number: int) -> Batch:
        places = self._places(number)
        inputs = rows(self.samples, places)
        if self.alters:
            rng = np.random.default_rng([self.seed, 1, number])
            if self.moved:
                inputs = {name: moved(array, rng) if is_image(array) else array for name, array in inputs.items()}
            if self.mixed:
                inputs = mixed(inputs, rng)
        return Batch(inputs, places)

    def _places(self, number: int) -> NDArray[np.int64]:
        count, start = self.samples.count, number * self.size
        drawn: list[NDArray[np.int64]] = []
        while sum(map(len, drawn)) < self.size:
            at = start + sum(map(len, drawn))
            drawn.append(_order(self.seed, at // count, count)[at % count :][: self.size - sum(map(len, drawn))])
        return np.concatenate(drawn)

    @contextmanager
    def ahead(self, first: int) -> Iterator[Iterator[Batch]]:
        """Batches from number `first` on, without end."""
        with ThreadPoolExecutor(1) as pool:
            yield self._ahead(pool, first)

    def _ahead(self, pool: ThreadPoolExecutor, first: int) -> Iterator[Batch]:
        made: Future[Batch] = pool.submit(self.batch, first)
        while True:
            batch = made.result()
            first += 1
            made = pool.submit(self.batch, first)
            yield batch


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 0, turn]).permutation(count)


def batch_size(samples: Samples, wanted: int) -> int:
    """How many examples a call takes."""
    return 1 if samples.batching.whole else samples.batching.size or min(wanted, samples.count)


def rows(samples: Samples, places: NDArray[np.int64]) -> Arrays:
    """The inputs of one call of these examples."""
    whole = samples.batching.whole
    found = {name: np.asarray(array[places]) for name, array in samples.arrays.items()}
    return {name: array.reshape(array.shape[1:]) if name in whole else array for name, array in found.items()}


def is_image(array: NDArray[Any]) -> bool:
    """float [n, height, width, 1 to 4 channels]."""
    return array.dtype.kind == "f" and array.ndim == 4 and array.shape[-1] <= _MOST_CHANNELS < min(array.shape[1:3])


def moved(images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Each image shifted both ways, its edge repeated, and every second one mirrored."""
    count, height, width = images.shape[:3]
    reach = max(1, round(height * _REACH)), max(1, round(width * _REACH))
    down = rng.integers(-reach[0], reach[0] + 1, count)
    right = rng.integers(-reach[1], reach[1] + 1, count)
    mirrored = rng.random(count) < 0.5
    below = np.clip(np.arange(height) + down[:, None], 0, height - 1)
    beside = np.clip(np.arange(width) + right[:, None], 0, width - 1)
    beside[mirrored] = beside[mirrored, ::-1]
    return np.asarray(images[np.arange(count)[:, None, None], below[:, :, None], beside[:, None, :]])


def mixed(inputs: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> Arrays:
    """Half of the examples become sums of themselves and others. Source: Zhang et al. 2018, arXiv:1710.09412; the
    teacher says what such a sum is."""
    count = next(len(array) for array in inputs.values())
    other = rng.permutation(count)
    share = np.where(rng.random(count) < 0.5, rng.uniform(0.0, 0.5, count), 0.0)

    def mix(array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype.kind != "f":
            return array
        weight = share.reshape(-1, *[1] * (array.ndim - 1)).astype(array.dtype)
        return np.asarray(array + weight * (array[other] - array))

    return {name: mix(array) for name, array in inputs.items()}


def altered(samples: Samples, augment: Literal["auto", "none", "images", "mixup", "all"]) -> tuple[bool, bool]:
    """Are examples moved, and are they mixed? `auto` moves images; nothing is done to integers and strings."""
    batched = [array for name, array in samples.arrays.items() if name not in samples.batching.whole]
    images = any(is_image(np.asarray(array[:1])) for array in batched)
    mixable = bool(batched) and all(np.asarray(array[:1]).dtype.kind == "f" for array in batched)
    return images and augment in ("auto", "images", "all"), mixable and augment in ("mixup", "all")
