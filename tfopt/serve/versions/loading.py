"""A version directory to a runtime that is checked, loaded and warm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tfopt.errors import InvalidModel, TfoptError, UnmetRequirement
from tfopt.requirements import surely_unmet
from tfopt.runtimes.base import Runtime, SignatureInfo
from tfopt.runtimes.edges import under
from tfopt.serve.versions.artifacts import Candidate, Engine, RuntimeChoice, candidates, lone_file, saved_model_of
from tfopt.serve.versions.contract import UnderContract
from tfopt.serve.versions.engines import Engines
from tfopt.serve.versions.warming import ONCE, Warmup, warm_up
from tfopt.store import Manifest, verify_files


@dataclass(frozen=True, eq=False)
class Loaded:
    """What serves a version. `unmet`: kinds of artifacts of it that this machine cannot run, and why."""

    runtime: Runtime
    unmet: Mapping[str, str] = field(default_factory=dict)


def load_version(
    path: Path, choice: RuntimeChoice, engines: Engines, prefer: Engine | None = None, warmup: Warmup = ONCE
) -> Loaded:
    """Verify the files against the manifest, load the first artifact that may serve (`artifacts.candidates`) and whose
    requirements this machine meets, replay the warmup requests. A lone file is served by its own runtime.

    Signatures that a file lacks are the SavedModel's to run. Where it cannot be run here, the file is passed over too,
    unless it was asked for by `choice`: then it is served without them.

    Raises InvalidModel, MissingExtra for a runtime that is not installed, UnmetRequirement when no artifact can be run
    on this machine, and what the runtimes raise.
    """
    if path.is_file():
        return Loaded(engines.open(lone_file(path)))
    manifest = verify_files(path)
    loaded = _open_first(path, manifest, candidates(path, manifest, choice, prefer), engines, forced=choice != "auto")
    try:
        left_out = () if manifest is None else manifest.signatures.keys() - loaded.runtime.signatures.keys()
        warm_up(loaded.runtime, path, left_out, warmup)
    except TfoptError:
        loaded.runtime.close()
        raise
    return loaded


def _open_first(
    path: Path, manifest: Manifest | None, found: Sequence[Candidate], engines: Engines, *, forced: bool
) -> Loaded:
    # What the processor tells costs nothing, so it is told also of those behind the one that serves.
    unmet = {each.kind: reason for each in found if (reason := surely_unmet(each.requires)) is not None}
    for candidate in found:
        if candidate.kind in unmet:
            continue
        try:
            if candidate.engine == "tensorflow":
                return Loaded(engines.open(candidate), unmet)
            if manifest is None:
                return Loaded(engines.open(candidate))
            return _open_under_contract(path, manifest, candidate, engines, unmet, forced=forced)
        except UnmetRequirement as error:
            unmet[candidate.kind] = error.what
    reasons = "; ".join(f"{each.name}: {unmet[each.kind]}" for each in found)
    hint = "serve it where that is met, another artifact of it (--runtime auto), or a version made with --reduce-range"
    raise UnmetRequirement(f"cannot be served on this machine: {reasons}", where=str(path), hint=hint)


def _open_under_contract(
    path: Path, manifest: Manifest, candidate: Candidate, engines: Engines, unmet: Mapping[str, str], *, forced: bool
) -> Loaded:
    """Raises UnmetRequirement when the file lacks signatures that only the SavedModel has, which cannot be run here."""
    saved_model, contract = saved_model_of(path, manifest), _signatures(path, manifest)
    with ExitStack() as opened:
        runtime = opened.enter_context(under(contract, engines.open(candidate, under_contract=True)))
        rest = None if saved_model is None else partial(engines.open, saved_model)
        served = opened.enter_context(UnderContract(runtime, contract, rest))
        reason = None if saved_model is None else _why_no_rest(served, saved_model)
        if reason is not None:
            lacking = f"the signatures that {candidate.name} lacks ({', '.join(served.lacking)})"
            if not forced:
                raise UnmetRequirement(f"{lacking} are the SavedModel's to run, and {reason}")
            served = UnderContract(runtime, contract, None)
            unmet = {**unmet, "saved_model": f"{reason}; {lacking} are not served"}
        opened.pop_all()
        return Loaded(served, unmet)


def _why_no_rest(served: UnderContract, saved_model: Candidate) -> str | None:
    """Why the SavedModel cannot run here what the file lacks; None when it can, or nothing is lacking."""
    if not served.lacking or not saved_model.requires:
        return None
    if (reason := surely_unmet(saved_model.requires)) is not None:
        return reason
    try:
        served.rest()  # now and not at the first request for it, which is too late to refuse
    except UnmetRequirement as error:
        return error.what
    return None


def _signatures(path: Path, manifest: Manifest) -> dict[str, SignatureInfo]:
    try:
        return {key: SignatureInfo.from_dict(data) for key, data in manifest.signatures.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidModel(f"the signatures in the manifest cannot be read: {error!r}", where=str(path)) from error
