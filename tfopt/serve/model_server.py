"""tensorflow_model_server's command line as a server of ours: its checks, their order, and what it says.

Source: tensorflow_serving/model_servers/server.cc.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast, get_args

from tfopt.errors import UsageError
from tfopt.serve.request_log.records import Inputs
from tfopt.serve.request_log.targets import LogSettings
from tfopt.serve.rpc.options import GrpcOptions, parse_channel_arguments
from tfopt.serve.server import Server, available_cores
from tfopt.serve.settings.batching import read_batching
from tfopt.serve.settings.flag_parser import Flags
from tfopt.serve.settings.monitoring import read_metrics_path
from tfopt.serve.settings.options import DrainOptions, MetricsOptions, RestOptions, VersionOptions
from tfopt.serve.settings.ssl import read_tls
from tfopt.serve.sizes import parse_size
from tfopt.serve.versions.artifacts import RuntimeChoice
from tfopt.serve.versions.config import ModelConfig
from tfopt.serve.versions.engines import Engines
from tfopt.serve.versions.model import OnEmpty, Rules
from tfopt.serve.versions.retries import Retries

log = logging.getLogger("tfopt.serve")

_MANY_THREADS = (
    "Either configure server_options.tensorflow_session_parallelism or "
    "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) separately. "
    "You cannot configure all."
)
_SAME_PORT = (
    "server_options.http_port cannot be same as grpc_port. "
    "Please use a different port for HTTP/REST API. Skipped exporting HTTP/REST API."
)


def run_model_server(flags: Flags) -> None:
    """Serve as the flags say until SIGTERM or SIGINT.

    Raises UsageError for flags that do not fit together and for settings files that are none, and what
    `Server.start` raises.
    """
    check(flags)
    for warning in flags.idle():
        log.warning("%s", warning)
    if flags.number("rest_api_port") and _rest_port(flags) is None:
        log.error("%s", _SAME_PORT)
    server = build(flags)
    server.serve_forever(lambda: announce(flags))


def check(flags: Flags) -> None:
    """TensorFlow Serving's checks, in its order and its words. Without gRPC it does not start; here REST may do."""
    if not flags.number("port") and not flags.text("grpc_socket_path") and not flags.number("rest_api_port"):
        raise UsageError(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.",
            hint="or --rest_api_port",
        )
    if flags.is_on("use_alts_credentials"):
        if flags.text("ssl_config_file"):
            raise UsageError("Either use_alts_credentials must be false or ssl_config_file must be empty.")
        raise UsageError("--use_alts_credentials: there is no ALTS here", hint="use --ssl_config_file")
    if not flags.text("model_base_path") and not flags.text("model_config_file"):
        what = "Both server_options.model_base_path and server_options.model_config_file are empty!"
        raise UsageError(what, hint="name one of the two")
    if flags.text("batching_parameters_file") and not flags.is_on("enable_batching"):
        raise UsageError(
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        )
    if all(flags.number(f"tensorflow_{name}_parallelism") > 0 for name in ("intra_op", "inter_op", "session")):
        raise UsageError(_MANY_THREADS)
    if flags.text("mixed_precision") not in ("", "bfloat16"):
        raise UsageError(f"--mixed_precision={flags.text('mixed_precision')} is not supported", hint="bfloat16 is")


def build(flags: Flags) -> Server:
    """Raises as `run_model_server`."""
    if flags.is_on("enable_batching"):
        _batching(flags)
    monitoring = flags.text("monitoring_config_file")
    config_file = flags.text("model_config_file")
    return Server(
        configs=None if config_file else [_model(flags)],
        config_file=Path(config_file) if config_file else None,
        config_poll_interval=max(0, flags.number("model_config_file_poll_wait_seconds")),
        poll_interval=flags.number("file_system_poll_wait_seconds"),
        host=flags.text("tfopt_host"),
        port=_rest_port(flags),
        grpc_port=flags.number("port") or None,
        grpc_socket_path=flags.text("grpc_socket_path") or None,
        grpc=_grpc(flags),
        check_method_names=flags.is_on("enable_signature_method_name_check"),
        log_requests=_log_settings(flags),
        runtime=cast(RuntimeChoice, _one_of(flags, "tfopt_runtime", get_args(RuntimeChoice))),
        prefer="litert" if flags.is_on("prefer_tflite_model") else None,
        engines=_engines(flags),
        rest=_rest(flags),
        versions=_versions(flags),
        drain=DrainOptions(
            float(flags.values["tfopt_drain_seconds"]), float(flags.values["tfopt_drain_delay_seconds"])
        ),
        metrics=MetricsOptions(
            read_metrics_path(Path(monitoring)) if monitoring else None, flags.is_on("tfopt_metrics_by_version")
        ),
    )


def announce(flags: Flags) -> None:
    """What waits for tensorflow_model_server waits for these lines."""
    if flags.number("port"):
        log.info("Running gRPC ModelServer at 0.0.0.0:%d ...", flags.number("port"))
    if flags.text("grpc_socket_path"):
        log.info("Running gRPC ModelServer at UNIX socket %s ...", flags.text("grpc_socket_path"))
    if (port := _rest_port(flags)) is not None:
        log.info("Exporting HTTP/REST API at:localhost:%d ...", port)


def _rest_port(flags: Flags) -> int | None:
    """None without REST. A port that gRPC has already is none, which TensorFlow Serving says and carries on."""
    port = flags.number("rest_api_port")
    return None if port in (0, flags.number("port")) else port


def _model(flags: Flags) -> ModelConfig:
    name, path = flags.text("model_name"), flags.text("model_base_path")
    log.info("Building single TensorFlow model file config:  model_name: %s model_base_path: %s", name, path)
    return ModelConfig(name, path)


def _rest(flags: Flags) -> RestOptions:
    return RestOptions(
        timeout=max(0, flags.number("rest_api_timeout_in_ms")) / 1000 or None,  # 0 and less: as long as it takes
        threads=flags.number("rest_api_num_threads") or None,
        cors=flags.is_on("rest_api_enable_cors_support"),
        gzip=False,
    )


def _versions(flags: Flags) -> VersionOptions:
    return VersionOptions(
        _rules(flags),
        load_threads=flags.number("num_load_threads") or None,
        unload_threads=max(1, flags.number("num_unload_threads")),
        ports_wait=True,
        warm_up=flags.is_on("enable_model_warmup"),
        warmup_iterations=max(1, flags.number("num_request_iterations_for_warmup")),
    )


def _rules(flags: Flags) -> Rules:
    interval = max(0.0, flags.number("load_retry_interval_micros") / 1e6)
    retries = Retries(max(0, flags.number("max_num_load_retries")), interval)
    new = flags.is_on("allow_version_labels_for_unavailable_models")
    on_empty = cast(OnEmpty, _one_of(flags, "tfopt_on_empty", get_args(OnEmpty)))
    return Rules(retries, on_empty, "new" if new else "none")


def _engines(flags: Flags) -> Engines:
    intra_op, inter_op = (flags.number(f"tensorflow_{name}_op_parallelism") for name in ("intra", "inter"))
    if intra_op <= 0 and inter_op <= 0:
        intra_op = inter_op = flags.number("tensorflow_session_parallelism")
    session_config = flags.text("tensorflow_session_config_file")
    pools = flags.number("num_tflite_pools") or available_cores()
    return Engines(
        available_cores(),
        tags=tuple(flags.text("saved_model_tags").split(",")),
        intra_op=max(intra_op, 0) or None,
        inter_op=max(inter_op, 0) or None,
        session_config=_session_config(session_config),
        interpreters=max(1, pools * flags.number("num_tflite_interpreters_per_pool")),
        bfloat16=flags.text("mixed_precision") == "bfloat16",
    )


def _session_config(file: str) -> Path | None:
    """The path of a file that is read when a version is loaded; what is wrong with it is told now."""
    if not file:
        return None
    from tfopt.runtimes.tensorflow import read_session_config

    read_session_config(Path(file))
    return Path(file)


def _grpc(flags: Flags) -> GrpcOptions:
    ssl = flags.text("ssl_config_file")
    return GrpcOptions(
        tls=read_tls(Path(ssl)) if ssl else None,
        max_threads=flags.number("grpc_max_threads") or None,
        channel_arguments=parse_channel_arguments(flags.text("grpc_channel_arguments")),
        health=flags.is_on("enable_grpc_healthcheck_service"),
        reflection=False,
        as_content=flags.is_on("enable_serialization_as_tensor_content"),
    )


def _log_settings(flags: Flags) -> LogSettings:
    inputs = cast(Inputs, _one_of(flags, "tfopt_log_requests_inputs", get_args(Inputs)))
    return LogSettings(total=parse_size(flags.text("tfopt_log_requests_bytes")), inputs=inputs)


def _one_of(flags: Flags, name: str, known: tuple[str, ...]) -> str:
    value = flags.text(name)
    if value not in known:
        raise UsageError(f"--{name}: {value!r} is none of {', '.join(known)}")
    return value


def _batching(flags: Flags) -> None:
    if path := flags.text("batching_parameters_file"):
        read_batching(Path(path))
    log.warning("--enable_batching: the parameters are sound; each request still runs by itself in this release")
