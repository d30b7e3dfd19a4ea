"""Load time and memory, in real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.measure import artifacts
from tfopt.errors import ExecutionError, InvalidModel, NotFound
from tfopt.measure.footprint import drop_from_cache, measure_cold, measure_footprint

Built = Callable[[Callable[[Path], Path]], Path]
X = {"x": np.ones((1, 3), np.float32)}

linux = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")


@linux
def test_litert_costs_less_than_tensorflow(built: Built) -> None:
    heavy = measure_footprint(built(models.linear), "saved_model", "serving_default", X, threads=1)
    light = measure_footprint(built(artifacts.linear_tflite), "tflite", "serving_default", X, threads=1)
    for footprint in (heavy, light):
        assert 0 < footprint.load_seconds < footprint.answer_seconds
        assert footprint.import_seconds > 0
        assert footprint.imported_bytes is not None
        assert footprint.peak_bytes is not None
        assert 0 < footprint.imported_bytes < footprint.peak_bytes * 1.01
    assert heavy.peak_bytes is not None
    assert light.peak_bytes is not None
    assert light.peak_bytes < heavy.peak_bytes / 2, "the process of a .tflite file imports no TensorFlow"


@linux
def test_steady_memory_is_what_loading_and_running_left(built: Built) -> None:
    footprint = measure_footprint(built(artifacts.linear_tflite), "tflite", "serving_default", X, threads=1)
    assert footprint.steady_bytes is not None
    assert footprint.imported_bytes is not None
    assert footprint.peak_bytes is not None
    assert footprint.imported_bytes <= footprint.steady_bytes <= footprint.peak_bytes * 1.01


@linux
def test_a_cold_load_reads_the_disk_or_says_nothing(built: Built) -> None:
    """Temporary directories may lie in memory, where nothing is ever cold."""
    path = built(artifacts.classifier_tflite)
    size = path.stat().st_size
    assert drop_from_cache(path) == size
    cold = measure_cold(path, "tflite", "serving_default", {"image": artifacts.images(1)["image"]}, threads=1)
    if cold is not None:
        assert cold.read_bytes >= 0.9 * size
        assert 0 < cold.load_seconds < cold.answer_seconds


def test_words_travel_to_the_other_process(built: Built) -> None:
    inputs = {"words": np.array([b"fox", b"\xff\x00odd\x00"], object)}
    assert (
        measure_footprint(built(models.table), "saved_model", "serving_default", inputs, threads=1).answer_seconds > 0
    )


def test_errors_of_the_other_process_are_the_same_here(built: Built, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(InvalidModel, match=r"broken\.tflite: LiteRT cannot load"):
        measure_footprint(broken, "tflite", "serving_default", X, threads=1)
    with pytest.raises(NotFound, match="absent"):
        measure_footprint(built(artifacts.linear_tflite), "tflite", "absent", X, threads=1)


def test_an_unforeseen_error_shows_its_last_line(built: Built) -> None:
    with pytest.raises(ExecutionError, match=r"exit code 1: KeyError: 'abacus'"):
        measure_footprint(built(artifacts.linear_tflite), "abacus", "serving_default", X, threads=1)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds its child in /proc")
def test_a_process_that_is_killed_is_told(built: Built) -> None:
    ours = Path("/proc/self/task").resolve()
    before = children(ours)
    stopped = threading.Event()

    def kill_the_new_one() -> None:
        while not stopped.is_set():
            for pid in children(ours) - before:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_the_new_one)
    killer.start()
    try:
        with pytest.raises(ExecutionError, match="was killed by SIGKILL"):
            measure_footprint(built(artifacts.linear_tflite), "tflite", "serving_default", X, threads=1)
    finally:
        stopped.set()
        killer.join()


def children(tasks: Path) -> set[int]:
    return {int(pid) for file in tasks.glob("*/children") for pid in file.read_text().split()}
