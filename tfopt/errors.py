"""One tree of errors. Each says what went wrong, where, and what to do next.

Every class carries two names for programs: a canonical code (gRPC's vocabulary, used by the server)
and a process exit code (used by the command line, listed in docs/reference/exit-codes.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum
from typing import ClassVar


class Code(str, Enum):
    """Canonical status codes (https://grpc.io/docs/guides/status-codes/)."""

    OK = "OK"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


class TfoptError(Exception):
    """Base of all errors that tfopt raises on purpose.

    `what` is one line without a full stop; `where` names the file, node or key; `hint` says what to do next.
    """

    code: ClassVar[Code] = Code.UNKNOWN
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.hint}" if self.hint else head


class UsageError(TfoptError):
    """The command line or the call does not fit together."""

    code = Code.INVALID_ARGUMENT
    exit_code = 2


class InvalidModel(TfoptError):
    """The input is no model, or a broken one: files of it missing or corrupt, a graph that breaks its own rules."""

    code = Code.DATA_LOSS
    exit_code = 3


class UnsupportedModel(TfoptError):
    """A sound model that holds something tfopt cannot carry: named by op, node and signature."""

    code = Code.UNIMPLEMENTED
    exit_code = 4


class UnsafeModel(TfoptError):
    """The model would touch files or run foreign code when it is loaded or served."""

    code = Code.PERMISSION_DENIED
    exit_code = 5


class InvalidSamples(TfoptError):
    """Samples of the wrong name, shape or dtype, none at all, or with NaN in them."""

    code = Code.INVALID_ARGUMENT
    exit_code = 6


class InvalidRecipe(TfoptError):
    """A recipe that names an unknown pass or option, or gives one a value of the wrong type."""

    code = Code.INVALID_ARGUMENT
    exit_code = 7


class FidelityError(TfoptError):
    """The result differs from the original by more than allowed; nothing was written."""

    code = Code.FAILED_PRECONDITION
    exit_code = 8


class OutputExists(TfoptError):
    """The output is there already, or another process is writing it."""

    code = Code.ALREADY_EXISTS
    exit_code = 9


class OutputError(TfoptError):
    """The output cannot be written: read-only, full disk, no such parent."""

    code = Code.RESOURCE_EXHAUSTED
    exit_code = 10


class NotFound(TfoptError):
    """No such model, version, label or signature."""

    code = Code.NOT_FOUND
    exit_code = 11


class MissingExtra(TfoptError):
    """An optional package is not installed."""

    code = Code.FAILED_PRECONDITION
    exit_code = 12

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> MissingExtra:
        return cls(f"{purpose} needs the package {package}", hint=f"pip install 'tfopt[{extra}]'")


class ConversionError(TfoptError):
    """A target's converter refused the model; the message names the op when the converter does."""

    code = Code.UNIMPLEMENTED
    exit_code = 13


class ExecutionError(TfoptError):
    """A runtime failed while it ran the model. `said` are its own words and what is known beside them, for clients of a
    server; `status` is its own code."""

    code = Code.INVALID_ARGUMENT
    exit_code = 14

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        said: str | None = None,
        status: Code = Code.INVALID_ARGUMENT,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.said = said if said is not None else f"{what}; {hint}" if hint else what
        self.status = status


class ServerUnavailable(TfoptError):
    """No server answers, or the port is taken."""

    code = Code.UNAVAILABLE
    exit_code = 15


class RequestError(TfoptError):
    """A request the server refuses; raised on either side of the wire with the server's own words."""

    code = Code.INVALID_ARGUMENT
    exit_code = 16

    def __init__(self, what: str, *, code: Code = Code.INVALID_ARGUMENT, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.status = code


class UnmetRequirement(TfoptError):
    """This machine lacks what the model requires of it: instructions of the processor, or kernels of the runtime."""

    code = Code.FAILED_PRECONDITION
    exit_code = 17


INTERRUPTED_EXIT_CODE = 130


def nearest(wrong: str, known: Iterable[str]) -> str:
    """A hint for a name that does not exist: the nearest right one, or all there are."""
    names = sorted(known)
    close = get_close_matches(wrong, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(names)}" if names else "there are none"
