"""What a model server can be asked, without any wire: REST and gRPC translate to this and back.

Raises RequestError with TensorFlow Serving's codes and texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tfopt.errors import Code, RequestError
from tfopt.serve.metrics import Metrics
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.servable import Servable
from tfopt.serve.versions.statuses import VersionStatus


@dataclass(frozen=True)
class ModelSpec:
    """Whom a request is for; without `version` and `label` the latest version."""

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        return f"Latest({self.name})" if self.version is None else f"Specific({self.name}, {self.version})"


class Plane:
    """The models of a server, and what it counts."""

    def __init__(self, models: Mapping[str, ModelVersions], metrics: Metrics | None = None) -> None:
        self.models = models
        self.metrics = metrics or Metrics()
        self.metrics.watch(models)

    @contextmanager
    def servable(self, spec: ModelSpec) -> Iterator[Servable]:
        """The version that `spec` means, which cannot be unloaded while the block runs."""
        found = self._acquire(spec)
        try:
            yield found
        finally:
            found.release()

    def _acquire(self, spec: ModelSpec) -> Servable:
        model = self.models.get(spec.name)
        if spec.label is not None and (model is None or spec.label not in model.snapshot.labels):
            raise RequestError(f"Unrecognized servable version label: {spec.label}")
        found = model.acquire(spec.version, spec.label) if model is not None else None
        if found is None:
            raise self._not_found(spec, model)
        return found

    def _not_found(self, spec: ModelSpec, model: ModelVersions | None) -> RequestError:
        # TensorFlow Serving opens its port only when all is loaded; ours is open before, and 503 asks to come again.
        loading = model is not None and not model.started.is_set()
        return RequestError(
            f"Servable not found for request: {spec}", code=Code.UNAVAILABLE if loading else Code.NOT_FOUND
        )

    def statuses(self, spec: ModelSpec) -> list[VersionStatus]:
        """Of the version that `spec` names, else of all, newest first. Labels are ignored, as in TensorFlow Serving."""
        model = self.models.get(spec.name)
        if spec.version is not None:
            status = model.statuses.get(spec.version) if model is not None else None
            if status is None:
                what = f"Could not find version {spec.version} of model {spec.name}"
                raise RequestError(what, code=Code.NOT_FOUND)
            return [status]
        known = model.statuses.newest_first() if model is not None else []
        if not known:
            raise RequestError(f"Could not find any versions of model {spec.name}", code=Code.NOT_FOUND)
        return known

    def is_ready(self) -> bool:
        """Does every model serve a version?"""
        return all(model.snapshot.servables for model in self.models.values())
