"""The requests that a model brings with it, as samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.kinds import IMAGE, TWO, images, kind
from tfopt.data import warmup_samples
from tfopt.errors import InvalidModel, InvalidSamples
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, write_warmup
from tfopt.ir.types import DType


def model_with(tmp_path: Path, *requests: WarmupRequest) -> Path:
    write_warmup(tmp_path / WARMUP_PATH, requests)
    return tmp_path


def request(signature: str = "serve", **inputs: np.ndarray) -> WarmupRequest:
    return WarmupRequest("m", signature, inputs)


def test_warmup_requests_are_joined(tmp_path: Path) -> None:
    ids = np.array([5, 6], np.int32)
    path = model_with(
        tmp_path, request(image=images(2), ids=ids), request("other", z=ids), request(image=images(1), ids=ids[:1])
    )
    samples = warmup_samples(path, "serve", TWO)
    assert samples is not None
    assert (samples.count, samples.source) == (3, "warmup")
    assert samples.arrays["ids"].tolist() == [5, 6, 5]
    assert "2 of the model's 2 warmup requests" in samples.description
    assert warmup_samples(path, "unknown", TWO) is None
    assert warmup_samples(tmp_path / "elsewhere", "serve", TWO) is None


def test_warmup_requests_of_another_shape_are_left_out(tmp_path: Path) -> None:
    inputs = {"ids": kind(DType.INT32, None, None)}
    lengths = [request(ids=np.zeros((1, n), np.int32)) for n in (4, 7, 7)]
    samples = warmup_samples(model_with(tmp_path, *lengths), "serve", inputs)
    assert samples is not None
    assert samples.arrays["ids"].shape == (2, 7)
    assert "2 of the model's 3" in samples.description


def test_a_whole_input_is_repeated_for_every_example(tmp_path: Path) -> None:
    inputs = {"image": IMAGE, "rate": kind(DType.FLOAT32)}
    path = model_with(tmp_path, request(image=images(2), rate=np.float32(0.5) * np.ones((), np.float32)))
    samples = warmup_samples(path, "serve", inputs)
    assert samples is not None
    assert samples.arrays["rate"].tolist() == [0.5, 0.5]


def test_warmup_requests_that_do_not_fit(tmp_path: Path) -> None:
    path = model_with(tmp_path, request(imag=images()))
    with pytest.raises(InvalidSamples, match="did you mean image"):
        warmup_samples(path, "serve", {"image": IMAGE})
    (path / WARMUP_PATH).write_bytes(b"no records")
    with pytest.raises(InvalidModel, match="record 1"):
        warmup_samples(path, "serve", {"image": IMAGE})
