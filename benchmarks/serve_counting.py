"""Mark: counting a request costs less than 3 µs, whatever is counted of it, and so does choosing it for the log.

The calls that a face and a servable make for each request, timed by themselves in one thread: the best of several
rounds. What the log's own thread does is not in it.
"""

from __future__ import annotations

import tempfile
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import print_table
from tfopt.errors import Code
from tfopt.serve.metrics import Metrics
from tfopt.serve.request_log.log import RequestLog, Target
from tfopt.serve.versions.servable import Run

ROUNDS = 7
CALLS = 100_000

RUN = Run("Predict", 1, "tflite", "serving_default", {"x": np.ones((1, 3))}, {"y": np.ones(1)}, 0.001)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        rows = []
        for name, details in (("name, status", False), ("name, status, version, signature", True)):
            metrics = Metrics(details=details)
            rows.append((f"request by {name}", _microseconds(partial(_request, metrics))))
            rows.append((f"run by {name}", _microseconds(partial(_run, metrics))))
        log = RequestLog(Metrics())
        rows.append(("request log off", _microseconds(partial(log.offer, "m", RUN))))
        log.targets = {"m": Target(Path(directory) / "m", 0.01)}
        rows.append(("request log, 1 % chosen", _microseconds(partial(log.offer, "m", RUN))))
        log.stop()
        print_table("Counting a request", ["what", "µs"], [[name, f"{cost:.2f}"] for name, cost in rows])


def _request(metrics: Metrics) -> None:
    metrics.request(
        model="m", api="Predict", entrypoint="GRPC", code=Code.OK, seconds=0.001, version=1, signature=RUN.signature
    )


def _run(metrics: Metrics) -> None:
    metrics.runtime(model="m", api=RUN.api, kind=RUN.kind, seconds=0.001, version=1, signature=RUN.signature)


def _microseconds(call: Callable[[], None]) -> float:
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


if __name__ == "__main__":
    main()
