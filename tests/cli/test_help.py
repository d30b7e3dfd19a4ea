"""`--help` answers at once: nothing heavy is imported for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize(
    "arguments", [["--help"], *([command, "--help"] for command in (*COMMANDS, "model-server")), ["--version"]]
)
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


def test_without_a_command_the_help_is_shown_as_it_is_laid_out() -> None:
    bare, asked = (tfopt(*arguments) for arguments in ([], ["--help"]))
    assert bare.returncode == 0
    assert bare.stdout == asked.stdout
    assert not bare.stderr


def test_a_group_without_a_command_is_told_in_one_line() -> None:
    done = tfopt("versions")
    assert done.returncode == 2
    assert done.stderr == "tfopt: Missing command; see `tfopt versions --help`\n"


@pytest.mark.parametrize("arguments", [[], ["versions", "--help"]])
def test_no_summary_is_cut_on_a_narrow_terminal(arguments: list[str]) -> None:
    assert "..." not in tfopt(*arguments, COLUMNS="80").stdout.replace("[ARGS]...", "")


def test_a_wrong_choice_names_the_right_ones() -> None:
    done = tfopt("compress", "model", "--quantize", "int4")
    assert done.returncode == 2
    assert "'int4' is not one of 'bfloat16', 'float16', 'dynamic', 'int16', 'int8', 'weights'" in done.stderr
    assert "Value error" not in done.stderr


@pytest.mark.parametrize("arguments", [["recipes"], ["recipes", "int8"], ["passes", "--json"]])
def test_a_full_disk_behind_stdout_is_told_in_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tfopt", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 10
    assert done.stderr == "tfopt: standard output: No space left on device\n"


def test_closed_streams_are_no_bug_and_talk_never_ends_on_stdout() -> None:
    def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "tfopt", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    silent = shell(">&-", "recipes")
    assert (silent.returncode, silent.stderr) == (0, "")
    mute = shell("2>&-", "recipes", "nope")
    assert (mute.returncode, mute.stdout) == (11, "")


def tfopt(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tfopt", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
