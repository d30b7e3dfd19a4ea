"""Mark: what this TensorFlow writes, an older one runs with the same answers. Who serves is rarely who compresses.

    python -m benchmarks.older_tensorflow [--tensorflow VERSION] [MODEL ...]

Makes a virtual environment with the older wheel in .cache (about 1 GB, once). Both load the artifact as TensorFlow
Serving's session does, and each runs the same examples; the original runs in the older one too where that can.
TensorFlow Serving itself is not run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

import tfopt
from benchmarks.environments import environment
from benchmarks.models import MODELS
from benchmarks.report import print_table
from benchmarks.samples import samples_of
from tfopt.errors import NotFound, TfoptError
from tfopt.fidelity import compare
from tfopt.runtimes.load import open_artifact

#: The oldest that has a wheel for this Python, of those that are served with today.
OLDEST: Final = {(3, 10): "2.12.1", (3, 11): "2.12.1", (3, 12): "2.16.2", (3, 13): "2.20.0"}
NUMPY: Final = {"2.12.1": "numpy<1.24", "2.16.2": "numpy<2"}
EXAMPLES: Final = 4
RUNNER: Final = Path(__file__).with_name("v1_runner.py")


def main(names: list[str] | None = None, version: str | None = None) -> None:
    version = version or OLDEST[sys.version_info[:2]]
    python = older(version)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for model in MODELS:
            if not names or model.__name__ in names:
                rows.append(_row(model.__name__, model(), python, Path(directory)))
    headings = ["model", f"largest difference under TensorFlow {version}", "original under it"]
    print_table(f"Exact artifacts under TensorFlow {version}", headings, rows)


def older(version: str) -> Path:
    """The Python that has it. Raises NotFound when pip cannot install it."""
    return environment(f"tensorflow-{version}", [f"tensorflow-cpu=={version}", NUMPY.get(version, "numpy")])


def _row(name: str, model: Path, python: Path, directory: Path) -> list[str]:
    examples = samples_of(name, model, EXAMPLES)
    np.savez(directory / f"{name}.npz", **examples)
    exact = tfopt.compress(model, directory / name, recipe="exact", data=directory / f"{name}.npz").path
    with open_artifact(exact) as runtime:
        signature = next(iter(runtime.signatures))
        expected = runtime.run(signature, examples)
    older = run_older(python, exact, signature, directory / f"{name}.npz")
    difference = max(output.max_rel or 0.0 for output in compare(expected, older).values())
    try:
        run_older(python, model, signature, directory / f"{name}.npz")
        original = "runs"
    except TfoptError:
        original = "does not run"
    return [name, f"{difference:.1e}", original]


def run_older(python: Path, model: Path, signature: str, inputs: Path) -> dict[str, np.ndarray]:
    """The outputs of a SavedModel in another environment. Raises NotFound with its last words when it does not run."""
    outputs = inputs.with_name(f"outputs-{inputs.name}")
    command = [str(python), str(RUNNER), str(model), signature, str(inputs), str(outputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotFound(done.stderr.strip().rpartition("\n")[2], where=str(model))
    with np.load(outputs) as arrays:
        return dict(arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(model.__name__ for model in MODELS))
    parser.add_argument("--tensorflow", metavar="VERSION")
    arguments = parser.parse_args()
    main(arguments.models, arguments.tensorflow)
