"""The artifacts of a version that is to be published, those that this machine can run among them loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tfopt.errors import ExecutionError, InvalidModel, UnmetRequirement
from tfopt.publisher.source import artifacts_in
from tfopt.requirements import surely_unmet
from tfopt.runtimes.base import Runtime, SignatureInfo, find_signature
from tfopt.runtimes.edges import signatures_under, under
from tfopt.runtimes.load import open_artifact
from tfopt.store import Manifest, read_manifest


@dataclass(frozen=True)
class Opened:
    """`runtimes` by kind; `signatures` are the first artifact's, whether it can be run here or not; `unmet` says why of
    those that cannot, `requires` what those that can require of the machine."""

    runtimes: Mapping[str, Runtime]
    signatures: Mapping[str, SignatureInfo]
    unmet: Mapping[str, str]
    requires: Mapping[str, tuple[str, ...]]

    def first(self, signature: str) -> Runtime | None:
        """What runs a signature here, the artifact that comes first; None when it is one that cannot be run here.

        Raises NotFound for one that the version does not have.
        """
        find_signature(self.signatures, signature)
        return next((runtime for runtime in self.runtimes.values() if signature in runtime.signatures), None)

    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """By the first artifact that has the signature. Raises NotFound, ExecutionError."""
        runtime = self.first(signature)
        if runtime is None:
            raise ExecutionError("no artifact that this machine can run has it", where=f"signature {signature}")
        return runtime.run(signature, inputs)


@contextmanager
def open_version(version: Path) -> Iterator[Opened]:
    """Load every artifact that this machine can run. One that it cannot is left out when the manifest holds what the
    gate has measured of it: publishing asks for a proof and not for a processor.

    Raises UnmetRequirement without such a proof, InvalidModel, and what the runtimes raise.
    """
    manifest = read_manifest(version) or Manifest()
    runtimes: dict[str, Runtime] = {}
    unmet: dict[str, str] = {}
    with ExitStack() as opened:
        for kind, path in artifacts_in(version).items():
            try:
                runtimes[kind] = opened.enter_context(_open(kind, path, manifest))
            except UnmetRequirement as error:
                if not manifest.has_passed(kind):
                    raise
                unmet[kind] = error.what
        signatures = _signatures(version, runtimes, manifest, unmet)
        requires = {kind: _requires(kind, each) for kind, each in runtimes.items()}
        yield Opened({kind: under(signatures, each) for kind, each in runtimes.items()}, signatures, unmet, requires)


def _open(kind: str, path: Path, manifest: Manifest) -> Runtime:
    reason = surely_unmet(manifest.requires(kind))
    if reason is not None:
        raise UnmetRequirement(reason, where=str(path))
    return open_artifact(path)


def _requires(kind: str, runtime: Runtime) -> tuple[str, ...]:
    """As the artifact's ops tell, whatever its manifest says or leaves out."""
    if kind != "saved_model":
        return ()
    from tfopt.runtimes.tensorflow import TensorFlowRuntime

    assert isinstance(runtime, TensorFlowRuntime), "it is what runs a SavedModel"
    return runtime.requires


def _signatures(
    version: Path, runtimes: Mapping[str, Runtime], manifest: Manifest, unmet: Mapping[str, str]
) -> Mapping[str, SignatureInfo]:
    try:
        promised = {key: SignatureInfo.from_dict(data) for key, data in manifest.signatures.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidModel(f"the signatures in the manifest cannot be read: {error!r}", where=str(version)) from error
    # A .tflite file alone may have integers where the model that it was made of had real numbers.
    return promised if unmet else signatures_under(promised, next(iter(runtimes.values())).signatures)
