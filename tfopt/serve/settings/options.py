"""What a server may be told beside what it serves and where. None of it needs a face's libraries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tfopt.serve.metrics import DEFAULT_PATH
from tfopt.serve.versions.model import Rules

DEFAULT_BODY_LIMIT: Final = 256 * 2**20


@dataclass(frozen=True)
class RestOptions:
    """`body_limit`: bytes of a request; `io_timeout`: seconds in which a request must have arrived, and for which a
    client may leave an answer unread; `timeout`: seconds for which a request may wait for its turn and the model may
    run, None for as long as it takes; `threads` read requests, run models and write answers, two for each core when
    None; `cors`: web pages from anywhere may read the answers; `gzip`: pack long answers for clients that ask for it.
    """

    body_limit: int = DEFAULT_BODY_LIMIT
    io_timeout: float = 60.0
    timeout: float | None = 30.0
    threads: int | None = None
    cors: bool = False
    gzip: bool = True


@dataclass(frozen=True)
class VersionOptions:
    """`rules` say how versions come and go, `load_threads` how many models load at once, by default one a core, and
    `unload_threads` how many are freed at once. With `ports_wait` the ports open when the models have been loaded, and
    a model whose base path is not there yet is no reason not to start. `warm_up`: recorded requests are replayed before
    a version is available, each `warmup_iterations` times."""

    rules: Rules = field(default_factory=Rules)
    load_threads: int | None = None
    unload_threads: int = 1
    ports_wait: bool = False
    warm_up: bool = True
    warmup_iterations: int = 1


@dataclass(frozen=True)
class DrainOptions:
    """`timeout`: seconds for requests under way when the server stops; `delay`: seconds for which requests are still
    taken after a signal to stop, while `/readyz` says no, so that balancers turn to others first."""

    timeout: float = 30.0
    delay: float = 0.0


@dataclass(frozen=True)
class MetricsOptions:
    """`path`: where Prometheus finds the metrics, nowhere when None; `by_version`: requests are counted by version and
    signature too."""

    path: str | None = DEFAULT_PATH
    by_version: bool = False
