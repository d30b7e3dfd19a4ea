"""Children of a nest are what `python -m` would start, but for the time that importing takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tfopt import nest
from tfopt.processes import lifeline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nests are on Linux alone")

Hatch = Callable[..., tuple[int, str, str]]

PROGRAM = """
    import os, signal, sys, time

    def main(what, *rest):
        if what == "tell":
            print(os.getcwd(), sys.argv[1:], os.environ.get("GIVEN"), "tensorflow" in sys.modules, __name__)
            print("to stderr", file=sys.stderr)
        elif what == "raise":
            raise ValueError("no such thing")
        elif what == "exit":
            sys.exit(int(rest[0]) if rest[0].isdigit() else rest[0])
        elif what == "kill":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif what == "hang":
            time.sleep(600)

    main(*sys.argv[1:])
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("program")
    (place / "a_program.py").write_text(textwrap.dedent(PROGRAM))
    return {**os.environ, "PYTHONPATH": f"{Path(nest.__file__).parents[1]}:{place}"}


@pytest.fixture
def hatch(environment: dict[str, str], tmp_path: Path) -> Hatch:
    def run(*arguments: str, **more: str) -> tuple[int, str, str]:
        with lifeline() as stdin, (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            env = {**environment, **more}
            child = nest.start("a_program", arguments, stdin=stdin, stdout=out, stderr=err, cwd=tmp_path, env=env)
            while (status := child.poll()) is None:
                time.sleep(0.01)
        return status, (tmp_path / "out").read_text(), (tmp_path / "err").read_text()

    return run


def test_it_has_its_own_arguments_directory_environment_and_streams(hatch: Hatch, tmp_path: Path) -> None:
    status, out, err = hatch("tell", "a b", TFOPT_GIVEN="x")
    assert (status, err) == (0, "to stderr\n")
    assert out == f"{tmp_path} ['tell', 'a b'] None True __main__\n"


def test_another_environment_has_another_nest_and_the_same_one_has_the_same(hatch: Hatch) -> None:
    hatch("tell")
    known = list(nest._nests.values())[-1]
    assert " 5 " in hatch("tell", GIVEN="5")[1]
    assert list(nest._nests.values())[-1] is not known
    assert " None " in hatch("tell", PYTEST_CURRENT_TEST="whatever")[1]
    assert list(nest._nests.values())[-1] is known
    assert len(nest._nests) <= nest._MOST


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["exit", "0"], 0, ""),
        (["exit", "7"], 7, ""),
        (["exit", "so it ends"], 1, "so it ends\n"),
        (["kill"], -signal.SIGSEGV, ""),
    ],
)
def test_its_end_is_told(hatch: Hatch, arguments: list[str], status: int, said: str) -> None:
    assert hatch(*arguments) == (status, "", said)


def test_a_failure_ends_with_a_traceback(hatch: Hatch) -> None:
    status, _, err = hatch("raise")
    assert status == 1
    assert err.startswith("Traceback") and err.endswith("ValueError: no such thing\n")


def test_it_can_be_killed(environment: dict[str, str], tmp_path: Path) -> None:
    with lifeline() as stdin, (tmp_path / "out").open("wb") as out:
        child = nest.start("a_program", ["hang"], stdin=stdin, stdout=out, stderr=out, cwd=tmp_path, env=environment)
        assert child.poll() is None
        child.kill()
        while (status := child.poll()) is None:
            time.sleep(0.01)
        child.kill()  # nobody, any more
    assert status == -signal.SIGKILL
    assert not Path(f"/proc/{child.pid}").exists()


def test_where_the_nest_was_killed_children_begin_anew(hatch: Hatch) -> None:
    hatch("exit", "0")
    killed = list(nest._nests.values())[-1]
    killed.process.kill()
    killed.process.wait()
    assert hatch("exit", "7")[0] == 7
    assert killed not in nest._nests.values()


def test_a_nest_and_its_children_end_with_the_process_that_asked(environment: dict[str, str], tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, sys, time
        from pathlib import Path
        from tfopt import nest
        from tfopt.processes import lifeline
        with lifeline() as stdin, open(os.devnull, "wb") as out:
            child = nest.start("tfopt.runtimes.trial", ["/nowhere", "/nowhere"], stdin=stdin, stdout=out, stderr=out,
                               cwd=Path({str(tmp_path)!r}), env=dict(os.environ))
            print(list(nest._nests.values())[0].process.pid, flush=True)
            time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as asking:
        assert asking.stdout is not None
        pid = int(asking.stdout.readline())
        asking.kill()
    deadline = time.monotonic() + 20
    while _lives(pid):
        assert time.monotonic() < deadline, "the nest outlived who asked it"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
