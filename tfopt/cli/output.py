"""stdout is data, stderr is talk."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from tfopt.words import Tell

if TYPE_CHECKING:
    from rich.console import Console

#: Terminals that know no control codes.
_DUMB = ("dumb", "unknown")
#: Seconds after which a step that takes long is told again: a log without news looks like a run that hangs.
_REMIND_AFTER = 30.0


def emit_json(value: Any) -> None:
    """Print a JSON document on stdout; infinities and NaN are strings in it, as in the manifest."""
    from tfopt.store.disk import json_ready

    print(json.dumps(json_ready(value), indent=2, ensure_ascii=False, allow_nan=False))


def out() -> Console:
    """The console for tables on stdout: as wide as needed when no terminal limits it. Respects NO_COLOR.

    Names of models, nodes and files are printed as they are: brackets in them are no markup.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200
    return Console(width=width, highlight=False, markup=False, emoji=False)


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None when it is none, and all is to be told."""
    return out().width if sys.stdout.isatty() else None


def say(message: str) -> None:
    """One line of talk on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator[Tell]:
    """Show what long work is doing: a spinner with seconds on a terminal; elsewhere, such as in the log of a build, a
    plain line per step, and one now and then while a step takes long."""
    if not sys.stderr.isatty() or os.environ.get("TERM") in _DUMB:
        with plain_progress() as tell:
            yield tell
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting")
        yield lambda text: bar.update(task, description=text)


@contextmanager
def plain_progress(remind_after: float = _REMIND_AFTER) -> Iterator[Tell]:
    """Lines on stderr without control codes, each with the seconds since the start."""
    start = time.monotonic()
    last: tuple[float, str] | None = None
    over = Event()

    def tell(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        last = now, text
        say(f"[{now - start:6.1f} s] {text}")

    def remind() -> None:
        while not over.wait(remind_after):
            if last is not None and (now := time.monotonic()) - last[0] >= remind_after / 2:
                say(f"[{now - start:6.1f} s] {last[1]}: still at it")

    reminder = Thread(target=remind, name="progress", daemon=True)
    reminder.start()
    try:
        yield tell
    finally:
        over.set()
        reminder.join()
