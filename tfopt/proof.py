"""Hold every artifact against the original: the contract, and what it answers to samples that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tfopt.advice import advice
from tfopt.errors import FidelityError
from tfopt.evidence import Evidence
from tfopt.fidelity import Gate, Judgement, check_contract, classifier_output, judge
from tfopt.fidelity.measurement import Arrays
from tfopt.ir.randomness import unseeded
from tfopt.passes.drop_outputs import drop_outputs, remaining
from tfopt.pipeline import Outputs, PipelineResult
from tfopt.recipe import Recipe
from tfopt.runtimes.base import SignatureInfo
from tfopt.runtimes.edges import described, has_integer_edges, signatures_under, under
from tfopt.store.digest import digest_file, joint_digest, tree_digest
from tfopt.store.size import Size, measure_size, model_files
from tfopt.targets.base import Artifact

#: The step whose options take something from the contract.
DROPPING = drop_outputs.name
#: Examples a call while an artifact is judged: bounds memory, not results.
JUDGE_BATCH = 32


@dataclass(frozen=True, eq=False)
class WrittenArtifact:
    """One artifact in place. `path` is relative to the version directory, `judgements` go by signature; `edges` say of
    those whose inputs or outputs are integers for real numbers which these are (`runtimes.edges.described`)."""

    kind: str
    path: str
    size: Size
    digest: str
    requires: tuple[str, ...]
    notes: tuple[str, ...]
    judgements: Mapping[str, Judgement]
    edges: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """One line a signature; signatures that were judged alike share one."""
        lines: dict[str, list[str]] = {}
        for key, judgement in self.judgements.items():
            lines.setdefault(judgement.summary, []).append(key)
        if len(lines) == 1:
            return next(iter(lines))
        return "; ".join(f"{', '.join(keys)}: {line}" for line, keys in lines.items())

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "digest": self.digest,
            "bytes": self.size.bytes,
            "gzip_bytes": self.size.gzip_bytes,
            "requires": list(self.requires),
            "notes": list(self.notes),
            **({"edges": dict(self.edges)} if self.edges else {}),
            "fidelity": {key: judgement.to_dict() for key, judgement in self.judgements.items()},
        }


@dataclass(frozen=True)
class Prover:
    """What artifacts are held against: `expected` is what the original answers to the held-out samples."""

    gate: Gate
    evidence: Evidence
    recipe: Recipe
    result: PipelineResult
    contract: Mapping[str, SignatureInfo]
    expected: Outputs

    def prove(self, directory: Path, artifact: Artifact, exact: bool) -> WrittenArtifact:
        """Run the artifact from its file and hold it against the original. `exact` says that it claims to be the very
        model. Raises FidelityError."""
        contract, expected = self.contract, self.expected
        found, outputs = run_artifact(artifact.path, self.evidence, contract)
        check_contract(contract, signatures_under(contract, found), kind=artifact.kind, where=artifact.kind)
        judgements = {
            key: self._judge(key, expected[key], outputs[key], exact, contract[key].method_name) for key in outputs
        }
        for key, judgement in judgements.items():
            self._require(judgement, key, artifact.kind, exact)
        return WrittenArtifact(
            kind=artifact.kind,
            path="." if artifact.path == directory else artifact.path.relative_to(directory).as_posix(),
            size=measure_size(artifact.path),
            digest=_digest(artifact.path),
            requires=artifact.requires,
            notes=artifact.notes,
            judgements=judgements,
            edges={key: described(info) for key, info in found.items() if has_integer_edges(info)},
        )

    def _require(self, judgement: Judgement, key: str, kind: str, exact: bool) -> None:
        if judgement.passed:
            return
        where, reasons = f"{kind}, signature {key}", "; ".join(judgement.reasons)
        graph, outputs = self.result.model.graph, self.result.model.signatures[key].outputs.values()
        drawn = next(unseeded(graph, (graph.outputs[entry.position].node for entry in outputs)), None)
        if drawn is not None:
            what = f"{reasons}; {drawn.op} {drawn.name} draws random numbers, so that no two runs agree"
            hint = "give the operation a seed, or export the model without it"
            raise FidelityError(what, where=where, hint=hint)
        judgement.require(
            where,
            advice(
                judgement,
                exact=exact,
                kind=kind,
                recipe=self.recipe,
                ledger=self.result.ledger,
                samples=self.evidence.splits[key],
            ),
        )

    def _judge(self, key: str, expected: Arrays, found: Arrays, exact: bool, method_name: str) -> Judgement:
        # The limits hold for every signature that they suit; labels belong to samples, so to whoever shares them.
        main, classifies = self.evidence.main, classifier_output(expected, method_name) is not None
        gate = self.gate if key == main or classifies else replace(self.gate, max_drop=None)
        same_samples = self.evidence.splits[key] is self.evidence.splits[main]
        labels = self.evidence.labels if key == main or (same_samples and classifies) else None
        count = self.evidence.splits[key].held_out.count
        return judge(expected, found, gate, exact=exact, method_name=method_name, labels=labels, samples=count)


def promised(contract: Mapping[str, SignatureInfo], recipe: Recipe) -> dict[str, SignatureInfo]:
    """The contract without the signatures and outputs that the recipe says nobody reads."""
    promise = dict(contract)
    for step in recipe:
        if step.step.name == DROPPING:
            left = remaining({key: tuple(info.outputs) for key, info in promise.items()}, **step.options)
            promise = {
                key: replace(promise[key], outputs={name: promise[key].outputs[name] for name in names})
                for key, names in left.items()
            }
    return promise


def run_artifact(
    path: Path, evidence: Evidence, contract: Mapping[str, SignatureInfo] | None = None
) -> tuple[dict[str, SignatureInfo], Outputs]:
    """What an artifact offers, and its answers to the held-out samples of every signature that it has, under the
    contract: integers at its edges are the real numbers that they stand for."""
    from tfopt.runtimes.load import open_artifact

    with open_artifact(path) as runtime:
        run = under(contract or {}, runtime).run
        outputs = {
            key: evidence.splits[key].held_out.map(partial(run, key), JUDGE_BATCH)
            for key in runtime.signatures
            if key in evidence.splits
        }
        return dict(runtime.signatures), outputs


def _digest(path: Path) -> str:
    files = model_files(path)
    several = path.is_file() and len(files) > 1
    return joint_digest({file.name: digest_file(file) for file in files}) if several else tree_digest(path)
