"""Where the requests of which models are logged: what configs say, else what is said for all models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tfopt.serve.request_log.log import DEFAULT_TOTAL, Target
from tfopt.serve.request_log.records import Inputs
from tfopt.serve.versions.config import ModelConfig


@dataclass(frozen=True)
class LogSettings:
    """Log `rate` (0 to 1) of the requests of every model whose config says nothing else to `directory`, None: of no
    other. `total`: bytes of all logs together; `inputs`: what is written of them."""

    directory: Path | None = None
    rate: float = 0.01
    total: int = DEFAULT_TOTAL
    inputs: Inputs = "keep"

    def targets(self, configs: Sequence[ModelConfig]) -> dict[str, Target]:
        """By model. A model's name is spelled so that it is a file's."""
        found = {}
        for config in configs:
            if config.logging is not None:
                found[config.name] = Target(Path(config.logging.filename_prefix), config.logging.sampling_rate)
            elif self.directory is not None:
                found[config.name] = Target(self.directory.absolute() / quote(config.name, safe=""), self.rate)
        return found
