"""An engine for tests of what surrounds engines: a "model" is a file that holds a number, and it multiplies by it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import ExecutionError, InvalidModel
from tfopt.ir import DType, Shape, TensorType
from tfopt.runtimes.base import Closing, SignatureInfo, TensorInfo


class Multiplier(Closing):
    """`gate`, when given, is what every run waits for. Counts what is open, to find leaks."""

    kind = "tflite"
    alive: set[Multiplier] = set()  # noqa: RUF012 - shared on purpose

    def __init__(self, factor: float, gate: threading.Event | None = None) -> None:
        info = TensorInfo("x:0", TensorType(DType.FLOAT64, Shape.of(None)))
        self.signatures = {"serving_default": SignatureInfo({"x": info}, {"y": info})}
        self._factor = factor
        self._gate = gate
        self._closed = False
        self.alive.add(self)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        if self._closed:
            raise ExecutionError("the model has been closed")
        if self._gate is not None:
            self._gate.wait(10)
        if self._closed:
            raise ExecutionError("the model has been closed under the request")
        return {"y": inputs["x"] * self._factor}

    def close(self) -> None:
        self._closed = True
        self.alive.discard(self)


def load_multiplier(path: Path) -> Multiplier:
    text = (path / "model.tflite").read_text()
    try:
        return Multiplier(float(text))
    except ValueError as error:
        raise InvalidModel(f"{text!r} is no number", where=str(path)) from error


def write_multiplier(directory: Path, factor: object) -> Path:
    directory.mkdir(parents=True)
    (directory / "model.tflite").write_text(str(factor))
    return directory


def ones(count: int = 1) -> dict[str, NDArray[Any]]:
    return {"x": np.ones(count)}
