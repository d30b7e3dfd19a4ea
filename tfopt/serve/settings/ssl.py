"""gRPC behind TLS: of `--ssl_config_file`, which holds keys and certificates themselves, or of PEM files.

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


def read_tls_files(key: Path | None, certificate: Path | None, client_ca: Path | None) -> Tls | None:
    """TLS of PEM files; with `client_ca` clients are verified. None when there are no files. Raises UsageError."""
    if key is None and certificate is None and client_ca is None:
        return None
    if key is None or certificate is None:
        raise UsageError("TLS takes a key and a certificate", hint="give both")
    ca = None if client_ca is None else _pem(client_ca)
    return Tls(_pem(key), _pem(certificate), ca, client_verify=ca is not None)


def _pem(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if b"-----BEGIN" not in content:
        raise UsageError("this is no PEM file", where=str(path))
    return content
