"""One model in every form, its makers' and tfopt's. Needs the wheel that the benchmarks fetch."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import targets
from benchmarks.cached import fetched
from benchmarks.models import BASIC_PITCH, basic_pitch
from tfopt.errors import NotFound


def test_every_form_of_basic_pitch_gives_the_same_answers(tmp_path: Path) -> None:
    try:
        # The makers' other files are in the wheel alone; the model may be cached without it.
        fetched(BASIC_PITCH)
        basic_pitch()
    except NotFound as error:
        pytest.skip(f"offline, 1 model of 1 is not there: {error}")
    found = dict(targets.conformance(tmp_path))
    assert found.keys() == {
        "its makers' .onnx",
        "its makers' .tflite",
        "tfopt's SavedModel",
        "tfopt's .tflite",
        "tfopt's .onnx",
    }
    assert max(found.values()) <= targets.LARGEST_DIFFERENCE, found
