"""The flags of `tfopt model-server`: those of tensorflow_model_server, and a few of tfopt's own.

Source: tensorflow_serving/model_servers/main.cc, model_servers/server.h (defaults). Light: `--help` imports no engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["bool", "int32", "int64", "float", "string"]
Value = bool | int | float | str

#: Flags of tfopt's own begin so, and those of TensorFlow Serving never do.
OWN_PREFIX: Final = "tfopt_"


@dataclass(frozen=True)
class Flag:
    """`idle` says why a flag changes nothing here; what it asks for is then so for `as_if`, and a warning is given for
    every other value. A default of 0 that stands for "as many as suit" is described in `help`."""

    name: str
    kind: Kind
    default: Value
    help: str
    idle: str = ""
    as_if: Value | None = None

    @property
    def is_own(self) -> bool:
        return self.name.startswith(OWN_PREFIX)


_GPU = "tfopt runs models on processors alone"
_ONE_SOURCE = "(not with --model_config_file)"

FLAGS: Final[tuple[Flag, ...]] = (
    Flag("port", "int32", 8500, "Port for gRPC; 0: no gRPC over TCP."),
    Flag("grpc_socket_path", "string", "", "Path of a Unix socket for gRPC."),
    Flag("rest_api_port", "int32", 0, "Port for REST; 0: no REST."),
    Flag("rest_api_num_threads", "int32", 0, "Threads that answer REST requests; 0: two for each core."),
    Flag("rest_api_timeout_in_ms", "int32", 30000, "Milliseconds that a model may run for a REST request."),
    Flag("rest_api_enable_cors_support", "bool", False, "Let web pages from anywhere read the answers."),
    Flag("model_name", "string", "default", f"Name of the model {_ONE_SOURCE}."),
    Flag("model_base_path", "string", "", f"Directory with the model's numbered versions {_ONE_SOURCE}."),
    Flag("model_config_file", "string", "", "ModelServerConfig as text: the models, their versions and labels."),
    Flag(
        "model_config_file_poll_wait_seconds", "int32", 0,
        "Seconds between looks at that file; 0: it is read once.",
    ),
    Flag(
        "allow_version_labels_for_unavailable_models", "bool", False,
        "A new label may be given to a version that is not available yet.",
    ),
    Flag(
        "file_system_poll_wait_seconds", "int32", 1,
        "Seconds between looks for new versions; 0: one look; below 0: none.",
    ),
    Flag("max_num_load_retries", "int32", 5, "How often a version that failed to load is tried again."),
    Flag("load_retry_interval_micros", "int64", 60_000_000, "Microseconds between these tries; below 0: none."),
    Flag("num_load_threads", "int32", 0, "Versions that may load at once; 0: one for each core."),
    Flag("num_unload_threads", "int32", 0, "Versions that may unload at once; 0: one."),
    Flag("enable_model_warmup", "bool", True, "Replay a version's warmup requests before it is available."),
    Flag("num_request_iterations_for_warmup", "int32", 0, "How often each warmup request is run, if above 0."),
    Flag(
        "enable_signature_method_name_check", "bool", False,
        "Refuse Classify and Regress on signatures of another method.",
    ),
    Flag("saved_model_tags", "string", "serve", "Tags of the MetaGraph to load, with commas."),
    Flag("tensorflow_session_parallelism", "int64", 0, "Threads of a session, in an op and between ops; 0: all cores."),
    Flag("tensorflow_intra_op_parallelism", "int64", 0, "Threads within an op."),
    Flag("tensorflow_inter_op_parallelism", "int64", 0, "Ops that run at once."),
    Flag("tensorflow_session_config_file", "string", "", "TensorFlow's ConfigProto as text."),
    Flag("prefer_tflite_model", "bool", False, "Serve model.tflite where a version has one."),
    Flag("num_tflite_pools", "int32", 0, "Interpreter pools of a LiteRT version; 0: one for each core."),
    Flag("num_tflite_interpreters_per_pool", "int32", 1, "Interpreters of a pool."),
    Flag("mixed_precision", "string", "", "bfloat16: let TensorFlow compute in it, where the processor does."),
    Flag("enable_batching", "bool", False, "Put requests that wait into one run."),
    Flag("batching_parameters_file", "string", "", "BatchingParameters as text."),
    Flag(
        "enable_per_model_batching_parameters", "bool", False,
        "Let batching_params.pbtxt in a version stand before that file.",
    ),
    Flag("grpc_channel_arguments", "string", "", "key=value,... for the gRPC server."),
    Flag("grpc_max_threads", "int32", 0, "Threads that answer gRPC requests; 0: four for each core."),
    Flag("enable_grpc_healthcheck_service", "bool", False, "gRPC's health service."),
    Flag("enable_serialization_as_tensor_content", "bool", False, "Predict answers in tensor_content."),
    Flag("ssl_config_file", "string", "", "SSLConfig as text: gRPC behind TLS."),
    Flag("use_alts_credentials", "bool", False, "Google's ALTS for gRPC; refused: use --ssl_config_file."),
    Flag("monitoring_config_file", "string", "", "MonitoringConfig as text: Prometheus on the REST port."),
    Flag(
        "platform_config_file", "string", "", "PlatformConfigMap as text.",
        idle="its settings are those of a TensorFlow Serving built by hand; use the flags for sessions and batching",
        as_if="",
    ),
    Flag(
        "thread_pool_factory_config_file", "string", "", "ThreadPoolConfig as text.",
        idle="it names classes of a TensorFlow Serving built by hand", as_if="",
    ),
    Flag(
        "flush_filesystem_caches", "bool", True, "Drop model files from the file cache after a load.",
        idle="the system drops what it needs the memory for", as_if=False,
    ),
    Flag(
        "remove_unused_fields_from_bundle_metagraph", "bool", True, "Keep less of the MetaGraph in memory.",
        idle="only what is needed of it is kept", as_if=True,
    ),
    Flag(
        "enable_profiler", "bool", True, "TensorFlow's profiler service.",
        idle="there is none: it would write into a directory that its client names", as_if=False,
    ),
    Flag("per_process_gpu_memory_fraction", "float", 0.0, "Share of a GPU's memory.", idle=_GPU, as_if=0.0),
    Flag("xla_gpu_compilation_enabled", "bool", False, "XLA for GPUs.", idle=_GPU, as_if=False),
    Flag(
        "xla_cpu_compilation_enabled", "bool", False, "XLA for processors.",
        idle="models that ask for it are always compiled", as_if=True,
    ),
    Flag("skip_initialize_tpu", "bool", False, "Leave TPUs alone.", idle=_GPU, as_if=True),
    Flag("version", "bool", False, "Print the versions and exit."),
    Flag("tfopt_host", "string", "", "Address to listen on; every one by default, as TensorFlow Serving does."),
    Flag("tfopt_runtime", "string", "auto", "auto takes the fastest artifact that passed; else the one named."),
    Flag("tfopt_drain_seconds", "float", 30.0, "Seconds in which requests under way may finish after SIGTERM."),
    Flag(
        "tfopt_drain_delay_seconds", "float", 0.0,
        "Seconds after SIGTERM in which requests are still taken, while readiness says no.",
    ),
    Flag("tfopt_on_empty", "string", "unload", "unload or keep what serves when no version is there any more."),
    Flag("tfopt_log_format", "string", "text", "text, or json: an object a line."),
    Flag("tfopt_log_level", "string", "info", "debug, info, warning or error."),
    Flag("tfopt_access_log", "bool", False, "A line in the log for each request."),
    Flag("tfopt_log_requests_bytes", "string", "1GB", "Room for all request logs of logging_config; the oldest go."),
    Flag("tfopt_log_requests_inputs", "string", "keep", "Log inputs as they are (keep), a hash of each, or omit them."),
    Flag("tfopt_metrics_by_version", "bool", False, "Two more labels of the metrics: version and signature."),
)  # fmt: skip
