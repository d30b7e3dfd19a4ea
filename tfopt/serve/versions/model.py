"""The versions of one model: watches its base path, loads what is to be served, lets go of what is not.

TensorFlow Serving's words: a version is aspired when it ought to be served, available when it is. Aspired are those
that the policy asks for, by default the newest that loads, and every one that the store labels. A new version is loaded
and warm before the old one goes, and the old one goes when its last request is done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event, Lock, Semaphore, Thread
from typing import Final, Literal

from tfopt.errors import InvalidModel, NotFound, TfoptError
from tfopt.serve.versions.files import Fingerprint, fingerprint
from tfopt.serve.versions.loading import Loaded
from tfopt.serve.versions.policies import NEWEST, Policy
from tfopt.serve.versions.retries import PATIENT, Arrivals, Failures, Retries, is_sealed
from tfopt.serve.versions.servable import Run, Servable, Unload
from tfopt.serve.versions.snapshot import Snapshot
from tfopt.serve.versions.sources import Listing, Source
from tfopt.serve.versions.statuses import State, Statuses, VersionStatus

log = logging.getLogger("tfopt.serve")

#: Seconds for which the files of a new version lie still before it is loaded, at most.
_REST: Final = 1.0
#: Seconds between looks, at least, unless the poll interval is shorter.
_BREATH: Final = 0.1


OnEmpty = Literal["unload", "keep"]


@dataclass(frozen=True)
class Rules:
    """How versions come and go.

    `on_empty`: what becomes of those that serve when the base path has no more that ought to; `unavailable_labels`:
    which labels of a config may name a version that is not available: none, those that were not in use, or any.
    """

    retries: Retries = PATIENT
    on_empty: OnEmpty = "unload"
    unavailable_labels: Literal["none", "new", "any"] = "none"


@dataclass(frozen=True, eq=False)
class _Aim:
    """What ought to be served, and how far that has come. `labels` None: those of the source."""

    source: Source
    policy: Policy
    labels: Mapping[str, int] | None
    #: Did versions come from somewhere else before?
    moved: bool = False
    #: Set when its first look is over, whatever came of it.
    looked: Event = field(default_factory=Event)
    #: Set when something is served or nothing is awaited.
    decided: Event = field(default_factory=Event)


class ModelVersions:
    """One model with a thread of its own, so that a model that is slow or broken holds up no other.

    `load` turns a version directory into what serves it, `unload` frees it; `slots` limits how many models load at
    once; `poll_interval` is in seconds: with 0 the base path is listed once, below 0 never; `observe` is told of runs.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        load: Callable[[Path], Loaded],
        *,
        policy: Policy = NEWEST,
        labels: Mapping[str, int] | None = None,
        poll_interval: float = 1.0,
        rules: Rules | None = None,
        slots: Semaphore | None = None,
        unload: Unload = lambda free: free(),
        observe: Callable[[Run], None] | None = None,
    ) -> None:
        self.name = name
        self.statuses = Statuses()
        #: Set when the first look at the base path is over, whatever came of it.
        self.started = Event()
        #: Why the base path could not be read, or why nothing of it is served.
        self.problem: TfoptError | None = None
        self._aim = _Aim(source, policy, labels)
        self._load = load
        self._poll_interval = poll_interval
        self._rules = rules or Rules()
        self._slots = slots or Semaphore()
        self._unload = unload
        self._observe = observe
        self._snapshot = Snapshot()
        self._listing: tuple[_Aim, Listing] | None = None
        self._failures = Failures(self._rules.retries)
        self._arrivals = Arrivals(min(poll_interval, _REST) if poll_interval > 0 else _REST)
        self._stopping = Event()
        self._woken = Event()
        self._stopped = False
        self._switching = Lock()
        self._thread = Thread(target=self._watch, name=f"tfopt-versions-{name}", daemon=True)

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def source(self) -> Source:
        return self._aim.source

    @property
    def decided(self) -> Event:
        """Set when of what was last asked for something is served, or nothing more is awaited."""
        return self._aim.decided

    @property
    def has_given_up(self) -> bool:
        """Is nothing served, though there are versions, and will none of them be tried again as it is?"""
        failed = self._failures.newest is not None and self._failures.due is None
        return failed and not self._snapshot.servables and not self._arrivals.any

    @property
    def is_retrying(self) -> bool:
        """Is nothing served, and will a version that failed be tried again as it is?"""
        return self._failures.due is not None and not self._snapshot.servables

    def start(self) -> None:
        self._thread.start()

    def configure(self, source: Source, policy: Policy, labels: Mapping[str, int] | None) -> None:
        """Serve this from now on. What serves goes when what is asked for is there. A load under way is finished."""
        before, self._aim = self._aim, _Aim(source, policy, labels, moved=source != self._aim.source)
        before.decided.set()  # nobody awaits it any more
        self._woken.set()

    def stop(self, timeout: float = 10.0) -> None:
        """Unload everything. A load under way is given `timeout` seconds to end; it is dropped when it ends later."""
        self._stopping.set()
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._switching:
            self._stopped = True
        self._switch(Snapshot())
        self._aim.decided.set()

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
            self._woken.clear()
            aim = self._aim
            try:
                self._look(aim, self._list(aim))
            # An unreadable base path takes nothing out of service: a share that is away comes back.
            except TfoptError as error:
                self._warn(error)
            except OSError as error:
                self._warn(NotFound(f"cannot be read: {error.strerror}", where=str(error.filename)))
            self.started.set()
            aim.looked.set()
            if self._snapshot.servables or not self._arrivals.any:
                aim.decided.set()
            self._woken.wait(self._pause())

    def _list(self, aim: _Aim) -> Listing:
        if self._poll_interval < 0:
            raise NotFound("is never looked at", where=str(aim.source.path), hint="set another poll interval")
        if self._poll_interval == 0 and self._listing is not None and self._listing[0] is aim:
            return self._listing[1]
        listing = aim.source.list()
        told = self._listing[1].notes if self._listing is not None else ()
        for note in set(listing.notes) - set(told):
            log.warning("%s: %s", self.name, note)
        self._listing = aim, listing
        return listing

    def _pause(self) -> float | None:
        """Seconds until the next look; None when there is nothing to look for."""
        waits = [_REST] if self._arrivals.any else []
        waits += [self._poll_interval] if self._poll_interval > 0 else []
        waits += [due] if (due := self._failures.due) is not None else []
        shortest = min(_BREATH, self._poll_interval) if self._poll_interval > 0 else _BREATH
        return max(min(waits), shortest) if waits else None

    def _look(self, aim: _Aim, listing: Listing) -> None:
        aspired = aim.policy.among(listing.versions)
        if not aspired and self._snapshot.servables and self._rules.on_empty == "keep":
            self._warn(self._nothing_to_serve(aim))
            return
        tried: set[int] = set()
        ensure = partial(self._ensure, aim, listing, tried)
        available = _first(aim.policy.count, filter(ensure, aspired))
        labels = self._store_labels(listing, ensure) if aim.labels is None else self._config_labels(aim.labels)
        if self._stopping.is_set() or self._aim is not aim:
            return  # what was loaded for it stays until the next look
        kept = {*available, *(labels.values() if aim.labels is None else ())}
        if aspired and not available:
            # Nothing of what is there loads: go on with what there is, as availability comes first.
            kept |= self._snapshot.servables.keys()
        # What was passed by without a try is not waited for.
        self._failures.keep(tried)
        self._arrivals.keep(tried)
        self.statuses.keep_tracked(tried)
        servables = {number: servable for number, servable in self._snapshot.servables.items() if number in kept}
        self._judge(aim, servables)
        self._switch(Snapshot(servables, labels))

    def _judge(self, aim: _Aim, servables: Mapping[int, Servable]) -> None:
        failure = self._failures.newest
        if servables:
            self.problem = None
        elif failure is not None:
            self.problem = failure[1]
        elif self._arrivals.any:
            self._warn(NotFound("no version is whole yet", where=str(aim.source.path)))
        else:
            self._warn(self._nothing_to_serve(aim))

    def _warn(self, problem: TfoptError) -> None:
        if str(problem) != str(self.problem):
            log.warning("%s: %s", self.name, problem)
        self.problem = problem

    def _nothing_to_serve(self, aim: _Aim) -> TfoptError:
        hint = "publish one: `tfopt publish`, or a directory with a number for its name"
        return NotFound("there is no version to serve", where=str(aim.source.path), hint=hint)

    def _store_labels(self, listing: Listing, ensure: Callable[[int], bool]) -> dict[str, int]:
        """Labels whose version is available; one that moves to a version that is not stays where it was."""
        found = {}
        for label, number in listing.labels.items():
            before = self._snapshot.labels.get(label)
            if number in listing.versions and ensure(number):
                found[label] = number
            elif number in listing.versions and before is not None and before in listing.versions:
                found[label] = before
        return found

    def _config_labels(self, labels: Mapping[str, int]) -> dict[str, int]:
        """Labels are given when their version becomes available, and kept from then on."""
        known = self._snapshot
        anyway = self._rules.unavailable_labels != "none"
        return {
            label: number
            for label, number in labels.items()
            if anyway or number in known.servables or known.labels.get(label) == number
        }

    def _ensure(self, aim: _Aim, listing: Listing, tried: set[int], number: int) -> bool:
        """Is this version available? Loads it when it is not and may be."""
        path = listing.versions[number]
        files = fingerprint(path)
        known = self._snapshot.servables.get(number)
        if known is not None and known.files == files:
            self._failures.forget(number)
            return True
        if not path.exists() and number not in tried:  # it goes with the next listing
            return known is not None
        tried.add(number)
        if self._stopping.is_set() or self._aim is not aim or not self._failures.may_try(number, files):
            return known is not None
        first = not aim.looked.is_set() and (known is None or aim.moved)
        sealed = known is None and is_sealed(path) and not self._failures.has(number)
        if not self._has_arrived(number, path, files, at_once=first or sealed):
            return known is not None
        return self._load_version(number, path, files) or known is not None

    def _has_arrived(self, number: int, path: Path, files: Fingerprint, *, at_once: bool) -> bool:
        try:
            waiting = self._arrivals.waits_for(number, path, files, at_once=at_once)
        except (TfoptError, OSError) as error:
            self._failed(number, path, files, error)
            return False
        known = self.statuses.get(number)
        is_news = known is None or (known.state in (State.START, State.END) and not known.message)
        if waiting is not None and is_news:
            log.info("%s: version %d is waited for: %s", self.name, number, waiting)
            self.statuses.set(VersionStatus(number, State.START, message=waiting))
        return waiting is None

    def _load_version(self, number: int, path: Path, files: Fingerprint) -> bool:
        start = time.monotonic()
        self.statuses.set(VersionStatus(number, State.START))
        try:
            with self._slots:
                self.statuses.set(VersionStatus(number, State.LOADING))
                loaded = self._load(path)
        except Exception as error:  # noqa: BLE001 - a rim: whatever a foreign model raises, the others go on
            self._failed(number, path, files, error)
            return False
        runtime = loaded.runtime
        servable = Servable(number, files, runtime, self._observe)
        if not self._switch(replace(self._snapshot, servables={**self._snapshot.servables, number: servable})):
            runtime.close()
            self.statuses.set(VersionStatus(number, State.END))
            return False
        self._failures.forget(number)
        self.statuses.set(VersionStatus(number, State.AVAILABLE, kind=runtime.kind, unmet=loaded.unmet))
        seconds = time.monotonic() - start
        # TensorFlow Serving's line: those who start a server wait for it in its log.
        what = "Successfully loaded servable version {name: %s version: %d} (%s, in %.2f s)"
        log.info(what, self.name, number, runtime.kind, seconds)
        for kind, reason in loaded.unmet.items():
            what = "%s: version %d: its %s cannot be run on this machine, its %s serves: %s"
            log.warning(what, self.name, number, kind, runtime.kind, reason)
        return True

    def _failed(self, number: int, path: Path, files: Fingerprint, cause: Exception) -> None:
        if not path.exists():
            self.statuses.forget(number)  # taken away while it was being loaded
            return
        error = cause
        if not isinstance(error, TfoptError):
            error = InvalidModel(f"cannot be loaded: {cause!r}", where=str(path))
        self._failures.add(number, files, error)
        # What was loaded from earlier files of this number serves on.
        known = self._snapshot.servables.get(number)
        state, kind = (State.AVAILABLE, known.kind) if known is not None else (State.END, "")
        self.statuses.set(VersionStatus(number, state, error.code, str(error), kind))
        log.error("%s: version %d cannot be served: %s", self.name, number, error)

    def _switch(self, snapshot: Snapshot) -> bool:
        """Make `snapshot` what is served, and then let go of what it does not hold. False when the model has been
        stopped meanwhile, and nothing is served any more."""
        with self._switching:
            if self._stopped and snapshot.servables:
                return False
            before, self._snapshot = self._snapshot, snapshot
        for number, servable in before.servables.items():
            if number not in snapshot.servables:
                self.statuses.set(VersionStatus(number, State.UNLOADING))
                servable.retire(partial(self._unloaded, number), self._unload)
            elif snapshot.servables[number] is not servable:
                servable.retire(_nothing, self._unload)  # the same number from other files has taken over
        return True

    def _unloaded(self, number: int) -> None:
        self.statuses.end(number)
        log.info("%s: version %d unloaded", self.name, number)


def _first(count: int | None, numbers: Iterator[int]) -> list[int]:
    """The first `count` of them; no more are tried."""
    return list(islice(numbers, count))


def _nothing() -> None:
    pass
