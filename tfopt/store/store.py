"""The base path of one model: versions are put in place whole, taken out of service, brought back, labelled."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tfopt.errors import InvalidModel, NotFound, OutputError, TfoptError, UsageError
from tfopt.store import base_path, disk
from tfopt.store.base_path import HELD, LARGEST, PRIVATE, VersionEntry
from tfopt.store.lock import locked
from tfopt.store.staging import open_slot, sweep

#: A listing that a poller began before a version came back must have ended before the versions above it go, else it
#: might hold neither. TF Serving unloads everything when it finds nothing.
_LISTING_SECONDS = 0.05

_LABEL = re.compile(r"[^/:\s]+")  # what fits TF Serving's URLs: /labels/([^/:]+)


class Store:
    """The versions below `base` (base/name, what TF Serving calls the model's base path).

    Every change is one or more renames under a lock that ends with its holder: killed at any moment, a change has
    happened or not, no half-written version is ever visible, and the versions that were are still there.
    """

    def __init__(self, base: Path) -> None:
        self.base = Path(base)
        self._private = self.base / PRIVATE
        self._staging = self._private / "staging"
        self._last_number = self._private / "last_number"
        self._labels = self._private / "labels.json"

    # -- reading --------------------------------------------------------------------------------------------------

    def versions(self) -> list[VersionEntry]:
        """All versions by ascending number, held ones too. Raises NotFound without a base path."""
        return base_path.entries(self.base)

    def latest(self) -> int | None:
        """The highest version in service: the one that is served. Raises NotFound without a base path."""
        return max(base_path.scan(self.base), default=None)

    def labels(self) -> Mapping[str, int]:
        return base_path.read_labels(self.base)

    def entry(self, number: int) -> VersionEntry:
        """Raises NotFound, listing the versions that are there."""
        known = self.versions()
        for entry in known:
            if entry.number == number:
                return entry
        there = ", ".join(str(entry.number) for entry in known) or "none"
        raise NotFound(f"there is no version {number}", where=str(self.base), hint=f"versions here: {there}")

    # -- a new version --------------------------------------------------------------------------------------------

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """An empty directory on the base path's filesystem, to be filled and given to `commit`.

        It goes when the block ends, and with it the directories made for a first version that was not committed.
        What makers that died have left behind is removed first. Raises OutputError.
        """
        with disk.writing(self.base):
            made = disk.make_directories(self._private)
        try:
            with ExitStack() as slot:
                with self._locked():
                    sweep(self._staging)
                    version = slot.enter_context(open_slot(self._staging))
                yield version
        except BaseException:
            with suppress(TfoptError):  # what cannot be tidied must not hide why the version did not come
                self._leave(made)
            raise

    def commit(self, staged: Path, *, hold: bool = False) -> int:
        """Give a complete directory the next free number; it must be on this filesystem, as `stage`'s is.

        The number is above all that are there in any form or ever were here. `hold` puts the version in place out of
        service. Raises OutputError; then nothing is in place.
        """
        with disk.writing(staged):
            disk.sync_tree(staged)
        with self._locked():
            number = self._next_number()
            self._remember(number)
            disk.rename(staged, self.base / (f"{number}{HELD}" if hold else str(number)))
        return number

    # -- what is in service ---------------------------------------------------------------------------------------

    def promote(self, number: int) -> None:
        """Make `number` the latest: bring it back if it is held, then hold every higher one.

        Raises NotFound. At every moment in between, the latest is the old one or the new one.
        """
        with self._locked(existing=True):
            entry = self.entry(number)
            if entry.held:
                disk.rename(entry.path, entry.path.with_name(entry.path.name.removesuffix(HELD)))
                time.sleep(_LISTING_SECONDS)
            self._hold_above(number)

    def rollback(self) -> int:
        """Hold the latest version, so that the one before it is the latest; gives that one's number.

        Raises NotFound when there is none before it in service.
        """
        with self._locked(existing=True):
            before = sorted(base_path.scan(self.base))[:-1]
            if not before:
                hint = "bring a held version back with `tfopt versions promote`, or publish another"
                raise NotFound("there is no earlier version in service", where=str(self.base), hint=hint)
            self._hold_above(before[-1])
            return before[-1]

    def _hold_above(self, number: int) -> None:
        # Lowest first: the top stays the latest until the last rename, so no version in between is ever served.
        for other, path in sorted(base_path.visible(self.base)):
            if other > number:
                disk.rename(path, path.with_name(path.name + HELD))

    # -- labels ---------------------------------------------------------------------------------------------------

    def label(self, name: str, number: int | None) -> None:
        """Let the label `name` point at a version in service, or at none. Raises NotFound, UsageError."""
        check_label(name)
        with self._locked(existing=True):
            labels = dict(self.labels())
            if number is None and labels.pop(name, None) is None:
                known = ", ".join(labels) or "none"
                raise NotFound(f"there is no label {name}", where=str(self.base), hint=f"labels here: {known}")
            if number is not None:
                if self.entry(number).held:
                    hint = f"promote it first: tfopt versions promote {self.base} {number}"
                    raise UsageError(f"version {number} is held, and a label needs one in service", hint=hint)
                labels[name] = number
            self._write_labels(labels)

    def _write_labels(self, labels: Mapping[str, int]) -> None:
        disk.replace_file(self._labels, disk.to_json(dict(sorted(labels.items()))))

    # -- the end of a version -------------------------------------------------------------------------------------

    def delete(self, *numbers: int, force: bool = False) -> tuple[int, ...]:
        """Delete versions, all of them or, when one is refused, none; their numbers are not given again.

        The latest and labelled ones only with `force`, which takes the labels along. Raises NotFound, UsageError.
        """
        self._require_base()
        with self.stage() as grave, self._locked():
            doomed = [self.entry(number) for number in sorted(set(numbers))]
            if not force:
                for entry in doomed:
                    self._refuse_needed(entry)
            for entry in doomed:
                self._delete(entry, grave)
        return tuple(entry.number for entry in doomed)

    def keep_newest(self, count: int) -> tuple[int, ...]:
        """Delete all but the `count` highest versions; gives the numbers deleted.

        The latest and labelled versions stay as well. Raises NotFound, UsageError.
        """
        if count < 1:
            raise UsageError(f"at least one version is kept, not {count}")
        self._require_base()
        with self.stage() as grave, self._locked():
            latest = self.latest()
            older = self.versions()[:-count]
            doomed = [entry for entry in older if not entry.labels and (entry.held or entry.number != latest)]
            for entry in doomed:
                self._delete(entry, grave)
        return tuple(entry.number for entry in doomed)

    def _refuse_needed(self, entry: VersionEntry) -> None:
        if entry.labels:
            hint = "remove the label first, or force it"
            raise UsageError(f"version {entry.number} is labelled {', '.join(entry.labels)}", hint=hint)
        if not entry.held and entry.number == self.latest():
            hint = "roll back or promote another one first, or force it"
            raise UsageError(f"version {entry.number} is the latest, the one that is served", hint=hint)

    def _delete(self, entry: VersionEntry, grave: Path) -> None:
        """Out of sight by a rename; the files themselves go when the slot that holds the grave ends."""
        self._remember(self._next_number() - 1)
        if entry.labels:
            self._write_labels({name: target for name, target in self.labels().items() if target != entry.number})
        disk.rename(entry.path, grave / entry.path.name)

    # -- the private directory ------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self, *, existing: bool = False) -> Iterator[None]:
        if existing:
            self._require_base()
        with disk.writing(self.base), locked(self._private / "lock"):
            yield

    def _require_base(self) -> None:
        if not self.base.is_dir():
            raise NotFound("there is no such base path", where=str(self.base))

    def _next_number(self) -> int:
        claimed = (base_path.claimed_number(path.name) for path in self.base.iterdir())
        number = max(0, self._remembered(), *(number for number in claimed if number is not None)) + 1
        if number > LARGEST:
            raise OutputError("the numbers are used up: the highest is that of int64", where=str(self.base))
        return number

    def _remembered(self) -> int:
        try:
            return int(self._last_number.read_text())
        except FileNotFoundError:
            return 0
        except ValueError as error:
            hint = "write the highest number ever published into it"
            raise InvalidModel("must hold one whole number", where=str(self._last_number), hint=hint) from error

    def _remember(self, number: int) -> None:
        disk.replace_file(self._last_number, f"{number}\n")

    def _leave(self, made: tuple[Path, ...]) -> None:
        """Take away the directories `made` for a first version that did not come, unless somebody uses them."""
        if self._private not in made:
            return
        with self._locked():
            if any(path.name not in ("lock", "staging") for path in self._private.iterdir()):
                return
            disk.remove_empty((self._staging,))
            if not self._staging.exists():
                (self._private / "lock").unlink()
        disk.remove_empty(made)


def check_label(name: str) -> None:
    """Raise UsageError for what cannot be a label."""
    if not _LABEL.fullmatch(name) or not name.isprintable():
        raise UsageError(f"{name!r} cannot be a label", hint="a label has no /, no : and no white space")
