"""The manifest of a version directory: where it came from, how it was made, what its files must hash to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tfopt import __version__
from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.store.digest import digest_file, digest_files
from tfopt.store.disk import json_ready, to_json, writing

MANIFEST_PATH = "assets.extra/tfopt.json"
SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """A plain JSON object with names for what readers ask for. Keys that a reader does not know are kept.

    `data` keys: `schema`, `tfopt` (version that wrote it), `source` {name, digest}, `recipe` (text), `samples`,
    `ledger`, `signatures`, `artifacts` {kind: {path, digest, bytes, fidelity, requires, notes}},
    `published` {model, time, ran, samples, notes}, `files` {relative path: sha256}.
    """

    data: Mapping[str, Any] = field(default_factory=dict)

    def _object(self, key: str) -> Mapping[str, Any]:
        value = self.data.get(key)
        return value if isinstance(value, Mapping) else {}

    @property
    def source(self) -> Mapping[str, Any]:
        return self._object("source")

    @property
    def signatures(self) -> Mapping[str, Any]:
        return self._object("signatures")

    @property
    def artifacts(self) -> Mapping[str, Any]:
        return self._object("artifacts")

    @property
    def files(self) -> Mapping[str, str]:
        return self._object("files")

    def requires(self, kind: str) -> tuple[str, ...]:
        """What this kind of artifact requires of the machine that runs it; nothing of one that is not listed."""
        entry = self.artifacts.get(kind)
        named = entry.get("requires") if isinstance(entry, Mapping) else None
        return tuple(map(str, named)) if isinstance(named, list | tuple) else ()

    def has_passed(self, kind: str) -> bool:
        """Is there a record of what the gate measured of this kind of artifact?"""
        entry = self.artifacts.get(kind)
        return isinstance(entry, Mapping) and bool(entry.get("fidelity"))

    def seconds(self, kind: str) -> float | None:
        """How long a request took when the version was published; None when this was not measured."""
        found = self._object("published").get("seconds")
        seconds = found.get(kind) if isinstance(found, Mapping) else None
        return seconds if isinstance(seconds, float) and seconds > 0 else None

    def with_entries(self, **entries: Any) -> Manifest:
        return Manifest({**self.data, **entries})


def write_manifest(version_dir: Path, manifest: Manifest) -> Manifest:
    """Write the manifest last of all files: `schema`, `tfopt` and the digests of `files` are filled in here.

    Gives the manifest as written. Raises OutputError.
    """
    path = version_dir / MANIFEST_PATH
    files = {name: digest for name, digest in digest_files(version_dir).items() if name != MANIFEST_PATH}
    rest = {key: value for key, value in manifest.data.items() if key not in ("schema", "tfopt", "files")}
    written = Manifest(json_ready({"schema": SCHEMA, "tfopt": __version__, **rest, "files": files}))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(written.data), encoding="utf-8")
    return written


def read_manifest(version_dir: Path) -> Manifest | None:
    """The manifest, or None where tfopt has not made the version.

    Raises InvalidModel for a broken manifest, UnsupportedModel for a schema that this tfopt does not know.
    """
    path = version_dir / MANIFEST_PATH
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModel(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(data, dict) or "schema" not in data:
        raise InvalidModel("is no manifest of tfopt: a JSON object with a schema is wanted", where=str(path))
    if _major(data["schema"]) != SCHEMA:
        what = f"has schema {data['schema']}, and this tfopt ({__version__}) reads schema {SCHEMA}"
        raise UnsupportedModel(what, where=str(path), hint="use the tfopt that wrote it, or a newer one")
    return Manifest(data)


def _major(schema: Any) -> int | None:
    """The part of a schema that decides: 1 of `1`, `"1"` and `"1.4"`."""
    head = str(schema).partition(".")[0]
    return int(head) if head.isascii() and head.isdecimal() else None


def verify_files(version_dir: Path) -> Manifest | None:
    """Check that every file that the manifest lists is there with its digest; files that it does not list may be there.

    Gives the manifest, or None where there is none to check against. Raises InvalidModel naming the first bad file.
    """
    manifest = read_manifest(version_dir)
    if manifest is None:
        return None
    for name, expected in manifest.files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise InvalidModel(f"the manifest lists {name!r}, outside of the version", where=str(version_dir))
        path = version_dir / relative
        if not path.is_file():
            raise InvalidModel("listed in the manifest but missing", where=str(path), hint="copy the version again")
        if digest_file(path) != expected:
            what = "its content is not what the manifest says (sha256 differs)"
            raise InvalidModel(what, where=str(path), hint="copy the version again, or publish it again")
    return manifest
