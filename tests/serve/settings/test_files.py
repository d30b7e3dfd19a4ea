"""Settings files: monitoring, batching, and how files that are none are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfopt.errors import UsageError
from tfopt.serve.settings.batching import read_batching
from tfopt.serve.settings.monitoring import read_metrics_path
from tfopt.serve.settings.ssl import read_tls


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config: { enable: true, path: "/mine" }', "/mine"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: false path: "/mine" }', None),
        ("# nothing", None),
    ],
)
def test_monitoring(tmp_path: Path, text: str, path: str | None) -> None:
    assert read_metrics_path(written(tmp_path, text)) == path


def test_a_path_that_no_request_can_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no / in front: metrics"):
        read_metrics_path(written(tmp_path, 'prometheus_config { enable: true path: "metrics" }'))


@pytest.mark.parametrize("text", ["prometheus_config { on: true }", "prometheus_config {", "\0", "enable: maybe"])
def test_what_is_no_such_message(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"Error parsing text-format tensorflow\.serving\.MonitoringConfig: 1:"):
        read_metrics_path(written(tmp_path, text))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "settings.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read: it is no text in UTF-8"):
        read_metrics_path(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        read_metrics_path(tmp_path / "gone")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_metrics_path(tmp_path)


def test_batching(tmp_path: Path) -> None:
    text = """
      max_batch_size { value: 128 }
      batch_timeout_micros { value: 0 }
      max_enqueued_batches { value: 1000000 }
      num_batch_threads { value: 8 }
      allowed_batch_sizes: 64
      allowed_batch_sizes: 128
    """
    found = read_batching(written(tmp_path, text))
    assert found.max_batch_size.value == 128 and list(found.allowed_batch_sizes) == [64, 128]
    split = "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 8 } allowed_batch_sizes: 8"
    assert read_batching(written(tmp_path, f"max_batch_size {{ value: 99 }} {split}")).max_batch_size.value == 99


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be positive; was -1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative"),
        ("allowed_batch_sizes: [4, 2]", "monotonically increasing"),
        ("allowed_batch_sizes: [2, 2]", "monotonically increasing"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]", "must equal max_batch_size"),
        ("max_batch_size: 8", r"Error parsing text-format tensorflow\.serving\.BatchingParameters"),
    ],
)
def test_batching_that_no_scheduler_takes(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_batching(written(tmp_path, text))


def test_tls(tmp_path: Path) -> None:
    found = read_tls(
        written(tmp_path, 'server_key: "-----BEGIN KEY" server_cert: "-----BEGIN CERT" client_verify: false')
    )
    assert (found.key, found.certificate) == (b"-----BEGIN KEY", b"-----BEGIN CERT")
    assert (found.ca, found.client_verify) == (None, False)


@pytest.mark.parametrize("text", ['server_key: "/etc/key.pem" server_cert: "-----BEGIN"', 'server_key: "-----BEGIN"'])
def test_names_of_files_are_no_pem(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="is no PEM; it wants the contents of the PEM file, not its name"):
        read_tls(written(tmp_path, text))
