"""Processes of our own that begin with TensorFlow imported, which takes seconds: forked from one that has done so.

The process that asks keeps such a nest beside it, from its first child on and as long as it lives. A child is what
`python -m module` would be, with its own environment, directory and streams. Where there is no fork that could be
trusted (it is on Linux alone), each child imports what it needs.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any, Final, Protocol

#: What a nest imports before it forks.
_PRELOADED: Final = "tfopt.formats.tensorflow"
#: These change from call to call and are not read while anything is imported, nor are those of tfopt.
_VOLATILE: Final = frozenset({"COLUMNS", "LINES", "OLDPWD", "PWD", "PYTEST_CURRENT_TEST", "SHLVL", "_"})
#: Nests at one time: environments that come in turns, as converting and publishing have.
_MOST: Final = 3


class Child(Protocol):
    """A process that was started; as `subprocess.Popen` says it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def kill(self) -> None: ...


def start(
    module: str,
    arguments: Sequence[str],
    *,
    stdin: int,
    stdout: IO[bytes],
    stderr: IO[bytes],
    cwd: Path,
    env: Mapping[str, str],
    from_nest: bool = True,
) -> Child:
    """`python -m module arguments...`, without the time that importing TensorFlow takes but for the first one. One that
    can do without TensorFlow is better started anew: not `from_nest`."""
    if from_nest and sys.platform == "linux":
        nest = _nest(env)
        try:
            task = json.dumps({"module": module, "arguments": [*arguments], "cwd": str(cwd), "env": dict(env)})
            return nest.hatch(task, stdin, stdout.fileno(), stderr.fileno())
        except OSError:
            # Killed, as the system does when memory is short, or by what it imports: the child will tell.
            _forget(nest)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=dict(env))


# -- in the process that asks -----------------------------------------------------------------------------------------


class _Hatched:
    """A child, known by the pipe that its keeper writes to."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._said = b""
        self.returncode: int | None = None
        while b"\n" not in self._said:
            part = os.read(status, 64)
            if not part:
                os.close(status)
                raise ConnectionError("the nest is gone")
            self._said += part
        self.pid = int(self._said.split(b"\n")[0])

    def poll(self) -> int | None:
        while self.returncode is None and select.select([self._status], [], [], 0)[0]:
            part = os.read(self._status, 64)
            self._said += part
            if not part:
                # A keeper that says nothing was killed, and what it kept with it.
                told = self._said.split(b"\n")[1]
                self.returncode = int(told) if told else -signal.SIGKILL
                os.close(self._status)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # just ended
                os.kill(self.pid, signal.SIGKILL)


class _Nest:
    def __init__(self, env: Mapping[str, str]) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with its:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                env=dict(env),
            )
        self._socket = ours
        self._turn = Lock()

    def hatch(self, task: str, stdin: int, stdout: int, stderr: int) -> _Hatched:
        """Raises OSError when the nest is gone."""
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as file:
            file.write(task.encode())
            file.flush()
            try:
                with self._turn:
                    socket.send_fds(self._socket, [b"."], [file.fileno(), stdin, stdout, stderr, writing])
            except OSError:
                os.close(reading)
                raise
            finally:
                os.close(writing)
        return _Hatched(reading)

    def close(self) -> None:
        self._socket.close()


_nests: dict[tuple[object, ...], _Nest] = {}
_lock = Lock()


def _nest(env: Mapping[str, str]) -> _Nest:
    """The one for this environment, which what is imported may have read. A forked process has nests of its own."""
    read = ((name, value) for name, value in env.items() if name not in _VOLATILE and not name.startswith("TFOPT_"))
    key = (os.getpid(), *sorted(read))
    with _lock:
        nest = _nests.pop(key, None) or _Nest(env)
        _nests[key] = nest  # the last one used is the last to go
        for old in list(_nests)[:-_MOST]:
            _nests.pop(old).close()
        return nest


def _forget(nest: _Nest) -> None:
    with _lock:
        for key in [key for key, known in _nests.items() if known is nest]:
            del _nests[key]
    nest.close()


# -- in the nest ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Fork a keeper for each request until the process that asks is gone."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the children
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    with suppress(Exception):  # what cannot be imported is told by the child that needs it
        __import__(_PRELOADED)
    while True:
        head, passed, _, _ = socket.recv_fds(asked, 1, 5)
        if not head:
            return
        if os.fork() == 0:
            asked.close()
            _keep(*passed)
        for number in passed:
            os.close(number)


def _keep(file: int, stdin: int, stdout: int, stderr: int, status: int) -> None:
    """Fork the child, and tell who it is and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(status)
        for number, place in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(number, place)
        with open(file, "rb") as task:
            task.seek(0)
            told = json.loads(task.read())
        for number in {stdin, stdout, stderr} - {0, 1, 2}:
            os.close(number)
        os._exit(_run(told))
    for number in (file, stdin, stdout, stderr):
        os.close(number)
    os.write(status, b"%d\n" % child)
    _, ended = os.waitpid(child, 0)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _run(task: Mapping[str, Any]) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What `ps` and `top` show.
    Path("/proc/self/comm").write_text(task["module"].rpartition(".")[2][:15])
    os.chdir(task["cwd"])
    os.environ.clear()
    os.environ.update(task["env"])
    sys.argv = [task["module"], *task["arguments"]]
    code = 0
    try:
        runpy.run_module(task["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - the rim of a program: it ends with what went wrong
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


if __name__ == "__main__":
    main()
