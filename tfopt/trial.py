"""Run an artifact whose kernels might crash where they take nothing along, before it is accepted; and tell of a
machine that cannot run it, if possible before the work."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.errors import UnmetRequirement
from tfopt.evidence import Evidence
from tfopt.formats.serving.warmup import WarmupRequest, write_warmup
from tfopt.ir.graph import Model
from tfopt.ir.linear import LINEAR
from tfopt.recipe import Recipe
from tfopt.requirements import VNNI, surely_unmet
from tfopt.targets.child import run_child

#: Examples of the batches: one, and more than there are threads.
_BATCHES: Final = (1, 8)
_TIMEOUT_SECONDS: Final = 600.0


def check_machine(recipe: Recipe, model: Model) -> None:
    """Raises UnmetRequirement when the recipe makes integers of this model that this machine surely cannot run."""
    wide = any(step.step.name == "quantize" and not step.options.get("reduce_range") for step in recipe)
    reason = surely_unmet([VNNI]) if wide else None
    if reason is not None and any(node.op in LINEAR for node in model.graph.nodes):
        what = f"a model with 8-bit weights cannot be proven on this machine: {reason}"
        raise UnmetRequirement(what, hint="give --reduce-range (weights of 7 bits), or compress it where there is VNNI")


def try_artifact(artifact: Path, evidence: Evidence) -> None:
    """Run every signature on some of its samples, alone and side by side. Raises UnmetRequirement when this machine
    cannot run it, ConversionError when the process crashes, fails or takes more than ten minutes."""
    from tfopt.formats.meta_graph import read_meta_graph
    from tfopt.runtimes.tensorflow_integers import check_integer_kernels

    check_integer_kernels(read_meta_graph(artifact, ("serve",)).graph_def.node, "proving the SavedModel")
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
