"""Servers of our own, each in a process, for as long as they are loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tfopt.errors import ServerUnavailable

#: Seconds for the requests under way when a server is told to stop.
_STOP_SECONDS = 20.0


@contextmanager
def started_servers(
    models: Sequence[Path], *, threads: int | None, tell: Callable[[str], None] = lambda text: None
) -> Iterator[list[str]]:
    """`tfopt serve` for each model, on a free port of this machine: the URL of each model.

    Raises ServerUnavailable, with what the server said, when one does not come up.
    """
    with ExitStack() as stack:
        urls = []
        for model in models:
            tell(f"starting a server of {model}")
            urls.append(stack.enter_context(_server(model, threads)))
        yield urls


@contextmanager
def _server(model: Path, threads: int | None) -> Iterator[str]:
    command = [sys.executable, "-m", "tfopt", "serve", str(model), "--port", "0", "--json"]
    command += [] if threads is None else ["--threads", str(threads)]
    with tempfile.TemporaryFile("w+") as talk:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                talk.seek(0)
                said = talk.read().strip().splitlines()
                raise ServerUnavailable(f"no server came up: {said[-1] if said else 'no message'}", where=str(model))
            event = json.loads(line)
            yield f"{event['url']}/v1/models/{event['models'][0]}"
        finally:
            process.terminate()
            try:
                process.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
