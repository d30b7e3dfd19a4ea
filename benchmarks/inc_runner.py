"""Runs in an environment with Neural Compressor, without this project: MODEL SAMPLES.npz OUT."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from neural_compressor.tensorflow import StaticQuantConfig, quantize_model


class Examples:
    """One example a batch, with a label that nobody looks at. A model of one input is given the array itself."""

    batch_size = 1

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self.arrays = dict(arrays)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for at in range(len(self)):
            rows = {name: array[at : at + 1] for name, array in self.arrays.items()}
            yield (rows if len(rows) > 1 else next(iter(rows.values()))), np.zeros(1)


def main(model: str, samples: str, out: str) -> None:
    examples = Examples(samples)
    made = quantize_model(model, StaticQuantConfig(), calib_dataloader=examples, calib_iteration=len(examples))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    made.save(out)


if __name__ == "__main__":
    main(*sys.argv[1:4])
