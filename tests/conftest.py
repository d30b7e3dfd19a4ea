"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# What is true does not depend on how busy the machine is.
settings.register_profile("tfopt", deadline=None)
settings.load_profile("tfopt")

# As many workers run as there are processors, where numpy's threads would wait for each other by spinning. Told before
# anything imports numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Tests import TensorFlow before tfopt can ask it to be quiet, and some read what is written to stderr.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Started in the background, as CI does, a shell has Ctrl-C ignored, and so would the programs that are tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Builder = Callable[[Path], Path]

#: Files that take longest: they begin first, so that no worker is left alone with one of them in the end.
LONGEST = (
    "tests/test_demo.py",
    "tests/keras/test_training.py",
    "tests/test_zoo.py",
    "tests/targets/test_tflite.py",
    "tests/cli/test_compress.py",
    "tests/test_machines.py",
    "tests/measure/test_server_bench.py",
    "tests/test_integer_edges.py",
    "tests/cli/test_compress_failures.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gone = [name for name in LONGEST if not (Path(__file__).parents[1] / name).is_file()]
    if gone:
        raise pytest.UsageError(f"LONGEST names files that are not there: {', '.join(gone)}")
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Builder], Path]:
    """`built(models.linear)` is the directory of that SavedModel, exported once per session. Do not change it."""
    done: dict[Builder, Path] = {}

    def build(builder: Builder) -> Path:
        if builder not in done:
            done[builder] = builder(tmp_path_factory.mktemp("models") / builder.__name__)
        return done[builder]

    return build
