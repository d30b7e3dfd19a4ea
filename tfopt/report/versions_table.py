"""The versions of a published model for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tfopt.errors import TfoptError
from tfopt.report.units import size
from tfopt.requirements import OF_THE_MACHINE, surely_unmet
from tfopt.store import Manifest, VersionEntry


def versions_table(latest: int | None, versions: Sequence[VersionEntry]) -> Table:
    """Newest first, as TF Serving lists them."""
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("version", "right"), ("state", "left"), ("labels", "left"), ("size", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]  # rich names the four words, mypy sees str
    table.add_column("artifacts")
    table.add_column("made from")
    for entry in reversed(versions):
        manifest, problem = _manifest(entry)
        table.add_row(
            str(entry.number),
            state(entry, latest),
            ", ".join(entry.labels),
            size(entry.bytes),
            problem or ", ".join(_artifact(manifest, kind) for kind in manifest.artifacts),
            str(manifest.source.get("name", "")),
        )
    return table


def to_dict(base: Path, latest: int | None, versions: Sequence[VersionEntry]) -> dict[str, Any]:
    """Oldest first. `latest` is null when no version is in service."""
    return {"base": str(base), "latest": latest, "versions": [_entry(entry, latest) for entry in versions]}


def state(entry: VersionEntry, latest: int | None) -> str:
    return "held" if entry.held else "latest" if entry.number == latest else "older"


def _entry(entry: VersionEntry, latest: int | None) -> dict[str, Any]:
    manifest, problem = _manifest(entry)
    published = manifest.data.get("published")
    return {
        "version": entry.number,
        "state": state(entry, latest),
        "labels": list(entry.labels),
        "path": str(entry.path),
        "bytes": entry.bytes,
        "artifacts": sorted(manifest.artifacts),
        "requires": {kind: list(manifest.requires(kind)) for kind in sorted(manifest.artifacts)},
        "unmet": unmet(manifest),
        "made_from": manifest.source.get("name"),
        "published": published.get("time") if isinstance(published, dict) else None,
        "problem": problem,
    }


def _artifact(manifest: Manifest, kind: str) -> str:
    named = [name for name in manifest.requires(kind) if name in OF_THE_MACHINE]
    return f"{kind} ({', '.join(named)})" if named else kind


def unmet(manifest: Manifest) -> dict[str, str]:
    """Of artifacts that surely cannot be run on this machine: why, by kind. Whether others can is known by trying."""
    found = {kind: surely_unmet(manifest.requires(kind)) for kind in sorted(manifest.artifacts)}
    return {kind: reason for kind, reason in found.items() if reason is not None}


def unmet_notes(versions: Sequence[VersionEntry]) -> Iterator[str]:
    """A line for each artifact in service that this machine cannot run."""
    for entry in versions:
        if not entry.held:
            for kind, reason in unmet(_manifest(entry)[0]).items():
                yield f"the {kind} of version {entry.number} cannot be run on this machine: {reason}"


def _manifest(entry: VersionEntry) -> tuple[Manifest, str | None]:
    """The manifest, or an empty one and what is wrong: one bad version must not hide the others."""
    try:
        return entry.manifest or Manifest(), None
    except TfoptError as error:
        return Manifest(), error.what
