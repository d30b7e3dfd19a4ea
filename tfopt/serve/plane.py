"""What a model server can be asked, without any wire: REST and gRPC translate to this and back.

Raises RequestError with TensorFlow Serving's codes and texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tfopt.errors import Code, RequestError
from tfopt.serve.metrics import Metrics
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.servable import Servable
from tfopt.serve.versions.statuses import Statuses, VersionStatus

SHUTTING_DOWN = "The server is shutting down"


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

    def __init__(
        self,
        models: Mapping[str, ModelVersions],
        metrics: Metrics | None = None,
        *,
        ended: Mapping[str, Statuses] | None = None,
        check_method_names: bool = False,
    ) -> None:
        """`ended`: what became of models that are served no more. Both mappings may change at any time.
        `check_method_names`: a signature answers only the call that its method_name names."""
        self.models = models
        self._ended = {} if ended is None else ended
        self.metrics = metrics or Metrics()
        self.metrics.watch(models)
        self.check_method_names = check_method_names
        #: The server is about to stop: it says that it is not ready.
        self.leaving = False
        #: It stops: it takes no more requests for inference.
        self.draining = False

    @contextmanager
    def servable(self, spec: ModelSpec) -> Iterator[Servable]:
        """The version that `spec` means, which cannot be unloaded while the block runs."""
        found = self._acquire(spec)
        try:
            yield found
        finally:
            found.release()

    def check_open(self) -> None:
        """Raises RequestError when the server stops, for a client to go elsewhere."""
        if self.draining:
            raise RequestError(SHUTTING_DOWN, code=Code.UNAVAILABLE)

    def _acquire(self, spec: ModelSpec) -> Servable:
        model = self.models.get(spec.name)
        if spec.label is not None:
            labels = model.snapshot.labels if model is not None else {}
            if spec.label not in labels:
                code = Code.UNAVAILABLE if _is_loading(model) else Code.INVALID_ARGUMENT
                raise RequestError(f"Unrecognized servable version label: {spec.label}", code=code)
            spec = replace(spec, version=labels[spec.label], label=None)
        found = model.acquire(_version(model, spec)) if model is not None else None
        if found is None:
            raise self._not_found(spec, model)
        return found

    def _not_found(self, spec: ModelSpec, model: ModelVersions | None) -> RequestError:
        code = Code.UNAVAILABLE if _is_loading(model) else Code.NOT_FOUND
        return RequestError(f"Servable not found for request: {spec}", code=code)

    def statuses(self, spec: ModelSpec) -> list[VersionStatus]:
        """Of the version that `spec` names, else of all, newest first. Labels are ignored, as in TensorFlow Serving."""
        model = self.models.get(spec.name)
        statuses = self._ended.get(spec.name) if model is None else model.statuses
        if model is not None and _version(model, spec) is None:
            spec = replace(spec, version=None)
        if spec.version is not None:
            status = statuses.get(spec.version) if statuses is not None else None
            if status is None:
                what = f"Could not find version {spec.version} of model {spec.name}"
                raise RequestError(what, code=Code.NOT_FOUND)
            return [status]
        known = statuses.newest_first() if statuses is not None else []
        if not known:
            raise RequestError(f"Could not find any versions of model {spec.name}", code=Code.NOT_FOUND)
        return known

    def is_ready(self) -> bool:
        """Does every model serve a version, and is the server to stay?"""
        stays = not self.leaving and not self.draining
        return stays and all(model.snapshot.servables for model in self.models.values())


def _is_loading(model: ModelVersions | None) -> bool:
    # TensorFlow Serving opens its port only when all is loaded; ours is open before, and 503 asks to come again.
    return model is not None and not model.started.is_set()


def _version(model: ModelVersions, spec: ModelSpec) -> int | None:
    """OpenVINO's client (ovmsclient) says version 0 when it means none. So it is taken where a model has no version 0,
    which TensorFlow Serving would say it cannot find."""
    return None if spec.version == 0 and model.statuses.get(0) is None else spec.version
