"""`--monitoring_config_file`: where Prometheus finds the metrics.

Source: tensorflow_serving/config/monitoring_config.proto, model_servers/http_server.cc.
"""

from __future__ import annotations

from pathlib import Path

from tfopt.errors import UsageError
from tfopt.formats.serving.config import MonitoringConfig
from tfopt.serve.metrics import DEFAULT_PATH
from tfopt.serve.settings.text import read_text_message


def read_metrics_path(path: Path) -> str | None:
    """The path of the metrics, None when they are not to be had. Raises UsageError."""
    config = read_text_message(path, MonitoringConfig).prometheus_config
    if not config.enable:
        return None
    wanted: str = config.path or DEFAULT_PATH
    if not wanted.startswith("/"):
        raise UsageError(f"the path of the metrics has no / in front: {wanted}", where=str(path))
    return wanted
