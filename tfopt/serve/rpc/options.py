"""What a gRPC server may be told, without gRPC."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfopt.errors import UsageError

#: The most that a protobuf message can have, and TensorFlow Serving's limit.
LARGEST_MESSAGE = 2**31 - 1

_INT32 = re.compile(r"\s*[+-]?[0-9]+\s*")


@dataclass(frozen=True)
class Tls:
    """PEM contents. With `client_verify`, clients have to show a certificate that `ca` has signed."""

    key: bytes
    certificate: bytes
    ca: bytes | None = None
    client_verify: bool = False


@dataclass(frozen=True)
class GrpcOptions:
    """`max_threads`: requests answered at once, four times the cores when None; `max_message`: bytes of a request;
    `channel_arguments`: gRPC's own settings; `health`, `reflection`: serve these services too; `as_content`: see
    `prediction.PredictionCalls`; `enforce_deadlines`: a run ends with its client's deadline.
    """

    tls: Tls | None = None
    max_threads: int | None = None
    max_message: int = LARGEST_MESSAGE
    channel_arguments: tuple[tuple[str, int | str], ...] = ()
    health: bool = True
    reflection: bool = True
    as_content: bool = False
    enforce_deadlines: bool = True


def parse_channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """`key=value,key=value`, whole numbers of 32 bits as such (model_servers/server.cc). Raises UsageError."""
    found: list[tuple[str, int | str]] = []
    for part in text.split(",") if text else ():
        key, *values = part.split("=")
        if not key or not values:
            raise UsageError(f"{part!r} is no key=value", where="gRPC channel arguments")
        number = int(values[0]) if _INT32.fullmatch(values[0]) else None
        found.append((key, number if number is not None and -(2**31) <= number < 2**31 else values[0]))
    return tuple(found)
