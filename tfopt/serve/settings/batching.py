"""`--batching_parameters_file`: how requests that wait are put into one run.

Source: tensorflow_serving/servables/tensorflow/session_bundle_config.proto, bundle_factory_util.cc.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from tfopt.errors import UsageError
from tfopt.formats.serving.config import BatchingParameters
from tfopt.serve.settings.text import read_text_message

_COUNTS = ("max_batch_size", "max_enqueued_batches", "num_batch_threads", "max_execution_batch_size")


def read_batching(path: Path) -> Any:
    """The BatchingParameters of a file. Raises UsageError for those that no scheduler would take."""
    found = read_text_message(path, BatchingParameters)
    for name in _COUNTS:
        if found.HasField(name) and getattr(found, name).value < 1:
            raise UsageError(f"{name} must be positive; was {getattr(found, name).value}", where=str(path))
    if found.HasField("batch_timeout_micros") and found.batch_timeout_micros.value < 0:
        what = f"batch_timeout_micros must be non-negative; was {found.batch_timeout_micros.value}"
        raise UsageError(what, where=str(path))
    _check_sizes(found, str(path))
    return found


def _check_sizes(found: Any, where: str) -> None:
    sizes = list(found.allowed_batch_sizes)
    if not sizes:
        return
    if sizes[0] < 1 or any(low >= high for low, high in pairwise(sizes)):
        raise UsageError("allowed_batch_sizes must be positive and monotonically increasing", where=where)
    largest = "max_execution_batch_size" if found.enable_large_batch_splitting.value else "max_batch_size"
    if found.HasField(largest) and sizes[-1] != getattr(found, largest).value:
        raise UsageError(f"the last of allowed_batch_sizes must equal {largest}", where=where)
