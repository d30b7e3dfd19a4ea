"""The versions of one model: watches its base path, loads what is to be served, lets go of what is not.

TensorFlow Serving's words: a version is aspired when it ought to be served, available when it is. Aspired are the
newest version that loads and every labelled one. A new version is loaded and warm before the old one goes, and the
old one goes when its last request is done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event, Semaphore, Thread

from tfopt.errors import InvalidModel, NotFound, TfoptError
from tfopt.serve.versions.loading import Loaded
from tfopt.serve.versions.retries import Failures, settled
from tfopt.serve.versions.servable import Servable, identity_of
from tfopt.serve.versions.sources import Listing, Source
from tfopt.serve.versions.statuses import State, Statuses, VersionStatus

log = logging.getLogger("tfopt.serve")


@dataclass(frozen=True)
class Snapshot:
    """What is available at one moment. Replaced whole, so that readers need no lock."""

    servables: Mapping[int, Servable] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def latest(self) -> int | None:
        return max(self.servables, default=None)


class ModelVersions:
    """One model with a thread of its own, so that a model that is slow or broken holds up no other.

    `load` turns a version directory into what serves it; `slots` limits how many models load at once; `poll_interval`
    is in seconds.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        load: Callable[[Path], Loaded],
        *,
        poll_interval: float = 1.0,
        slots: Semaphore | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.statuses = Statuses()
        #: Set when the first look at the base path is over, whatever came of it.
        self.started = Event()
        #: Why the base path could not be read, or why nothing of it is served.
        self.problem: TfoptError | None = None
        self._load = load
        self._poll_interval = poll_interval
        self._slots = slots or Semaphore()
        self._snapshot = Snapshot()
        self._failures = Failures()
        self._stopping = Event()
        self._thread = Thread(target=self._watch, name=f"tfopt-versions-{name}", daemon=True)

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Unload everything. A load under way is given `timeout` seconds to end."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._switch(Snapshot())

    def acquire(self, version: int | None = None, label: str | None = None) -> Servable | None:
        """The version asked for, by default the latest, to be released after use; None when it is not available."""
        while True:
            snapshot = self._snapshot
            latest = snapshot.latest if version is None else version
            number = latest if label is None else snapshot.labels.get(label)
            servable = None if number is None else snapshot.servables.get(number)
            # Retired since the snapshot was taken: there is a newer snapshot.
            if servable is None or servable.acquire():
                return servable

    # -- the watching thread --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look(self.source.list())
            # An unreadable base path takes nothing out of service: a share that is away comes back.
            except TfoptError as error:
                self._warn(error)
            except OSError as error:
                self._warn(NotFound(f"cannot be read: {error.strerror}", where=str(error.filename)))
            self.started.set()
            self._stopping.wait(self._poll_interval)

    def _look(self, listing: Listing) -> None:
        self._failures.keep(listing.versions)
        newest = self._newest(listing)
        labels = self._labels(listing)
        if self._stopping.is_set():
            return
        kept = {*labels.values()} if newest is None else {newest, *labels.values()}
        if newest is None and listing.versions:
            # Nothing of what is there loads: go on with what there is, as availability comes first.
            kept |= self._snapshot.servables.keys()
        servables = {number: servable for number, servable in self._snapshot.servables.items() if number in kept}
        self._switch(Snapshot(servables, labels))
        if servables or self._failures.newest:
            self.problem = None if servables else self._failures.newest
        else:
            self._warn(self._nothing_to_serve())

    def _warn(self, problem: TfoptError) -> None:
        if str(problem) != str(self.problem):
            log.warning("%s: %s", self.name, problem)
        self.problem = problem

    def _nothing_to_serve(self) -> TfoptError:
        hint = "publish one: `tfopt publish`, or a directory with a number for its name"
        return NotFound("there is no version to serve", where=str(self.source.path), hint=hint)

    def _newest(self, listing: Listing) -> int | None:
        """The highest version that loads. A broken one is passed over for the one before it, also after a restart."""
        for number in sorted(listing.versions, reverse=True):
            if self._ensure(number, listing.versions[number]):
                return number
        return None

    def _labels(self, listing: Listing) -> dict[str, int]:
        """Labels whose version is available; one that moves to a version that is not stays where it was."""
        found = {}
        for label, number in listing.labels.items():
            before = self._snapshot.labels.get(label)
            if number in listing.versions and self._ensure(number, listing.versions[number]):
                found[label] = number
            elif number in listing.versions and before is not None and before in listing.versions:
                found[label] = before
        return found

    def _ensure(self, number: int, path: Path) -> bool:
        """Is this version available? Loads it when it is not and may be."""
        known = self._snapshot.servables.get(number)
        if known is not None and known.identity == identity_of(path):
            return True
        if not self._failures.may_try(number, path):
            return known is not None
        ready = not self.started.is_set() or settled(path, self._poll_interval, self._stopping)
        loaded = ready and not self._stopping.is_set() and self._load_version(number, path)
        return loaded or known is not None

    def _load_version(self, number: int, path: Path) -> bool:
        start = time.monotonic()
        self.statuses.set(VersionStatus(number, State.START))
        try:
            identity = identity_of(path)
            with self._slots:
                self.statuses.set(VersionStatus(number, State.LOADING))
                loaded = self._load(path)
        except Exception as error:  # noqa: BLE001 - a rim: whatever a foreign model raises, the others go on
            self._failed(number, path, error)
            return False
        runtime = loaded.runtime
        if self._stopping.is_set():
            runtime.close()
            return False
        self._failures.forget(number)
        self.statuses.set(VersionStatus(number, State.AVAILABLE, kind=runtime.kind, unmet=loaded.unmet))
        servable = Servable(number, identity, runtime)
        self._switch(replace(self._snapshot, servables={**self._snapshot.servables, number: servable}))
        seconds = time.monotonic() - start
        log.info("%s: version %d is available (%s, loaded in %.2f s)", self.name, number, runtime.kind, seconds)
        for kind, reason in loaded.unmet.items():
            what = "%s: version %d: its %s cannot be run on this machine, its %s serves: %s"
            log.warning(what, self.name, number, kind, runtime.kind, reason)
        return True

    def _failed(self, number: int, path: Path, cause: Exception) -> None:
        if not path.exists():
            self.statuses.forget(number)  # taken away while it was being loaded
            return
        error = cause
        if not isinstance(error, TfoptError):
            error = InvalidModel(f"cannot be loaded: {cause!r}", where=str(path))
        self._failures.add(number, path, error)
        # What was loaded from an earlier directory of this number serves on.
        known = self._snapshot.servables.get(number)
        state, kind = (State.AVAILABLE, known.kind) if known is not None else (State.END, "")
        self.statuses.set(VersionStatus(number, state, error.code, str(error), kind))
        log.error("%s: version %d cannot be served: %s", self.name, number, error)

    def _switch(self, snapshot: Snapshot) -> None:
        """Make `snapshot` what is served, and then let go of what it does not hold."""
        before, self._snapshot = self._snapshot, snapshot
        for number, servable in before.servables.items():
            if number not in snapshot.servables:
                self.statuses.set(VersionStatus(number, State.UNLOADING))
                servable.retire(partial(self._unloaded, number))
            elif snapshot.servables[number] is not servable:
                servable.retire(_nothing)  # the same number from another directory has taken over

    def _unloaded(self, number: int) -> None:
        self.statuses.end(number)
        log.info("%s: version %d unloaded", self.name, number)


def _nothing() -> None:
    pass
