"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
