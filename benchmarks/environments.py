"""Virtual environments of their own in .cache, for what cannot stand beside the project's packages."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cached import CACHE
from tfopt.errors import NotFound


def environment(name: str, wheels: Sequence[str]) -> Path:
    """The Python of the virtual environment of that name, made once. Raises NotFound when pip cannot install it."""
    place = CACHE / f"{name}-py{sys.version_info[0]}{sys.version_info[1]}"
    python = place / "bin" / "python"
    if not (place / "installed").exists():
        venv.create(place, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wheels]
        if subprocess.run(pip, check=False).returncode:
            raise NotFound("pip cannot install it", where=" ".join(wheels), hint="see above")
        (place / "installed").touch()
    return python
