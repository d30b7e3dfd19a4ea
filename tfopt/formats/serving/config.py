"""TensorFlow Serving's settings files: messages that people write as text.

Source: tensorflow_serving/config/*.proto, tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
"""

from __future__ import annotations

from typing import Any

from tfopt.formats.serving.schema import Schema

_POLICY = "FileSystemStoragePathSourceConfig.ServableVersionPolicy"
_FULL_POLICY = f"tensorflow.serving.{_POLICY}"
_MESSAGES = {
    "FileSystemStoragePathSourceConfig": (),
    _POLICY: (
        f"{_FULL_POLICY}.Latest latest 100 policy_choice",
        f"{_FULL_POLICY}.All all 101 policy_choice",
        f"{_FULL_POLICY}.Specific specific 102 policy_choice",
    ),
    f"{_POLICY}.Latest": ("uint32 num_versions 1",),
    f"{_POLICY}.All": (),
    f"{_POLICY}.Specific": ("repeated int64 versions 1",),
    "LogCollectorConfig": ("string type 1", "string filename_prefix 2"),
    "PerTaskSamplingConfig": ("string dc 1", "int32 task_index 2", "double sampling_rate 3"),
    "SamplingConfig": (
        "double sampling_rate 1",
        "repeated PerTaskSamplingConfig per_task_sampling_configs 3",
        "int32 attributes 2",
    ),
    "LoggingConfig": (
        "LogCollectorConfig log_collector_config 1",
        "SamplingConfig sampling_config 2",
        "google.protobuf.Any custom_logging_config 3",
    ),
    "ModelConfig": (
        "string name 1",
        "string base_path 2",
        "ModelType model_type 3",
        "string model_platform 4",
        f"{_FULL_POLICY} model_version_policy 7",
        "map<string,int64> version_labels 8",
        "LoggingConfig logging_config 6",
    ),
    "ModelConfigList": ("repeated ModelConfig config 1",),
    "ModelServerConfig": (
        "ModelConfigList model_config_list 1 config",
        "google.protobuf.Any custom_model_config 2 config",
    ),
    "PrometheusConfig": ("bool enable 1", "string path 2"),
    "MonitoringConfig": ("PrometheusConfig prometheus_config 1",),
    "SSLConfig": ("string server_key 1", "string server_cert 2", "string custom_ca 3", "bool client_verify 4"),
    "PlatformConfig": ("google.protobuf.Any source_adapter_config 1",),
    "PlatformConfigMap": ("map<string,PlatformConfig> platform_configs 1",),
    "BatchingParameters": (
        "google.protobuf.Int64Value max_batch_size 1",
        "google.protobuf.Int64Value batch_timeout_micros 2",
        "google.protobuf.Int64Value max_enqueued_batches 3",
        "google.protobuf.Int64Value num_batch_threads 4",
        "google.protobuf.StringValue thread_pool_name 5",
        "google.protobuf.BoolValue enable_large_batch_splitting 8",
        "google.protobuf.Int64Value max_execution_batch_size 9",
        "repeated int64 allowed_batch_sizes 6",
        "bool pad_variable_length_inputs 7",
    ),
}
_ENUMS = {"ModelType": {"MODEL_TYPE_UNSPECIFIED": 0, "TENSORFLOW": 1, "OTHER": 2}}
CONFIG = Schema("tfopt/serving_config.proto", "tensorflow.serving", _MESSAGES, enums=_ENUMS)

BatchingParameters: Any = CONFIG.message("BatchingParameters")
ModelServerConfig: Any = CONFIG.message("ModelServerConfig")
MonitoringConfig: Any = CONFIG.message("MonitoringConfig")
PlatformConfigMap: Any = CONFIG.message("PlatformConfigMap")
SSLConfig: Any = CONFIG.message("SSLConfig")
