"""What is shown on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.table import Table

import tfopt
from tfopt.cli.output import emit_json, out, plain_progress

CNN = Path(tfopt.__file__).parent / "demo" / "fashion_cnn"


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add_column("node")
    table.add_row("conv[bold]/[/x]:smile:")
    out().print(table)
    assert "conv[bold]/[/x]:smile:" in capsys.readouterr().out


def test_progress_on_a_terminal_shows_any_path(tmp_path: Path) -> None:
    (tmp_path / "[").mkdir()
    (tmp_path / "[" / "red]").mkdir()
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "tfopt", "inspect", str(tmp_path / "[/red]")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower) as process:
        os.close(follower)
        shown = b""
        while chunk := _read(leader):
            shown += chunk
    os.close(leader)
    assert process.returncode == 3, shown
    assert b"reading" in shown
    assert b"[/red]: holds no saved_model.pb" in shown


@pytest.mark.parametrize(("term", "codes"), [("dumb", False), ("xterm", True)])
def test_a_terminal_that_knows_no_control_codes_gets_none(tmp_path: Path, term: str, codes: bool) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "tfopt", "inspect", str(tmp_path)]
    environment = {**os.environ, "TERM": term, "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while chunk := _read(leader):
            shown += chunk
    os.close(leader)
    assert process.returncode == 3, shown
    assert (b"\x1b[" in shown) is codes, shown
    assert b"\x1b[3" not in shown, "NO_COLOR"


def test_a_step_that_takes_long_is_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_progress(remind_after=0.05) as tell:
        tell("converting")
        while "still at it" not in (told := capsys.readouterr().err):
            time.sleep(0.01)
    lines = told.splitlines()
    assert lines[0].startswith("[") and "\x1b" not in told
    assert lines[-1].endswith("converting: still at it")


def test_quick_steps_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_progress() as tell:
        tell("reading")
        tell("writing")
    assert [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()] == ["reading", "writing"]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # a terminal that nobody holds open any more
        return b""


def test_stderr_is_ours_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tfopt",
            "bench",
            str(CNN),
            "--seconds",
            "0.1",
            "--processes",
            "2",
            "--no-footprint",
            "--json",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [line for line in done.stderr.splitlines() if not line.startswith("[")] == []
    assert json.loads(done.stdout)["schema"] == 2


def test_json_has_only_numbers_that_json_has(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"change": float("-inf"), "rows": (1, float("nan"))})
    assert capsys.readouterr().out.split() == [
        "{",
        '"change":',
        '"-Infinity",',
        '"rows":',
        "[",
        "1,",
        '"NaN"',
        "]",
        "}",
    ]


def test_what_json_cannot_hold_is_an_error() -> None:
    with pytest.raises(TypeError):
        emit_json({"path": Path("x")})
