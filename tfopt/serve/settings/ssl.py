"""`--ssl_config_file`: gRPC behind TLS. The file holds keys and certificates themselves, as PEM.

Source: tensorflow_serving/config/ssl_config.proto, model_servers/server.cc.
"""

from __future__ import annotations

from pathlib import Path

from tfopt.errors import UsageError
from tfopt.formats.serving.config import SSLConfig
from tfopt.serve.rpc.options import Tls
from tfopt.serve.settings.text import read_text_message


def read_tls(path: Path) -> Tls:
    """Raises UsageError."""
    config = read_text_message(path, SSLConfig)
    for name in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(config, name):
            hint = "it wants the contents of the PEM file, not its name"
            raise UsageError(f"{name} is no PEM", where=str(path), hint=hint)
    ca = config.custom_ca.encode() or None
    return Tls(config.server_key.encode(), config.server_cert.encode(), ca, config.client_verify)
