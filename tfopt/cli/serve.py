"""`tfopt serve`: models behind a port."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tfopt.serve.logs import LogFormat, LogLevel, log_on_stderr


class Runtime(str, Enum):
    auto = "auto"
    tensorflow = "tensorflow"
    litert = "litert"
    onnxruntime = "onnxruntime"


class LoggedInputs(str, Enum):
    keep = "keep"
    hash = "hash"
    omit = "omit"


class Preferred(str, Enum):
    tensorflow = "tensorflow"
    litert = "litert"
    onnxruntime = "onnxruntime"


class OnEmpty(str, Enum):
    unload = "unload"
    keep = "keep"


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Each PATH or NAME=PATH: a model's base path, a directory of such, a SavedModel, a .tflite "
            "or a .onnx file.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8501,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for gRPC as well; 0 takes a free one.")
    ] = None,
    grpc_socket: Annotated[Path | None, typer.Option(metavar="PATH", help="Unix socket for gRPC.")] = None,
    grpc_key: Annotated[Path | None, typer.Option(metavar="PEM", help="gRPC behind TLS: the server's key.")] = None,
    grpc_certificate: Annotated[Path | None, typer.Option(metavar="PEM", help="The server's certificate.")] = None,
    grpc_client_ca: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Clients must have a certificate that this authority signed.")
    ] = None,
    grpc_reflection: Annotated[bool, typer.Option(help="Tell gRPC clients of the services and messages.")] = True,
    poll_interval: Annotated[float, typer.Option(min=0.01, help="Seconds between looks for new versions.")] = 1.0,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Serve the models of TensorFlow Serving's ModelServerConfig in it, too."),
    ] = None,
    config_poll_interval: Annotated[
        float, typer.Option(min=0, help="Seconds between looks at --config for another one; 0 never looks again.")
    ] = 0.0,
    on_empty: Annotated[
        OnEmpty, typer.Option(help="What becomes of what serves when its base path has no version any more.")
    ] = OnEmpty.unload,
    runtime: Annotated[
        Runtime,
        typer.Option(
            help="auto takes LiteRT where a version has a .tflite that passed the gate, ONNX Runtime where it has such "
            "a .onnx, else TensorFlow; of these the first that this machine can run."
        ),
    ] = Runtime.auto,
    prefer: Annotated[
        Preferred | None,
        typer.Option(help="Let auto try this one first; where it cannot run, the others stand in."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores to compute with; all by default.")] = None,
    cors: Annotated[bool, typer.Option("--cors", help="Let web pages from anywhere read the answers.")] = False,
    log_format: Annotated[LogFormat, typer.Option(help="text, or json: an object a line.")] = LogFormat.text,
    log_level: Annotated[LogLevel, typer.Option(help="The least of what is logged.")] = LogLevel.info,
    access_log: Annotated[bool, typer.Option("--access-log", help="A line in the log for each request.")] = False,
    drain_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds in which requests under way may finish after SIGTERM.")
    ] = 30.0,
    drain_delay: Annotated[
        float, typer.Option(min=0, help="Seconds after SIGTERM in which requests are still taken; /readyz says no.")
    ] = 0.0,
    metrics_by_version: Annotated[
        bool, typer.Option("--metrics-by-version", help="Two more labels of the metrics: version and signature.")
    ] = False,
    log_requests: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Log requests there: TFRecord files that warmup and --data read."),
    ] = None,
    log_requests_rate: Annotated[float, typer.Option(min=0, max=1, help="The share of them that is logged.")] = 0.01,
    log_requests_bytes: Annotated[
        str, typer.Option(metavar="SIZE", help="Room for all of them; the oldest files go. 500MB, 1GB, ...")
    ] = "1GB",
    log_requests_inputs: Annotated[
        LoggedInputs, typer.Option(help="Log inputs as they are, a SHA-256 of each, or none.")
    ] = LoggedInputs.keep,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line on stdout once it serves.")] = False,
) -> None:
    """Serve models over TensorFlow Serving's REST interface, and over its gRPC interface when asked to.

    New versions are picked up and old ones dropped without losing a request. SIGTERM and Ctrl-C finish the requests
    under way. GET /readyz tells whether every model serves, /tfopt/v1/models what is served by which runtime.

    \b
    Examples:
      tfopt serve models/linear
      tfopt serve models/ --port 8080 --host 0.0.0.0
      tfopt serve digits=small/model.tflite
      tfopt serve models/ --grpc-port 8500
      tfopt serve --config models.config --config-poll-interval 5
      curl -d '{"instances": [5.0]}' http://localhost:8501/v1/models/linear:predict
    """
    from tfopt.cli.output import say
    from tfopt.errors import UsageError
    from tfopt.serve.request_log.targets import LogSettings
    from tfopt.serve.rpc.options import GrpcOptions
    from tfopt.serve.server import Server
    from tfopt.serve.settings.options import DrainOptions, MetricsOptions, RestOptions, VersionOptions
    from tfopt.serve.settings.ssl import read_tls_files
    from tfopt.serve.sizes import parse_size
    from tfopt.serve.versions.model import Rules

    if not models and config is None:
        raise UsageError("no model to serve", hint="name one or a --config; see tfopt serve --help")
    server = Server(
        *(models or ()),
        host=host,
        port=port,
        grpc_port=grpc_port,
        grpc_socket_path=None if grpc_socket is None else str(grpc_socket),
        grpc=GrpcOptions(tls=read_tls_files(grpc_key, grpc_certificate, grpc_client_ca), reflection=grpc_reflection),
        poll_interval=poll_interval,
        config_file=config,
        config_poll_interval=config_poll_interval,
        versions=VersionOptions(Rules(on_empty=on_empty.value)),
        runtime=runtime.value,
        prefer=None if prefer is None else prefer.value,
        threads=threads,
        rest=RestOptions(cors=cors),
        drain=DrainOptions(drain_timeout, drain_delay),
        metrics=MetricsOptions(by_version=metrics_by_version),
        log_requests=LogSettings(
            log_requests, log_requests_rate, parse_size(log_requests_bytes), log_requests_inputs.value
        ),
    )

    def started() -> None:
        if json:
            grpc = {} if server.grpc_address is None else {"grpc": server.grpc_address}
            _print_line({"event": "serving", "url": server.url, **grpc, "models": sorted(server.models)})
        places = [server.url, server.grpc_address and f"grpc://{server.grpc_address}", grpc_socket]
        say(f"serving {', '.join(sorted(server.models))} at {', '.join(str(place) for place in places if place)}")

    with log_on_stderr(log_format, log_level, access=access_log):
        server.serve_forever(started)


def _print_line(event: dict[str, object]) -> None:
    import json

    print(json.dumps(event), flush=True)
