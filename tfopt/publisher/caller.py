"""The surroundings in which the publisher was called, for a while, in the process that runs the model.

A model is tried in the bare surroundings of a server. Samples are read in the caller's: a function that makes them is
the caller's own, and finds its files and settings as it does with `tfopt compress`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "TFOPT_CALLERS_"


def handed_over(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables under names that mean nothing to anybody else."""
    return {f"{_PREFIX}{name}": value for name, value in environment.items()}


@contextmanager
def as_the_caller(directory: str) -> Iterator[None]:
    """In this directory, and with the environment variables that were handed over."""
    place, environment = Path.cwd(), dict(os.environ)
    given = {name.removeprefix(_PREFIX): text for name, text in environment.items() if name.startswith(_PREFIX)}
    os.chdir(directory)
    os.environ.update(given)
    try:
        yield
    finally:
        os.chdir(place)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
