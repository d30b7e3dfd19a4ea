"""tensorflow_model_server's command line: its flags, and how TensorFlow reads them."""

from __future__ import annotations

import pytest

from tfopt.errors import UsageError
from tfopt.serve.model_server import _rest
from tfopt.serve.settings.flag_help import help_text, table
from tfopt.serve.settings.flag_parser import parse_flags
from tfopt.serve.settings.flags import FLAGS

#: Those of tensorflow_serving/model_servers/main.cc at 9d981c5c, in its order.
MAIN_CC = """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms rest_api_enable_cors_support
enable_batching allow_version_labels_for_unavailable_models batching_parameters_file
enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds model_name model_base_path
num_load_threads num_unload_threads max_num_load_retries load_retry_interval_micros file_system_poll_wait_seconds
flush_filesystem_caches tensorflow_session_parallelism tensorflow_session_config_file tensorflow_intra_op_parallelism
tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file platform_config_file
per_process_gpu_memory_fraction saved_model_tags grpc_channel_arguments grpc_max_threads enable_model_warmup
num_request_iterations_for_warmup version monitoring_config_file remove_unused_fields_from_bundle_metagraph
prefer_tflite_model num_tflite_pools num_tflite_interpreters_per_pool enable_signature_method_name_check
xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file
mixed_precision skip_initialize_tpu enable_grpc_healthcheck_service enable_serialization_as_tensor_content
"""


def test_every_flag_of_tensorflow_serving_is_there() -> None:
    theirs = [flag.name for flag in FLAGS if not flag.is_own]
    assert sorted(theirs) == sorted(MAIN_CC.split())


def test_defaults_are_of_their_kind() -> None:
    kinds = {"bool": bool, "int32": int, "int64": int, "float": float, "string": str}
    for flag in FLAGS:
        assert type(flag.default) is kinds[flag.kind], flag.name
        assert flag.as_if is None or type(flag.as_if) is kinds[flag.kind], flag.name
        assert bool(flag.idle) == (flag.as_if is not None), flag.name


def test_help_and_reference_name_them_all() -> None:
    for flag in FLAGS:
        assert f"\n  --{flag.name}\n" in help_text()
        assert f"| `--{flag.name}` |" in table()


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--port=9000", "port", 9000),
        ("--port=-1", "port", -1),
        ("--port=+0010", "port", 10),
        ("--load_retry_interval_micros=9000000000", "load_retry_interval_micros", 9000000000),
        ("--enable_batching", "enable_batching", True),
        ("--enable_batching=true", "enable_batching", True),
        ("--enable_model_warmup=false", "enable_model_warmup", False),
        ("--model_name=a=b", "model_name", "a=b"),
        ("--model_name=", "model_name", ""),
        ("--per_process_gpu_memory_fraction=0.5", "per_process_gpu_memory_fraction", 0.5),
        ("--grpc_channel_arguments=grpc.a=1,grpc.b=x", "grpc_channel_arguments", "grpc.a=1,grpc.b=x"),
    ],
)
def test_values(argument: str, name: str, value: object) -> None:
    flags = parse_flags([argument])
    assert flags.values[name] == value and flags.given == {name}


def test_the_last_one_counts_and_spaces_do_for_an_equals_sign() -> None:
    flags = parse_flags(["--port=1", "--model_name", "m", "--port", "2", "--enable_batching"])
    assert (flags.number("port"), flags.text("model_name"), flags.is_on("enable_batching")) == (2, "m", True)
    assert flags.number("rest_api_port") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prot=1"], "unknown argument: --prot=1; did you mean --port?"),
        (["--nothing_of_the_kind"], "unknown argument: --nothing_of_the_kind; see --help"),
        (["-port=1"], "unknown argument: -port=1; flags begin with --"),
        (["models"], "unknown argument: models; flags begin with --"),
        (["--"], "unknown argument: --"),
        (["--noenable_batching"], "unknown argument: --noenable_batching; did you mean --enable_batching?"),
        (["--port"], "--port wants a value"),
        (["--port", "--model_name=m"], "--port wants a value"),
        (["--port=x"], "Couldn't interpret value x for flag port; it wants an int32"),
        (["--port=1.5"], "Couldn't interpret value 1.5 for flag port"),
        (["--port=2147483648"], "Couldn't interpret value 2147483648 for flag port"),
        (["--port="], "Couldn't interpret value  for flag port"),
        (["--enable_batching=1"], "Couldn't interpret value 1 for flag enable_batching; it wants true or false"),
        (["--per_process_gpu_memory_fraction=half"], "it wants a number"),
    ],
)
def test_what_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_flags(arguments)
    assert said in str(raised.value)


def test_a_flag_that_changes_nothing_is_told_of_when_it_asks_for_something_else() -> None:
    idle = parse_flags(["--flush_filesystem_caches=false", "--enable_profiler", "--skip_initialize_tpu"]).idle()
    assert idle == [
        "--enable_profiler=true has no effect: there is none: it would write into a directory that its client names"
    ]
    assert parse_flags([]).idle() == [], "defaults are nobody's wish"


@pytest.mark.parametrize(("given", "timeout"), [("1500", 1.5), ("0", None), ("-1", None)])
def test_a_rest_timeout_of_nothing_is_none(given: str, timeout: float | None) -> None:
    assert _rest(parse_flags([f"--rest_api_timeout_in_ms={given}"])).timeout == timeout
