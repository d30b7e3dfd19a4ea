"""Run an artifact whose kernels might crash where they take nothing along, before it is accepted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.evidence import Evidence
from tfopt.formats.warmup import WarmupRequest, write_warmup
from tfopt.targets.child import run_child

#: Examples of the batches: one, and more than there are threads.
_BATCHES: Final = (1, 8)
_TIMEOUT_SECONDS: Final = 600.0


def try_artifact(artifact: Path, evidence: Evidence) -> None:
    """Run every signature on some of its samples, alone and side by side. Raises ConversionError when the process
    crashes, fails or takes more than ten minutes."""
    requests = [
        WarmupRequest(artifact.name, key, inputs)
        for key, split in evidence.splits.items()
        for size in _BATCHES
        for inputs in _first(split.held_out, size)
    ]
    with tempfile.TemporaryDirectory(prefix="tfopt-") as scratch:
        file = Path(scratch, "requests")
        write_warmup(file, requests)
        arguments = [str(artifact.resolve()), str(file)]
        run_child(
            "tfopt.runtimes.trial",
            arguments,
            Path(scratch),
            what="the SavedModel on integers",
            timeout=_TIMEOUT_SECONDS,
        )


def _first(samples: Samples, size: int) -> list[Mapping[str, NDArray[Any]]]:
    return [next(samples.batches(size))] if samples.count else []
