"""What the server counts, under TensorFlow Serving's names and labels, and under names of its own.

Where each is counted: tensorflow_serving/servables/tensorflow/util.cc (requests, examples, the runtime),
core/request_logger.cc, servables/tensorflow/saved_model_warmup_util.cc; for loads tensorflow/cc/saved_model/loader.cc.
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal

from tfopt.errors import Code
from tfopt.serve.families import OTHER, Counter, Family, Gauge, Histogram, Labels, exponential, page

if TYPE_CHECKING:
    from tfopt.serve.versions.loading import Loaded
    from tfopt.serve.versions.model import ModelVersions

DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"

Entrypoint = Literal["REST", "GRPC"]

_SERVING = ":tensorflow:serving:"
_LOADER = ":tensorflow:cc:saved_model:"
#: Microseconds, up to 30 minutes.
_LATENCIES: Final = exponential(10, 1.8, 33)
_EXAMPLES: Final = exponential(1, 2, 15)
#: What TensorFlow Serving calls its runtime, and beside it those that it has not got.
_RUNTIMES: Final = {"saved_model": "TF1", "tflite": "TFLite", "onnx": "ONNXRuntime"}
#: Names of models that are not served, as requests bring them, that get a count of their own.
_STRANGERS = 100
_LONGEST_NAME = 256


class Metrics:
    """Safe for threads; counting one request takes microseconds (`benchmarks/serve_counting.py`).

    With `details`, requests are counted by version and signature too: two more labels, empty where a request fails
    before it is known whom it is for; the signature is empty for all that fail.
    """

    def __init__(self, *, details: bool = False) -> None:
        more = ("version", "signature") if details else ()
        self._details = details
        self._models: Container[str] = ()
        self._strangers: set[str] = set()
        self._requests = Counter(f"{_SERVING}request_count", "model_name", "status", *more)
        self._latency = _latencies("request_latency", "model_name", "API", "entrypoint", *more)
        self._runtime = _latencies("runtime_latency", "model_name", "API", "runtime", *more)
        self._examples = Counter(f"{_SERVING}request_example_count_total", "model")
        self._example_counts = Histogram(f"{_SERVING}request_example_counts", ("model",), _EXAMPLES)
        self._logged = Counter(f"{_SERVING}request_log_count", "model_name", "status_code")
        self._warmup_latency = _latencies("model_warmup_latency", "model_path", "status")
        self._warmup_records = Counter(f"{_SERVING}model_warmup_records_read", "model_path", "status")
        self._loads = Counter(f"{_LOADER}load_attempt_count", "model_path", "status")
        self._load_latency = Counter(f"{_LOADER}load_latency", "model_path")
        self._dropped = Counter("tfopt_request_log_dropped_total", "model_name", "reason")
        self._gauges: list[Gauge] = [Gauge("tfopt_process_resident_memory_bytes", (), _memory)]

    def request(
        self,
        *,
        model: str,
        api: str,
        entrypoint: Entrypoint,
        code: Code,
        seconds: float,
        version: int | None = None,
        signature: str = "",
    ) -> None:
        """One request that has been answered; only those that succeed are timed."""
        if model not in self._models:
            model = self._stranger(model)
        more: Labels = ()
        if self._details:
            # What a request that fails calls a signature may be any text: no label of that.
            more = ("" if version is None else str(version), signature if code is Code.OK else "")
        self._requests.add((model, code.value, *more))
        if code is Code.OK:
            self._latency.add((model, api, entrypoint, *more), seconds * 1e6)

    def _stranger(self, model: str) -> str:
        if model in self._strangers:
            return model
        if len(self._strangers) >= _STRANGERS or len(model) > _LONGEST_NAME:
            return OTHER
        self._strangers.add(model)
        return model

    def runtime(self, *, model: str, api: str, kind: str, seconds: float, version: int, signature: str) -> None:
        """One run of an artifact of this `kind`, which gave an answer."""
        more = (str(version), signature) if self._details else ()
        self._runtime.add((model, api, _RUNTIMES.get(kind, kind), *more), seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """A request that brought tf.Examples, and was answered."""
        self._example_counts.add((model,), count)
        self._examples.add((model,), count)

    def logged(self, model: str, code: Code) -> None:
        """A request that was chosen to be logged, and what came of that."""
        self._logged.add((model, code.value))

    def log_dropped(self, model: str, reason: str) -> None:
        """A request that was chosen to be logged, and is not."""
        self.logged(model, Code.RESOURCE_EXHAUSTED)
        self._dropped.add((model, reason))

    def warmup(self, path: str, *, status: str, seconds: float, records: int) -> None:
        """A version was warmed up; `status` is "OK" or the error's text."""
        self._warmup_latency.add((path, status), seconds * 1e6)
        self._warmup_records.add((path, status), records)

    def warmed_up(self, path: str, seconds: float, records: int) -> None:
        """A version was warmed up, and no request of its records failed."""
        self.warmup(path, status="OK", seconds=seconds, records=records)

    def timing_loads(self, load: Callable[[Path], Loaded]) -> Callable[[Path], Loaded]:
        """`load`, counted and timed."""

        def timed(path: Path) -> Loaded:
            start = perf_counter()
            status = "fail"
            try:
                loaded = load(path)
                status = "success"
                return loaded
            finally:
                self._loads.add((str(path), status))
                self._load_latency.add((str(path),), round((perf_counter() - start) * 1e6))

        return timed

    def watch(self, models: Mapping[str, ModelVersions]) -> None:
        """Tell of these models what is known of them at the moment; the mapping may change."""
        self._models = models
        self._gauges += [
            Gauge("tfopt_versions", ("model_name", "state"), lambda: _versions(models)),
            Gauge("tfopt_requests_in_flight", ("model_name",), lambda: _in_flight(models)),
        ]

    def gauge(self, name: str, labels: Labels, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Tell of something else that `read` gives."""
        self._gauges.append(Gauge(name, labels, read))

    def total(self, name: str) -> int | None:
        """What a counter of this name, as TensorFlow spells it (`/tensorflow/serving/request_count`), has come to
        over all its labels. None when there is none."""
        wanted = name.replace("/", ":")
        return next((f.total() for f in self._families() if isinstance(f, Counter) and f.name == wanted), None)

    def page(self) -> str:
        """All of it, for Prometheus."""
        return page(self._families())

    def _families(self) -> Iterator[Family]:
        yield from (self._requests, self._latency, self._runtime, self._examples, self._example_counts)
        yield from (self._logged, self._warmup_latency, self._warmup_records, self._loads, self._load_latency)
        yield self._dropped
        yield from self._gauges


def _latencies(name: str, *labels: str) -> Histogram:
    return Histogram(_SERVING + name, labels, _LATENCIES)


def _memory() -> Mapping[Labels, float]:
    """Bytes of this process in memory, quickly (man 5 proc_pid_statm); nothing where there is no /proc."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except FileNotFoundError:
        return {}
    return {(): int(pages) * os.sysconf("SC_PAGE_SIZE")}


def _versions(models: Mapping[str, ModelVersions]) -> Mapping[Labels, float]:
    known = ((name, status) for name, model in list(models.items()) for status in model.statuses.newest_first())
    return Tally((name, status.state.value) for name, status in known)


def _in_flight(models: Mapping[str, ModelVersions]) -> Mapping[Labels, float]:
    return {
        (name,): sum(servable.users for servable in model.snapshot.servables.values())
        for name, model in list(models.items())
    }
