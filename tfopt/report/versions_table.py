"""The versions of a published model for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tfopt.errors import TfoptError
from tfopt.report.units import size
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
            problem or ", ".join(manifest.artifacts),
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
        "made_from": manifest.source.get("name"),
        "published": published.get("time") if isinstance(published, dict) else None,
        "problem": problem,
    }


def _manifest(entry: VersionEntry) -> tuple[Manifest, str | None]:
    """The manifest, or an empty one and what is wrong: one bad version must not hide the others."""
    try:
        return entry.manifest or Manifest(), None
    except TfoptError as error:
        return Manifest(), error.what
