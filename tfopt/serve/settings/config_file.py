"""The config file that a server follows while it runs (`--model_config_file_poll_wait_seconds`)."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event, Thread

from tfopt.errors import TfoptError
from tfopt.serve.settings.model_config import read_model_configs
from tfopt.serve.versions.config import ModelConfig
from tfopt.serve.versions.registry import Models

log = logging.getLogger("tfopt.serve")


class ConfigFile:
    """Looks at the file every `interval` seconds, and has `models` serve what it says when that has changed.

    A file that cannot be read or is refused is told of once and changes nothing. What a reload request has changed
    stays until the file changes.
    """

    def __init__(self, path: Path, models: Models, interval: float) -> None:
        self._path = path
        self._models = models
        self._interval = interval
        self._applied: list[ModelConfig] = list(models.configs)
        self._complaint: str | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._follow, name="tfopt-config", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A reload under way goes on by itself."""
        self._stopping.set()

    def _follow(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self._look()
            except TfoptError as error:
                self._complain(str(error))

    def _look(self) -> None:
        configs = read_model_configs(self._path)
        if configs == self._applied:
            self._complaint = None
            return
        self._models.reconfigure(configs)
        self._applied, self._complaint = configs, None
        log.info("%s: now serving %s", self._path, ", ".join(config.name for config in configs) or "no model")

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            log.error("the config file is not followed: %s", complaint)
        self._complaint = complaint
