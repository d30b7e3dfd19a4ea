"""Which versions of a model ought to be served: TensorFlow Serving's version policies.

Source: tensorflow_serving/sources/storage_path/file_system_storage_path_source.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Latest:
    """The `count` newest versions that load; what is broken is passed over for the one before it."""

    count: int = 1

    def among(self, versions: Iterable[int]) -> list[int]:
        return sorted(versions, reverse=True)


@dataclass(frozen=True)
class All:
    """Every version there is."""

    count: None = None

    def among(self, versions: Iterable[int]) -> list[int]:
        return sorted(versions, reverse=True)


@dataclass(frozen=True)
class Specific:
    """These versions and no other."""

    versions: tuple[int, ...]
    count: None = None

    def among(self, versions: Iterable[int]) -> list[int]:
        return sorted(set(self.versions).intersection(versions), reverse=True)


#: `among` gives those of the versions there are that come into question, the first to try first, and `count` how many
#: of them are served at most.
Policy = Latest | All | Specific
#: What is served unless somebody asks for something else.
NEWEST = Latest()
