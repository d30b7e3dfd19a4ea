"""The tour: every command a reader would type, run for real on the bundled model."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfopt.errors import OutputExists, ServerUnavailable, TfoptError
from tfopt.store.disk import writing

BUNDLE = Path(__file__).parent
#: Marks a directory as a tour's own, so that no other directory is ever replaced.
MARKER = ".tfopt-demo"
START_TIMEOUT_SECONDS = 60


class StepFailed(TfoptError):
    """A command of the tour failed; its own message stands above."""


def run_tour(directory: Path, *, echo: bool = True, seconds: float = 1.0) -> list[dict[str, Any]]:
    """Run the tour in `directory` and give each step's command and JSON result. `seconds` is how long each artifact is
    timed at each batch size.

    Raises OutputExists for a directory that is not a tour's, StepFailed when a command fails.
    """
    _prepare(directory)
    tour = _Tour(directory, echo)
    data = ["--data", "samples.npz"]
    tour.say("The bundled model: a residual CNN with batch norm, trained on Fashion-MNIST.")
    tour.run("inspect", "fashion_cnn")
    tour.say("Make it smaller: exact rewrites, then int8, refused if it costs more than half a point of accuracy.")
    quality = ["--labels", "labels.npy", "--max-drop", "0.5"]
    tour.run("compress", "fashion_cnn", "small", "--quantize", "int8", *data, *quality)
    tour.say("Time the original against the rewritten SavedModel and the int8 TFLite file.")
    tour.run(
        "bench",
        "fashion_cnn",
        "small",
        *data,
        "--batch-size",
        "1",
        "--batch-size",
        "8",
        "--seconds",
        f"{seconds:g}",
        "--processes",
        "3",
    )
    tour.say("Publish both as versions of one model.")
    tour.run("publish", "fashion_cnn", "models/fashion", *data)
    tour.run("publish", "small", "models/fashion", *data)
    tour.say("Serve the newest version (no TensorFlow is imported for TFLite), ask it, roll back, ask again.")
    with tour.server("serve", "models/fashion", "--port", "0", "--poll-interval", "0.2") as url:
        ask = ["predict", url, "fashion", "--data", "one.npz", "--top", "3"]
        tour.run(*ask)
        tour.run("versions", "rollback", "models/fashion")
        _wait_for_version(url, 1)
        tour.run(*ask)
    tour.run("versions", "list", "models/fashion")
    tour.say(f"All of it is in {directory}; to repeat a command there, remove what it wrote first.")
    return tour.steps


def _prepare(directory: Path) -> None:
    """A fresh directory with copies of the bundled files under short names."""
    import numpy as np

    taken = directory.exists() and not (directory / MARKER).exists()
    if taken or directory.is_symlink():
        raise OutputExists("is there already and is no tour's", where=str(directory), hint="name another directory")
    with writing(directory):
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        (directory / MARKER).touch()
        shutil.copytree(BUNDLE / "fashion_cnn", directory / "fashion_cnn")
        shutil.copy(BUNDLE / "fashion_mnist.npz", directory / "samples.npz")
        shutil.copy(BUNDLE / "fashion_mnist_labels.npy", directory / "labels.npy")
        with np.load(directory / "samples.npz") as samples:
            np.savez(directory / "one.npz", **{name: samples[name][:3] for name in samples.files})


class _Tour:
    """Runs commands in the tour's directory, shows them, keeps their JSON results."""

    def __init__(self, directory: Path, echo: bool) -> None:
        self.directory = directory
        self.echo = echo
        self.steps: list[dict[str, Any]] = []
        if echo:
            print(f"$ cd {shlex.quote(str(directory))}")

    def say(self, text: str) -> None:
        if self.echo:
            print(f"\n# {text}", flush=True)

    def run(self, *arguments: str) -> None:
        self._show(arguments)
        command = [*_program(), *arguments, *([] if self.echo else ["--json"])]
        started = time.monotonic()
        capture = None if self.echo else subprocess.PIPE
        done = subprocess.run(command, cwd=self.directory, check=False, stdout=capture, text=True)
        if done.returncode:
            raise StepFailed(f"`tfopt {shlex.join(arguments)}` ended with exit code {done.returncode}")
        step: dict[str, Any] = {"command": f"tfopt {shlex.join(arguments)}", "seconds": time.monotonic() - started}
        self.steps.append(step if self.echo else {**step, "result": json.loads(done.stdout)})

    @contextmanager
    def server(self, *arguments: str) -> Iterator[str]:
        """A server in the background, ended by SIGTERM as an orchestrator would; yields its URL."""
        self._show(arguments, "&")
        command = [*_program(), *arguments, "--json"]
        with subprocess.Popen(command, cwd=self.directory, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield _serving_url(process)
            finally:
                process.send_signal(signal.SIGTERM)

    def _show(self, arguments: tuple[str, ...], suffix: str = "") -> None:
        if self.echo:
            print(f"\n$ tfopt {shlex.join(arguments)} {suffix}".rstrip(), flush=True)


def _program() -> list[str]:
    return [sys.executable, "-m", "tfopt"]


def _serving_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ServerUnavailable("the server ended before it served", hint="its message stands above")
    return str(json.loads(line)["url"])


def _wait_for_version(url: str, version: int) -> None:
    """Wait until the server has followed a change of versions."""
    from tfopt.client import Client

    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        states = Client(url).status("fashion")
        if [int(state["version"]) for state in states if state["state"] == "AVAILABLE"] == [version]:
            return
        time.sleep(0.1)
    raise ServerUnavailable(f"version {version} was not served within {START_TIMEOUT_SECONDS} s")
