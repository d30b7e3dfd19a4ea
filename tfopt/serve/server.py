"""The server: models behind a port, under uvicorn."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfopt.errors import MissingExtra, ServerUnavailable, UsageError

try:
    import uvicorn

    from tfopt.serve.rest.app import RestApp
    from tfopt.serve.rest.connections import Connection, Uvicorn
except ModuleNotFoundError as error:
    raise MissingExtra.of(str(error.name), "serve", "serving") from error

from tfopt.serve.listening import listen
from tfopt.serve.metrics import Metrics
from tfopt.serve.plane import Plane
from tfopt.serve.process import Stopped, StopSignals, dedicate_process, end_process, end_process_after
from tfopt.serve.request_log.log import RequestLog
from tfopt.serve.request_log.targets import LogSettings
from tfopt.serve.rpc.options import GrpcOptions
from tfopt.serve.settings.config_file import ConfigFile
from tfopt.serve.settings.model_config import read_model_configs
from tfopt.serve.settings.options import DrainOptions, MetricsOptions, RestOptions, VersionOptions
from tfopt.serve.versions.artifacts import Engine, RuntimeChoice
from tfopt.serve.versions.config import ModelConfig
from tfopt.serve.versions.engines import Engines
from tfopt.serve.versions.loading import Loaded, load_version
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.registry import Models
from tfopt.serve.versions.servable import Run
from tfopt.serve.versions.sources import find_sources
from tfopt.serve.versions.unloading import Unloader
from tfopt.serve.versions.warming import Warmup

if TYPE_CHECKING:
    from typing_extensions import Self

    from tfopt.serve.rpc.server import GrpcServer

log = logging.getLogger("tfopt.serve")

DEFAULT_PORT = 8501
#: Seconds for what is left to do when all requests are done: unloading models, ending a load.
_SLACK = 5.0
#: Seconds after which an idle connection is closed.
KEEP_ALIVE = 75


class Server:
    """Serves `models`, each `path` or `name=path`, on a port (0: any free one, None: no REST), while it is entered.

        with tfopt.Server("models/linear", port=0) as server:
            tfopt.Client(server.url).predict("linear", [[5.0]])

    `grpc_port` (0: any free one), `grpc_socket_path`: where gRPC is served as well, nowhere when both are None.
    `runtime` asks for one, and `prefer` for one to be tried first (`versions.artifacts`); `engines` says more of how
    they are opened. `threads`: cores to compute with, all by default; `poll_interval`: seconds between looks for new
    versions. `configs` are served too, and those of `config_file`, which is looked at again every
    `config_poll_interval` seconds (0: never). `log_requests`: which requests are logged, and where; those that configs
    name are. `check_method_names`: a signature answers only the call that its method_name names. The options say more
    of each part.
    """

    def __init__(
        self,
        *models: str | Path,
        host: str = "127.0.0.1",
        port: int | None = DEFAULT_PORT,
        grpc_port: int | None = None,
        grpc_socket_path: str | None = None,
        poll_interval: float = 1.0,
        runtime: RuntimeChoice = "auto",
        prefer: Engine | None = None,
        threads: int | None = None,
        configs: Sequence[ModelConfig] | None = None,
        config_file: Path | None = None,
        config_poll_interval: float = 0.0,
        engines: Engines | None = None,
        rest: RestOptions = RestOptions(),
        grpc: GrpcOptions = GrpcOptions(),
        versions: VersionOptions = VersionOptions(),
        drain: DrainOptions = DrainOptions(),
        metrics: MetricsOptions = MetricsOptions(),
        log_requests: LogSettings = LogSettings(),
        check_method_names: bool = False,
    ) -> None:
        """Raises NotFound, UsageError for models that are none, or to prefer another runtime than the one asked for,
        and for a config file that cannot be served; RequestError for configs that cannot be."""
        if prefer is not None and runtime != "auto":
            raise UsageError(f"--runtime {runtime} leaves nothing to prefer", hint="leave out one of the two")
        self._host = host
        self._port = port
        self._ports_wait = versions.ports_wait
        self._drain = drain
        cores = threads or available_cores()
        counted = Metrics(details=metrics.by_version)
        warmup = Warmup(versions.warm_up, versions.warmup_iterations, counted.warmed_up)
        load = partial(load_version, choice=runtime, engines=engines or Engines(cores), prefer=prefer, warmup=warmup)
        self._unloader = Unloader(versions.unload_threads)
        make = _maker(counted.timing_loads(load), versions, self._unloader, poll_interval, cores, self._observe)
        served = _all_configs(models, configs, config_file)
        self._metrics = counted
        self._request_log = RequestLog(counted, total=log_requests.total, inputs=log_requests.inputs)

        def log_as_told(configs: Sequence[ModelConfig]) -> None:
            self._request_log.targets = log_requests.targets(configs)

        labels = versions.rules.unavailable_labels
        self.models = Models(served, make, unavailable_labels=labels, changed=log_as_told)
        self._config_file: ConfigFile | None = None
        if config_file is not None and config_poll_interval > 0:
            self._config_file = ConfigFile(config_file, self.models, config_poll_interval)
        self.plane = Plane(self.models, counted, ended=self.models.ended, check_method_names=check_method_names)
        # Twice the cores: while some wait for the engine, others read and write JSON.
        self._executor = ThreadPoolExecutor(rest.threads or 2 * cores, "tfopt-request")
        self._app = RestApp(self.plane, self._executor, rest, metrics_path=metrics.path)
        self._uvicorn = Uvicorn(_config(self._app, drain.timeout), rest.io_timeout)
        self._grpc: GrpcServer | None = None
        if grpc_port is not None or grpc_socket_path is not None:
            server = _grpc_server()
            self._grpc = server(
                self.plane,
                host=host,
                port=grpc_port,
                socket_path=grpc_socket_path,
                options=grpc,
                reconfigure=self.models.reconfigure,
            )
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where REST is. Raises ServerUnavailable when it is off."""
        if self._port is None:
            raise ServerUnavailable("this server has no REST port")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def grpc_address(self) -> str | None:
        """Where clients find the gRPC port, `host:port`; None when there is none."""
        return None if self._grpc is None else self._grpc.address

    def start(self) -> Self:
        """Listen, and wait until each model serves a version or cannot.

        Raises ServerUnavailable when the port is taken, and a model's own error when not one of them can be served.
        """
        try:
            if self._ports_wait:
                self._start_models()
            if self._port is not None:
                self._start_rest(self._port)
            if self._grpc is not None:
                self._grpc.start()
            if not self._ports_wait:
                self._start_models()
        except BaseException:
            self.stop(load_timeout=0.5)
            raise
        if self._config_file is not None:
            self._config_file.start()
        if self._grpc is not None:
            self._grpc.ready()
        return self

    def _start_rest(self, port: int) -> None:
        listener = listen(self._host, port)
        self._port = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._uvicorn.run, args=([listener],), name="tfopt-serve", daemon=True)
        self._thread.start()

    def _start_models(self) -> None:
        self.models.start()
        self.models.await_start(patient=self._ports_wait)

    def stop(self, *, load_timeout: float = 10.0) -> None:
        """Take no more requests, finish those under way, unload the models. Loads under way are not waited for longer
        than `load_timeout` seconds. Until then health is told: alive, and not ready."""
        self.plane.draining = True
        deadline = time.monotonic() + self._drain.timeout
        drained = None if self._grpc is None else self._grpc.stop(self._drain.timeout)
        while self._app.running and time.monotonic() < deadline:
            time.sleep(0.01)
        self._uvicorn.config.timeout_graceful_shutdown = max(1, round(deadline - time.monotonic()))
        self._uvicorn.should_exit = True
        if self._thread is not None:
            self._thread.join()
        if drained is not None:
            drained.wait()
        if self._config_file is not None:
            self._config_file.stop()
        self.models.stop(load_timeout)
        self._unloader.stop()
        self._request_log.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _observe(self, model: str, run: Run) -> None:
        self._metrics.runtime(
            model=model, api=run.api, kind=run.kind, seconds=run.seconds, version=run.version, signature=run.signature
        )
        if run.api in ("Classify", "Regress"):  # of MultiInference the examples are counted once, not for each run
            self._metrics.examples(model, len(run.inputs["inputs"]))
        self._request_log.offer(model, run)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def serve_forever(self, started: Callable[[], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then finish the requests under way. For the main thread of a process of its
        own, whose settings it changes. Calls `started` once it serves. A second signal ends the process at once, and so
        does the end of the time for draining: a run that hangs holds up nobody.

        Raises as `start`.
        """
        dedicate_process()
        with StopSignals() as signals, suppress(Stopped):
            with self:
                signals.serving = True
                if started is not None:
                    started()
                signals.wait()
                log.info("stopping: finishing the requests under way")
                end = end_process_after(self._drain.delay + self._drain.timeout + _SLACK)
                self.plane.leaving = True
                if self._grpc is not None:
                    self._grpc.leave()
                time.sleep(self._drain.delay)
                served = [one for model in self.models.values() for one in model.snapshot.servables.values()]
            end.cancel()
            if any(one.users for one in served):
                end_process()  # the interpreter would wait for the threads of runs that hang


def _maker(
    load: Callable[[Path], Loaded],
    options: VersionOptions,
    unloader: Unloader,
    poll_interval: float,
    cores: int,
    observe: Callable[[str, Run], None],
) -> Callable[[ModelConfig], ModelVersions]:
    """How a config becomes a model."""
    slots = threading.Semaphore(options.load_threads or cores)
    return lambda config: ModelVersions(
        config.name,
        config.source,
        load,
        policy=config.policy,
        labels=config.labels,
        poll_interval=poll_interval,
        rules=options.rules,
        slots=slots,
        unload=unloader,
        observe=partial(observe, config.name),
    )


def _all_configs(
    models: Sequence[str | Path], configs: Sequence[ModelConfig] | None, file: Path | None
) -> list[ModelConfig]:
    """Models by what a user names, and by configs; without any of these there must be models."""
    named = find_sources(models) if models or (configs is None and file is None) else {}
    of_file = [] if file is None else read_model_configs(file)
    return [*(ModelConfig.of(name, source) for name, source in named.items()), *(configs or ()), *of_file]


def _grpc_server() -> type[GrpcServer]:
    try:
        from tfopt.serve.rpc.server import GrpcServer
    except ModuleNotFoundError as error:
        raise MissingExtra.of(str(error.name), "grpc", "serving gRPC") from error
    return GrpcServer


def _config(app: RestApp, drain_timeout: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(drain_timeout),
    )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
