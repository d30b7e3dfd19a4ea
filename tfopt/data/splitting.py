"""Calibration samples and held-out samples: never the same example on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data.samples import Samples
from tfopt.errors import InvalidSamples
from tfopt.words import counted


@dataclass(frozen=True, eq=False)
class Split:
    """Two sides of one set of samples. The indices are those of the examples in it, ascending.

    `record` is what a manifest keeps: seed, share, source, counts, `data` (SHA-256 over all examples),
    `calibration_indices` and `held_out_indices` (SHA-256 over little-endian int64).
    """

    calibration: Samples
    held_out: Samples
    calibration_indices: NDArray[np.int64]
    held_out_indices: NDArray[np.int64]
    record: Mapping[str, Any]


def split(samples: Samples, *, seed: int = 0, held_out: float = 0.5) -> Split:
    """Hold out a share of the samples, 0 < `held_out` < 1.

    Equal examples fall on one side, so that nothing is judged on what it was calibrated with. Which side an
    example falls on depends on its content and the seed alone, not on its place in the file. Where the model fixes
    the batch, its blocks of consecutive examples stay together and a last block that is not full is dropped.

    Raises InvalidSamples when there are no two different examples.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is a share between 0 and 1, not {held_out}")
    block = samples.batching.block
    digests = [_digest(samples, start, block) for start in range(0, samples.count - samples.count % block, block)]
    sides = _sides(_groups(digests, seed), len(digests), held_out)
    if not samples.arrays:  # a signature without inputs has one answer: nothing can be calibrated, all can be judged
        sides = [0], [0]
    if sides is None:
        raise _indivisible(samples, len(digests), block)
    calibration, held = (_indices(blocks, block) for blocks in sides)
    record = {
        "seed": seed,
        "held_out_share": held_out,
        "source": samples.source,
        "description": samples.description,
        "count": samples.count,
        "distinct": len(set(digests)),
        "dropped": samples.count % block,
        "calibration": len(calibration),
        "held_out": len(held),
        "data": hashlib.sha256(b"".join(digests)).hexdigest(),
        "calibration_indices": _indices_digest(calibration),
        "held_out_indices": _indices_digest(held),
    }
    return Split(samples.take(calibration), samples.take(held), calibration, held, record)


def _digest(samples: Samples, start: int, block: int) -> bytes:
    total = hashlib.sha256()
    for name in sorted(samples.arrays):
        rows = samples.arrays[name][start : start + block]
        total.update(f"{name}:{rows.dtype}:{rows.shape}:".encode())
        if rows.dtype.kind == "O":
            for item in rows.flat:
                total.update(f"{len(item)}:".encode() + item)
        else:
            total.update(np.ascontiguousarray(rows).tobytes())
    return total.digest()


def _groups(digests: list[bytes], seed: int) -> list[list[int]]:
    """Places of equal blocks; the largest group first, the rest in an order that the seed draws."""
    places: dict[bytes, list[int]] = {}
    for place, digest in enumerate(digests):
        places.setdefault(digest, []).append(place)
    drawn = sorted(places, key=lambda digest: hashlib.sha256(f"{seed}:".encode() + digest).digest())
    return sorted((places[digest] for digest in drawn), key=len, reverse=True)


def _sides(groups: list[list[int]], total: int, share: float) -> tuple[list[int], list[int]] | None:
    """Give each group to the side that lacks most; the first two go one to each."""
    if len(groups) < 2:
        return None
    want = max(1, min(total - 1, round(total * share)))
    lacking = [total - want, want]
    larger = lacking.index(max(lacking))
    sides: tuple[list[int], list[int]] = ([], [])
    for number, group in enumerate(groups):
        side = (larger, 1 - larger)[number] if number < 2 else lacking.index(max(lacking))
        sides[side].extend(group)
        lacking[side] -= len(group)
    return sides


def _indices(blocks: list[int], block: int) -> NDArray[np.int64]:
    starts = np.sort(np.asarray(blocks, np.int64)) * block
    return (starts[:, None] + np.arange(block)).ravel()


def _indices_digest(indices: NDArray[np.int64]) -> str:
    return hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()


def _indivisible(samples: Samples, blocks: int, block: int) -> InvalidSamples:
    if blocks > 1:
        return InvalidSamples(
            f"all {samples.count} samples are equal, nothing can be held out", hint="give at least two different ones"
        )
    needed = f"{2 * block} samples, the model takes batches of exactly {block}" if block > 1 else "two samples"
    return InvalidSamples(
        f"{counted(samples.count, 'sample')} cannot be split into calibration and held-out ones",
        hint=f"give at least {needed}",
    )
