"""Which models to serve, from the message that TensorFlow Serving is told it with (ModelServerConfig): in a file, or in
a request to change it.

Source: tensorflow_serving/config/model_server_config.proto, tensorflow_serving/model_servers/server_core.cc.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfopt.errors import RequestError, UsageError
from tfopt.formats.serving.config import ModelServerConfig
from tfopt.serve.settings.text import read_text_message
from tfopt.serve.versions.config import TENSORFLOW, ModelConfig, RequestLogging, check_configs
from tfopt.serve.versions.policies import NEWEST, All, Latest, Policy, Specific


def read_model_configs(path: Path) -> list[ModelConfig]:
    """The models of a config file (`--model_config_file`).

    Raises UsageError that names the file when it cannot be read, or TensorFlow Serving would refuse what it says.
    """
    message = read_text_message(path, ModelServerConfig)
    if message.WhichOneof("config") == "custom_model_config":
        hint = "list the models in a model_config_list"
        raise UsageError("custom_model_config is not supported", where=str(path), hint=hint)
    try:
        configs = model_configs(message)
        check_configs(configs)
    except RequestError as error:
        raise UsageError(error.what, where=str(path), hint=error.hint) from error
    return configs


def model_configs(message: Any) -> list[ModelConfig]:
    """The models of a ModelServerConfig message. Raises RequestError as `serve.versions.config.check_configs`."""
    return [_config(entry) for entry in message.model_config_list.config]


def _config(entry: Any) -> ModelConfig:
    return ModelConfig(
        name=entry.name,
        base_path=entry.base_path,
        policy=_policy(entry.model_version_policy),
        labels=dict(entry.version_labels) or None,
        platform=_platform(entry),
        logging=_logging(entry.logging_config) if entry.HasField("logging_config") else None,
    )


def _policy(message: Any) -> Policy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        return Specific(tuple(message.specific.versions))
    return Latest(max(1, message.latest.num_versions)) if choice == "latest" else NEWEST


def _platform(entry: Any) -> str:
    """`model_type` is what the platform was called once."""
    platform: str = entry.model_platform
    if not entry.model_type:
        return platform
    if platform:
        what = "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform"
        raise RequestError(f"{what}, model name is {entry.name}")
    if entry.model_type != 1:
        raise RequestError(f"ModelServerConfig::model_type choice {entry.model_type} not supported.")
    return TENSORFLOW


def _logging(message: Any) -> RequestLogging:
    collector = message.log_collector_config
    return RequestLogging(collector.type, collector.filename_prefix, message.sampling_config.sampling_rate)
