"""Converters that crash, hang or fail are errors, and end with the process that wanted them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from tfopt.errors import ConversionError
from tfopt.targets.child import run_child


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in a place where a child finds it: what it does is the first argument's to say."""
    script = """
        import os, signal, sys, time
        from tfopt.processes import end_with_parent
        end_with_parent()
        print("loc(x): error: F0000 converter.cc:7] Check failed: rank == 4", flush=True)
        if sys.argv[1] == "abort":
            os.abort()
        if sys.argv[1] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[1] == "raise":
            raise ValueError("no such thing")
        if sys.argv[1] == "hang":
            open(sys.argv[2], "w").write(str(os.getpid()))
            time.sleep(600)
        if sys.argv[1] == "grow":
            memory = b"x" * 200_000_000
            time.sleep(1)
    """
    (tmp_path / "a_converter.py").write_text(textwrap.dedent(script))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("abort", r"^the converter crashed with SIGABRT: .*Check failed: rank == 4 \(it held \d\.\d GB of memory"),
        ("kill", r"^the converter was killed, most likely because memory ran out \(it held"),
        ("raise", r"^the converter failed: ValueError: no such thing \(it held"),
    ],
)
def test_an_end_that_is_none_is_an_error_with_the_last_words(converter: Path, what: str, said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        run_child("a_converter", [what], converter, what="the converter", timeout=60)


def test_one_that_takes_too_long_is_ended(converter: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(ConversionError, match=r"the converter was not done within 1 seconds \(it held"):
        run_child("a_converter", ["hang", str(converter / "pid")], converter, what="the converter", timeout=1)
    assert time.monotonic() - begun < 30


def test_its_memory_and_its_words_are_told(converter: Path) -> None:
    held = np.ones(1 << 30, np.uint8)  # by this process: none of the child's business
    finished = run_child("a_converter", ["grow"], converter, what="the converter", timeout=60)
    assert finished.peak_bytes is not None
    assert 200e6 < finished.peak_bytes < held.nbytes
    assert "Check failed" in finished.talk


def test_it_ends_with_the_process_that_started_it(converter: Path) -> None:
    start = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(converter)!r})
        from tfopt.targets.child import run_child
        run_child("a_converter", ["hang", "pid"], Path({str(converter)!r}), what="the converter", timeout=600)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", start], cwd=Path(__file__).parents[2])
    pid = waited_for(converter / "pid")
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while running(pid):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.05)


def waited_for(path: Path) -> int:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(path.read_text())


def running(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
