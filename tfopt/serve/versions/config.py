"""What a server is told to serve, and what TensorFlow Serving would refuse of it, in its words.

Source: tensorflow_serving/model_servers/server_core.cc.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfopt.errors import Code, RequestError
from tfopt.serve.versions.policies import NEWEST, Policy
from tfopt.serve.versions.sources import BasePath, SingleVersion, Source

#: The only platform of a stock TensorFlow Serving.
TENSORFLOW: Final = "tensorflow"
#: Types of a log_collector_config that write files.
_COLLECTORS: Final = ("", "file", "tfrecord")
_URI = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")


@dataclass(frozen=True)
class RequestLogging:
    """Which requests of a model are logged, and where to (LoggingConfig)."""

    type: str = ""
    filename_prefix: str = ""
    sampling_rate: float = 0.0


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve (ModelConfig of model_server_config.proto).

    `base_path` holds a directory a version; with `version` it is that one version itself, a directory or a file.
    `labels` None leaves them to the store (`.tfopt/labels.json`), which also keeps labelled versions in service; labels
    given here only name versions that the policy serves.
    """

    name: str
    base_path: Path | str
    policy: Policy = NEWEST
    labels: Mapping[str, int] | None = None
    platform: str = TENSORFLOW
    logging: RequestLogging | None = None
    version: int | None = None

    @classmethod
    def of(cls, name: str, source: Source) -> ModelConfig:
        """A model of what a user names on the command line."""
        return cls(name, source.path, version=source.number if isinstance(source, SingleVersion) else None)

    @property
    def source(self) -> Source:
        path = Path(str(self.base_path).removeprefix("file://"))
        return BasePath(path) if self.version is None else SingleVersion(path, self.version)


def check_configs(configs: Sequence[ModelConfig]) -> None:
    """Raises RequestError with TensorFlow Serving's text for doubled names, relative paths and unknown platforms, and
    for paths that are not on a file system; for request logs that cannot be written as they are told to."""
    seen: set[str] = set()
    for config in configs:
        if config.name in seen:
            raise RequestError(f"Illegal to list model {config.name} multiple times in config list")
        seen.add(config.name)
    for config in configs:
        _check_path(config)
    for config in configs:
        if not config.platform:
            what = "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            raise RequestError(f"{what}ModelServerConfig::model_platform, model name is {config.name}")
        if config.platform != TENSORFLOW:
            raise RequestError(f"Model {config.name} requests unsupported platform {config.platform}")
    for config in configs:
        if config.logging is not None:
            _check_logging(config.name, config.logging)


def _check_logging(name: str, logging: RequestLogging) -> None:
    """A stock TensorFlow Serving logs no requests, so that the kinds of collectors are ours to name."""
    if logging.type not in _COLLECTORS:
        hint = f"{' and '.join(filter(None, _COLLECTORS))} write TFRecord files, and so does none"
        what = f"Cannot find LogCollector::Factory for type: {logging.type}"
        raise RequestError(what, code=Code.NOT_FOUND, hint=hint)
    if not logging.filename_prefix.startswith("/") and not Path(logging.filename_prefix).is_absolute():
        prefix = logging.filename_prefix
        raise RequestError(f"the filename_prefix of the log of model {name} is no absolute path: {prefix!r}")
    if not 0 <= logging.sampling_rate <= 1:
        what = f"the sampling_rate of the log of model {name} is not between 0 and 1: {logging.sampling_rate}"
        raise RequestError(what)


def _check_path(config: ModelConfig) -> None:
    path = str(config.base_path)
    if not config.name:
        raise RequestError(f"a model has no name; its base path is {path!r}")
    uri = _URI.match(path)
    if uri is not None and uri[1].lower() != "file":
        hint = "mount or copy it, and give the directory"
        what = f"Model {config.name} cannot be read from {path}: there is no file system for {uri[1]}://"
        raise RequestError(what, code=Code.UNIMPLEMENTED, hint=hint)
    if uri is None and not path.startswith("/") and not Path(path).is_absolute():
        what = f"Expected model {config.name} to have an absolute path or URI; got base_path()={path}"
        raise RequestError(what)


def check_platforms(before: Sequence[ModelConfig], after: Sequence[ModelConfig]) -> None:
    """Raises RequestError for a model whose platform changes."""
    platforms = {config.name: config.platform for config in before}
    for config in after:
        known = platforms.get(config.name, config.platform)
        if known != config.platform:
            what = f"Illegal to change a model's platform. For model {config.name} platform was {known}"
            raise RequestError(f"{what} and new platform requested is {config.platform}")
