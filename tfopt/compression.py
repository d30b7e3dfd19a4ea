"""The main job: read a SavedModel, run a recipe, write the artifacts, prove each of them, put them in place.

One way forward; each function hands a value to the next. Nothing stands at the output's name until all of it
has been proven.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfopt.errors import FidelityError
from tfopt.evidence import Evidence, check_evidence, gather_evidence
from tfopt.fidelity import Gate
from tfopt.ir.graph import Graph
from tfopt.keras.file import is_keras_file
from tfopt.keras.opened import as_saved_model
from tfopt.ledger import LedgerRow
from tfopt.ledger_notes import ledger_notes, why_nothing_is_int8
from tfopt.pipeline import PipelineResult, Requested, run_pipeline
from tfopt.preflight import (
    check_arguments,
    check_classifier,
    check_model,
    check_options,
    check_packages,
    check_samples,
    check_students,
    check_trainings,
)
from tfopt.proof import DROPPING, Prover, WrittenArtifact, promised, run_artifact
from tfopt.recipe import Recipe, dump_recipe, load_recipe
from tfopt.runtimes.base import SignatureInfo, signatures_of
from tfopt.store.digest import tree_digest
from tfopt.store.disk import copy_file, writing
from tfopt.store.manifest import Manifest, write_manifest
from tfopt.store.output import new_directory
from tfopt.store.size import Size, measure_size
from tfopt.supply import observed, probe_of, race_of, supply_of
from tfopt.targets.base import Artifact
from tfopt.trial import check_machine, try_artifact
from tfopt.words import Tell

#: Callables of the original that a note names.
_NAMED = 5
#: Said of int8 where no data was given.
_GUESSED = (
    "int8 without samples is a risk: how far its numbers reach was guessed from random inputs and from what batch "
    "normalisations remember, and the agreement below was measured on random inputs too; on real data the result may "
    "be far worse, and nothing here would show it. Give some hundred real samples (--data), or hold its answers "
    "against the original's before it serves anybody"
)


@dataclass(frozen=True, eq=False)
class CompressResult:
    """What `compress` made. `manifest` is also in the version directory, as assets.extra/tfopt.json."""

    path: Path
    ledger: tuple[LedgerRow, ...]
    artifacts: tuple[WrittenArtifact, ...]
    notes: tuple[str, ...]
    source_size: Size
    manifest: Mapping[str, Any]


class Refused(FidelityError):
    """An artifact failed the gate; `ledger` shows which step moved the outputs."""

    def __init__(self, error: FidelityError, ledger: Sequence[LedgerRow]) -> None:
        self.ledger = tuple(ledger)
        super().__init__(error.what, where=error.where, hint=error.hint)


def compress(
    model: str | Path,
    out: str | Path | None = None,
    *,
    recipe: str | Recipe = "exact",
    data: str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None = None,
    labels: str | Path | None = None,
    signature: str | None = None,
    max_drop: str | float | None = None,
    min_cosine: float | None = None,
    seed: int = 0,
    tell: Tell = lambda _: None,
) -> CompressResult:
    """Run `recipe` (a name, a file or a Recipe) over a SavedModel and write a version directory. A file that Keras
    saved (.keras, .h5) is exported by Keras first, and what that makes is the original.

    `out` is `<model>-<recipe>` beside the model unless said. `data` says where samples are (`tfopt.data.source`), or
    where those of each signature are; `labels` holds the classes of the main signature's. `max_drop` is in absolute
    points ("0.5" or "0.5%"): of accuracy with labels, else of agreement with the original; `min_cosine` is for models
    that are no classifiers. `seed`, 0 or more, is that of the split and of synthetic samples. The model's own warmup
    requests go along.

    Raises NotFound, OutputExists, UsageError, the errors of reader, samples, recipe and converters, and Refused (a
    FidelityError) when an artifact breaks the contract or differs by more than allowed, and MissingExtra before the
    work when a package for an artifact is not installed, UnmetRequirement when this machine cannot run the result and
    so cannot prove it. Nothing is written then.
    """
    source = Path(model)
    steps = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    # All that can be told before TensorFlow is imported, which takes seconds, is told first.
    check_model(source)
    target = Path(out) if out is not None else default_output(source, steps)
    given, classes = _sources(data), _path(labels)
    gate = Gate.of(max_drop=max_drop, min_cosine=min_cosine)
    check_arguments(source, target, seed)
    check_evidence(given, classes)
    check_options(steps)
    check_packages(steps)
    check_students(steps)
    check_trainings(steps)
    with as_saved_model(source, tell) as saved:
        tell(f"reading {source}")
        from tfopt.formats.saved_model import read_saved_model

        read = read_saved_model(saved)
        check_machine(steps, read)
        evidence = gather_evidence(saved, read, data=given, labels=classes, signature=signature, seed=seed)
        promise = promised(signatures_of(read), steps)
        evidence = evidence.of_signatures(promise)
        check_samples(steps, evidence)
        check_classifier(read, promise[evidence.main].outputs, evidence, gate, classes)
        supply = supply_of(evidence, read, gate, tell)
        result = run_pipeline(read, steps, probe=probe_of(evidence), tell=tell, supply=supply, race=race_of(evidence))
        return _Writer(source, saved, target, steps, gate, evidence, result, tell).write()


def default_output(model: Path, recipe: Recipe) -> Path:
    """Beside the model, named after it and the recipe."""
    whole = model.resolve()
    return whole.with_name(f"{whole.stem if is_keras_file(whole) else whole.name}-{recipe.name}")


def _sources(
    data: str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None,
) -> Sequence[str | Path] | Mapping[str, str | Path]:
    if data is None:
        return ()
    return (data,) if isinstance(data, str | Path) else data


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


@dataclass(frozen=True)
class _Writer:
    """Everything that writing and proving need: `given` is what the caller named, `source` the SavedModel of it."""

    given: Path
    source: Path
    target: Path
    recipe: Recipe
    gate: Gate
    evidence: Evidence
    result: PipelineResult
    tell: Tell

    def write(self) -> CompressResult:
        self.tell("running the original on the held-out samples")
        whole, answers = run_artifact(self.source, self.evidence)
        contract = promised(whole, self.recipe)
        expected = {key: {name: answers[key][name] for name in info.outputs} for key, info in contract.items()}
        main = self.evidence.main
        self.gate.check_suits(expected[main], contract[main].method_name)
        prover = Prover(self.gate, self.evidence, self.recipe, self.result, contract, expected)
        with new_directory(self.target) as directory:
            try:
                written = [
                    self._proven(prover, directory, artifact, exact) for artifact, exact in self._artifacts(directory)
                ]
            except FidelityError as error:
                raise Refused(error, self.result.ledger) from error
            self._carry_warmup(directory, contract)
            manifest = write_manifest(directory, Manifest(self._manifest(written, contract)))
        return CompressResult(
            path=self.target,
            ledger=self.result.ledger,
            artifacts=tuple(written),
            notes=tuple(self._notes(written)),
            source_size=measure_size(self.source),
            manifest=manifest.data,
        )

    def _notes(self, written: Sequence[WrittenArtifact]) -> Iterator[str]:
        yield from self.evidence.notes
        yield from _told(written)
        if self.evidence.is_synthetic and _computes_on_integers(self.result.model.graph):
            yield _GUESSED
        yield from ledger_notes(self.result.ledger)
        if self.given == self.source:  # what Keras has just exported nobody has called yet
            yield from _lost(self.source)

    def _carry_warmup(self, directory: Path, contract: Mapping[str, SignatureInfo]) -> None:
        """The contract is the same, so the model's own warmup requests are good for the result, but for those of
        signatures that were dropped."""
        from tfopt.formats.serving.warmup import WARMUP_PATH, read_warmup, write_warmup

        if not (self.source / WARMUP_PATH).is_file():
            return
        place = directory / WARMUP_PATH
        if any(step.step.name == DROPPING for step in self.recipe):
            requests = read_warmup(self.source / WARMUP_PATH)
            write_warmup(place, [request for request in requests if request.signature in contract])
            return
        with writing(place):
            place.parent.mkdir()
        copy_file(self.source / WARMUP_PATH, place)

    def _artifacts(self, directory: Path) -> Iterator[tuple[Artifact, bool]]:
        """Write every artifact; gives each with whether all that made it was exact."""
        self.tell("writing the SavedModel")
        yield self._saved_model(directory), self.result.exact
        for requested in self._requested(beside=True):
            exact = requested.exact and requested.request.options.get("precision", "float32") == "float32"
            yield self._convert(requested, directory), exact

    def _requested(self, *, beside: bool) -> Iterator[Requested]:
        """The artifacts beside the SavedModel that the recipe asks for, or what it says of the SavedModel."""
        yield from (one for one in self.result.requested if (one.request.kind != "saved_model") == beside)

    def _saved_model(self, directory: Path) -> Artifact:
        artifact = self._written(directory)
        if artifact.requires:
            self.tell("trying the SavedModel in a process of its own")
            try_artifact(artifact.path, self.evidence)
        return artifact

    def _written(self, directory: Path) -> Artifact:
        from tfopt.targets.native import requirements, write_native_saved_model
        from tfopt.targets.saved_model import write_saved_model

        model = self.result.model
        if model.graph.grids:
            said = next((one.request.options for one in self._requested(beside=False)), {})
            return write_native_saved_model(model, directory, **said)
        why = why_nothing_is_int8(self.result.ledger)
        notes = () if why is None else (why,)
        return replace(write_saved_model(model, directory), requires=requirements(model.graph), notes=notes)

    def _convert(self, requested: Requested, directory: Path) -> Artifact:
        if requested.request.kind == "onnx":
            from tfopt.targets.onnx import write_onnx

            self.tell("converting to ONNX")
            return write_onnx(requested.model, directory / "model.onnx", **requested.request.options)
        from tfopt.targets.tflite import write_tflite

        self.tell(f"converting to TFLite {requested.request.options['precision']}")
        return write_tflite(
            requested.model,
            directory / "model.tflite",
            calibration=self.evidence.calibration,
            statistics=observed(self.evidence),
            tell=self.tell,
            **requested.request.options,
        )

    def _proven(self, prover: Prover, directory: Path, artifact: Artifact, exact: bool) -> WrittenArtifact:
        self.tell(f"proving the {artifact.kind}")
        return prover.prove(directory, artifact, exact)

    def _manifest(self, written: Sequence[WrittenArtifact], contract: Mapping[str, SignatureInfo]) -> dict[str, Any]:
        return {
            "source": {"name": self.given.resolve().name, "digest": tree_digest(self.given)},
            "recipe": dump_recipe(self.recipe),
            "samples": self.evidence.record,
            "ledger": [row.to_dict() for row in self.result.ledger],
            "signatures": {key: info.as_dict() for key, info in contract.items()},
            "artifacts": {artifact.kind: artifact.to_dict() for artifact in written},
        }


def _computes_on_integers(graph: Graph) -> bool:
    return any(graph.constant(value) is None and not grid.dynamic for value, grid in graph.grids.items())


def _told(written: Sequence[WrittenArtifact]) -> Iterator[str]:
    for artifact in written:
        yield from (f"{artifact.kind}: {note}" for note in artifact.notes)


def _lost(source: Path) -> Iterator[str]:
    from tfopt.formats.object_graph import read_callables

    names = read_callables(source)
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"the result is called by its signatures alone; left behind: {', '.join(names[:_NAMED])}{more}"
