"""stdout is data, stderr is talk."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: Called with what is being done now.
Tell = Callable[[str], None]


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
    """Show what long work is doing: a spinner with seconds on a terminal, a line per step elsewhere."""
    if not sys.stderr.isatty():
        start = time.monotonic()
        yield lambda text: say(f"[{time.monotonic() - start:6.1f} s] {text}")
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting")
        yield lambda text: bar.update(task, description=text)
