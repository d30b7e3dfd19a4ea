"""A request and its answer, without the connection they came and go by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tfopt.errors import Code, TfoptError
from tfopt.serve.refusals import told
from tfopt.serve.rest.describe import error_text
from tfopt.serve.rest.routes import EmptyRefusal, Route, WrongMethod

Headers = Iterable[tuple[bytes, bytes]]

JSON = b"application/json"

#: tensorflow_serving/model_servers/http_server.cc, ToHTTPStatusCode.
HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


@dataclass
class Seen:
    """What comes to be known of a request while it is answered: the version and the signature that it means."""

    version: int | None = None
    signature: str = ""


@dataclass(frozen=True)
class Request:
    """`body` is unpacked already. `timeout`: seconds for the model's run, None for as long as it takes. Its handler
    fills in `seen`, for those who count."""

    route: Route
    headers: Headers = ()
    body: bytes = b""
    timeout: float | None = None
    seen: Seen = field(default_factory=Seen)

    def header(self, name: bytes) -> bytes:
        """The first header of this name, in small letters; empty when there is none."""
        return header(self.headers, name)


@dataclass(frozen=True)
class Answer:
    """`code` says in gRPC's words what `status` says in HTTP's."""

    body: bytes = b""
    code: Code = Code.OK
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    #: Where the code's own would not do.
    http_status: int | None = None

    @property
    def status(self) -> int:
        return HTTP_STATUS[self.code] if self.http_status is None else self.http_status


def header(headers: Headers, name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"")


def refusal(error: TfoptError) -> Answer:
    code, message = told(error)
    if isinstance(error, WrongMethod):
        return Answer(error_text(message), code, headers=((b"allow", error.allowed.encode()),), http_status=405)
    return Answer(b"" if isinstance(error, EmptyRefusal) else error_text(message), code)
