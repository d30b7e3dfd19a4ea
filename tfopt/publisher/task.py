"""What the publisher asks of the rehearsal and what it answers: the values between two processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """`version` is the staged directory, `name` the model's; `data` says where samples are, as seen from the
    `directory` in which the publisher was called; `warmup` counts the requests to write for each signature."""

    version: str
    name: str
    data: Sequence[str]
    directory: str
    warmup: int


@dataclass(frozen=True)
class Outcome:
    """`signatures` as the manifest keeps them; `ran` counts the requests that each kind of artifact has answered;
    `samples` says what these were made of: "data", "warmup" or "synthetic"; `notes` say what was not tried and why;
    `requires` by kind what an artifact requires of the machine, as its ops tell; `seconds` by kind how long a request
    took where there are several to compare."""

    signatures: Mapping[str, Any]
    ran: Mapping[str, int]
    samples: str
    notes: tuple[str, ...]
    requires: Mapping[str, Sequence[str]]
    seconds: Mapping[str, float]
