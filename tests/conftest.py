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

# Tests import TensorFlow before tfopt can ask it to be quiet, and some read what is written to stderr.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Started in the background, as CI does, a shell has Ctrl-C ignored, and so would the programs that are tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Builder = Callable[[Path], Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Builder], Path]:
    """`built(models.linear)` is the directory of that SavedModel, exported once per session. Do not change it."""
    done: dict[Builder, Path] = {}

    def build(builder: Builder) -> Path:
        if builder not in done:
            done[builder] = builder(tmp_path_factory.mktemp("models") / builder.__name__)
        return done[builder]

    return build
