"""What a model is: contract, size, operations, and what the exact recipe and the lossy passes would do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tfopt.errors import UsageError
from tfopt.formats.model_path import saved_model_file
from tfopt.ir.bodies import all_nodes
from tfopt.ir.facts import INTEGER_LAYERS
from tfopt.ir.graph import Model
from tfopt.ir.text import to_text
from tfopt.ledger import LedgerRow, findings_by_step
from tfopt.passes.base import Finding
from tfopt.passes.registry import BUILTIN, steps
from tfopt.runtimes.base import SignatureInfo, signatures_of
from tfopt.runtimes.edges import described, has_integer_edges
from tfopt.standing import Standing, standings
from tfopt.store import Manifest, read_manifest
from tfopt.store.size import model_files

#: Formats that are one file, and whose insides are not looked at.
_FILES = (".tflite", ".onnx")


@dataclass(frozen=True, slots=True)
class Inspection:
    """`signatures` maps key to {"inputs": {name: type}, "outputs": ..., "method_name": ...}, to which "edges"
    are added where integers stand for real numbers (`runtimes.edges.described`); for a .tflite or .onnx file only these
    and `bytes` are known. `found` is of the exact recipe's passes, `lossy` of those that change the outputs, each with
    its defaults after that recipe. `integer_layers` counts the layers that compute on 8-bit integers. `artifacts` are
    those of a version that `compress` or `publish` made, and of a model on integers."""

    path: Path
    kind: str
    bytes: int
    signatures: Mapping[str, Any]
    figures: LedgerRow | None = None
    operations: Mapping[str, int] | None = None
    found: Mapping[str, tuple[Finding, ...]] | None = None
    lossy: Mapping[str, tuple[Finding, ...]] | None = None
    integer_layers: int = 0
    artifacts: tuple[Standing, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        figures = None
        if self.figures is not None:
            unmeasured = ("step", "options", "seconds", "change", "done")
            figures = {k: v for k, v in self.figures.to_dict().items() if k not in unmeasured}
        return {
            "path": str(self.path),
            "kind": self.kind,
            "bytes": self.bytes,
            "signatures": dict(self.signatures),
            "figures": figures,
            "operations": self.operations,
            "integer_layers": self.integer_layers,
            "artifacts": [standing.to_dict() for standing in self.artifacts],
            "exact_passes": None if self.found is None else _plain(self.found),
            "lossy_passes": None if self.lossy is None else _plain(self.lossy),
        }


def _plain(found: Mapping[str, tuple[Finding, ...]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [asdict(finding) for finding in findings] for name, findings in found.items()}


def inspect_model(path: Path, *, tell: Callable[[str], None] = lambda _: None) -> Inspection:
    """Look at a SavedModel, a version directory, a .tflite or a .onnx file. Raises NotFound, InvalidModel and the
    reader's errors."""
    if path.suffix in _FILES:
        return _inspect_file(path)
    for name in ("model.tflite", "model.onnx"):
        if path.is_dir() and not (path / "saved_model.pb").exists() and (path / name).is_file():
            return replace(_inspect_file(path / name), artifacts=_artifacts(path))
    saved_model_file(path)  # before TensorFlow is imported, which takes seconds
    from tfopt.formats.saved_model import read_saved_model
    from tfopt.pipeline import run_pipeline
    from tfopt.recipe import load_recipe
    from tfopt.targets.native import requirements

    model = read_saved_model(path)
    result = run_pipeline(model, load_recipe("exact"), tell=tell)
    original, *rows = result.ledger
    operations = Counter(node.op for node in all_nodes(model.graph))
    return Inspection(
        path=path,
        kind="saved_model",
        bytes=_bytes(path),
        signatures=_signatures(signatures_of(model)),
        figures=original,
        operations=dict(operations.most_common()),
        found=findings_by_step(rows),
        lossy=_lossy(result.model, tell),
        integer_layers=sum(operations[op] for op in INTEGER_LAYERS),
        artifacts=_artifacts(path, requirements(model.graph)),
    )


def _artifacts(path: Path, requires: tuple[str, ...] = ()) -> tuple[Standing, ...]:
    """Nothing of a plain SavedModel, of which there is nothing to tell."""
    manifest = read_manifest(path)
    if manifest is None and not requires:
        return ()
    return standings(path, manifest or Manifest(), {"saved_model": requires})


def _lossy(model: Model, tell: Callable[[str], None]) -> dict[str, tuple[Finding, ...]]:
    found = {}
    for name in BUILTIN:
        step = steps()[name]
        # Without samples there is nothing to say of steps that need them.
        if step.kind == "pass" and not step.exact and not step.needs:
            tell(name)
            found[name] = step.run_model(model).findings
    return found


def read_graph_text(path: Path) -> str:
    """The graph of a SavedModel as text, weights elided. Raises UsageError for other formats."""
    if path.suffix in _FILES:
        raise UsageError(f"--graph shows a SavedModel's graph, not a {path.suffix} file's", where=str(path))
    saved_model_file(path)
    from tfopt.formats.saved_model import read_saved_model

    return to_text(read_saved_model(path).graph)


def _inspect_file(path: Path) -> Inspection:
    from tfopt.runtimes.load import open_artifact

    with open_artifact(path) as runtime:
        return Inspection(path, runtime.kind, _bytes(path), _signatures(runtime.signatures))


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in model_files(path))


def _signatures(signatures: Mapping[str, SignatureInfo]) -> dict[str, Any]:
    return {
        key: {
            "inputs": {name: str(info.type) for name, info in signature.inputs.items()},
            "outputs": {name: str(info.type) for name, info in signature.outputs.items()},
            "method_name": signature.method_name,
            **({"edges": described(signature)} if has_integer_edges(signature) else {}),
        }
        for key, signature in signatures.items()
    }
