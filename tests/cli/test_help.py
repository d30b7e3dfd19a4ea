"""`--help` answers at once: nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "onnx", "grpc", "numpy", "ai_edge_litert", "uvicorn", "rich", "yaml", "google.protobuf")
COMMANDS = ("inspect", "compress", "bench", "publish", "versions", "serve", "predict", "passes", "recipes", "demo")

PROBE = """
import sys
from tfopt.cli.main import main
status = main(sys.argv[2:])
loaded = [name for name in sys.argv[1].split(",") if name in sys.modules]
assert status == 0, status
assert not loaded, f"imported {loaded}"
"""


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS), ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(HEAVY), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_examples_and_json(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tfopt", command, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    if command == "versions":
        assert "rollback" in done.stdout
    else:
        assert "Examples:" in done.stdout
        assert "--json" in done.stdout


def test_usage_errors_take_one_line_and_exit_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tfopt", "compress", "--no-such-flag"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no-such-flag" in done.stderr
    assert "--help" in done.stderr
