"""The models of a server, which may be told at any time to serve others (TensorFlow Serving's ReloadConfig).

Source: tensorflow_serving/model_servers/server_core.cc.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from threading import Lock
from typing import Literal

from tfopt.errors import Code, RequestError, TfoptError
from tfopt.serve.versions.config import ModelConfig, check_configs, check_platforms
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.statuses import Statuses

log = logging.getLogger("tfopt.serve")

#: How many models that are served no more can still be asked for their status.
_REMEMBERED = 100
#: Seconds between looks at whether a start is over.
_BREATH = 0.1


class Models(Mapping[str, ModelVersions]):
    """Models by name, in the order of their configs. Reading needs no lock: the mapping is replaced whole.

    `make` builds a model that has not been started.
    """

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        make: Callable[[ModelConfig], ModelVersions],
        *,
        unavailable_labels: Literal["none", "new", "any"] = "none",
        changed: Callable[[Sequence[ModelConfig]], None] = lambda configs: None,
    ) -> None:
        """`changed` is told of the configs whenever they are others. Raises RequestError as `check_configs`."""
        check_configs(configs)
        self._make = make
        self._unavailable_labels = unavailable_labels
        self._configs = tuple(configs)
        self._changed = changed
        self._models = {config.name: make(config) for config in configs}
        changed(configs)
        self._ended: OrderedDict[str, Statuses] = OrderedDict()
        self._changing = Lock()
        self._stopped = False

    def __getitem__(self, name: str) -> ModelVersions:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    # A mapping's own views ask for each name again, which may be gone by then.
    def items(self) -> ItemsView[str, ModelVersions]:
        return self._models.items()

    def values(self) -> ValuesView[ModelVersions]:
        return self._models.values()

    @property
    def configs(self) -> tuple[ModelConfig, ...]:
        """What is served."""
        return self._configs

    @property
    def ended(self) -> Mapping[str, Statuses]:
        """What became of models that are served no more."""
        return self._ended

    def start(self) -> None:
        for model in self._models.values():
            model.start()

    def await_start(self, *, patient: bool) -> None:
        """Wait until each model serves or cannot. When not one of them can: raise its own error, or, when `patient`,
        wait until one serves or all that failed will not be tried again, and then raise RequestError with TensorFlow
        Serving's text. A base path that is not there or empty is waited for by `patient`, but not here."""
        models = list(self._models.values())
        for model in models:
            model.started.wait()
        while patient and any(model.is_retrying for model in models) and not any(map(_serves, models)):
            time.sleep(_BREATH)
        if not models or any(map(_serves, models)):
            return
        if not patient:
            raise next(model.problem for model in models if model.problem is not None)
        if all(model.has_given_up for model in models):
            raise _unavailable(models, "servable(s)")

    def stop(self, timeout: float) -> None:
        """Unload everything; loads under way are waited for `timeout` seconds, all together."""
        deadline = time.monotonic() + timeout
        with self._changing:
            self._stopped = True
            for model in self._models.values():
                model.stop(max(0.0, deadline - time.monotonic()))

    def reconfigure(self, configs: Sequence[ModelConfig], *, timeout: float = 600.0) -> None:
        """Serve these models and no others, as soon as they can be.

        When they are refused, nothing changes. Else what is new, or has another base path or policy, is loaded, and
        what served stays until then; models that are not among them go after their last request. Comes back when each
        new or changed model serves or cannot, or after `timeout` seconds. A label of a model that runs must name an
        available version; one of a new model is given when its version becomes available.

        Raises RequestError with TensorFlow Serving's texts: INVALID_ARGUMENT and FAILED_PRECONDITION for what is
        refused, UNKNOWN when a new model cannot be served, which does not undo the rest.
        """
        deadline = time.monotonic() + timeout
        if not self._changing.acquire(timeout=timeout):
            what = f"another reload of the config has not ended within {timeout:g} s"
            raise RequestError(what, code=Code.UNAVAILABLE, hint="try again")
        try:
            new, changed = self._change(configs)
        finally:
            self._changing.release()
        for model in (*changed, *new):
            model.decided.wait(max(0.0, deadline - time.monotonic()))
        # What a later reload has taken away again is no failure of this one.
        missing = [model for model in new if not _serves(model) and self._models.get(model.name) is model]
        if missing:
            raise _unavailable(missing, "model(s)")

    def _change(self, configs: Sequence[ModelConfig]) -> tuple[list[ModelVersions], list[ModelVersions]]:
        """The models that are new, and those of which something else is asked."""
        check_configs(configs)
        check_platforms(self._configs, configs)
        before = {config.name: config for config in self._configs}
        for config in configs:
            if config.name in before:
                self._check_labels(before[config.name], config)
        if self._stopped:
            raise RequestError("the server is stopping", code=Code.UNAVAILABLE)
        new = {config.name: self._make(config) for config in configs if config.name not in before}
        changed = [config for config in configs if config.name in before and _asks_else(before[config.name], config)]
        for config in changed:
            self._models[config.name].configure(config.source, config.policy, config.labels)
        gone = {name: model for name, model in self._models.items() if name not in {config.name for config in configs}}
        self._models = {config.name: new.get(config.name) or self._models[config.name] for config in configs}
        self._configs = tuple(configs)
        self._changed(configs)
        for model in new.values():
            model.start()
            self._ended.pop(model.name, None)
        for name, model in gone.items():
            self._ended[name] = model.statuses
            model.stop(timeout=0.0)
            log.info("%s: is served no more", name)
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        return list(new.values()), [self._models[config.name] for config in changed]

    def _check_labels(self, before: ModelConfig, after: ModelConfig) -> None:
        """Raises RequestError for a label of a running model that is given to a version that cannot be asked."""
        snapshot = self._models[after.name].snapshot
        for label, number in (after.labels or {}).items():
            unchanged = (before.labels or {}).get(label) == number
            if unchanged or number in snapshot.servables or self._unavailable_labels == "any":
                continue
            in_use = snapshot.labels.get(label, number) != number
            if self._unavailable_labels == "new" and not in_use:
                continue
            what = f"Request to assign label to version {number} of model {after.name}"
            raise RequestError(f"{what}, which is not currently available for inference", code=Code.FAILED_PRECONDITION)


def _asks_else(before: ModelConfig, after: ModelConfig) -> bool:
    return (before.source, before.policy, before.labels) != (after.source, after.policy, after.labels)


def _serves(model: ModelVersions) -> bool:
    return bool(model.snapshot.servables)


def _unavailable(models: Sequence[ModelVersions], what: str) -> RequestError:
    """What TensorFlow Serving says of models that cannot be served."""
    told = "".join(f"{{{{name: {model.name}{_of_what(model)}}}{_why(model)}}}, " for model in models)
    return RequestError(f"{len(models)} {what} did not become available: {{{told}}}", code=Code.UNKNOWN)


def _of_what(model: ModelVersions) -> str:
    known = model.statuses.newest_first()
    return f" version: {known[0].number}" if known else ""


def _why(model: ModelVersions) -> str:
    problem: TfoptError | None = model.problem
    return "" if problem is None else f" due to error: {problem.code.value}: {problem}"
