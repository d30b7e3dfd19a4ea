"""Read the command line of `tfopt model-server` as TensorFlow reads that of tensorflow_model_server.

`--flag=value`, and `--flag` alone for what is true or false. Beyond TensorFlow: `--flag value` too, and what is no flag
is an error, where TensorFlow Serving names it and carries on.
Source: tensorflow/core/util/command_line_flags.cc.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from tfopt.errors import UsageError
from tfopt.serve.settings.flags import FLAGS, Flag, Kind, Value

_BY_NAME = {flag.name: flag for flag in FLAGS}
_BITS = {"int32": 32, "int64": 64}
_INTEGER = re.compile(r"\s*[+-]?[0-9]+")


@dataclass(frozen=True)
class Flags:
    """The value of each flag, and which of them were given."""

    values: Mapping[str, Value]
    given: frozenset[str]

    def text(self, name: str) -> str:
        return str(self.values[name])

    def number(self, name: str) -> int:
        return int(self.values[name])

    def is_on(self, name: str) -> bool:
        return self.values[name] is True

    def idle(self) -> list[str]:
        """A sentence for each flag that was given and changes nothing."""
        given = (flag for flag in FLAGS if flag.idle and flag.name in self.given)
        return [
            f"--{flag.name}={_shown(self.values[flag.name])} has no effect: {flag.idle}"
            for flag in given
            if self.values[flag.name] != flag.as_if
        ]


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Raises UsageError for what is no flag, or no value for one. Of a flag that is given twice the last one counts."""
    values = {flag.name: flag.default for flag in FLAGS}
    given = set()
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.removeprefix("--").partition("=")
        flag = _BY_NAME.get(name) if argument.startswith("--") else None
        if flag is None:
            raise _unknown(argument, name)
        if not equals and flag.kind != "bool":
            if not rest or rest[0].startswith("--"):
                raise UsageError(f"--{name} wants a value", hint=f"write --{name}=VALUE")
            text = rest.pop(0)
        values[name] = True if flag.kind == "bool" and not equals else _value(flag, text)
        given.add(name)
    return Flags(values, frozenset(given))


def _unknown(argument: str, name: str) -> UsageError:
    if argument.startswith("--"):
        near = get_close_matches(f"--{name}", [f"--{known}" for known in _BY_NAME], n=1)
        hint = f"did you mean {near[0]}?" if near else "see --help"
    else:
        hint = "flags begin with --, and there is nothing else to give"
    return UsageError(f"unknown argument: {argument}", hint=hint)


def _value(flag: Flag, text: str) -> Value:
    value = _read(flag.kind, text)
    if value is None:
        kind = {"bool": "true or false", "string": "text", "float": "a number"}.get(flag.kind, f"an {flag.kind}")
        raise UsageError(f"Couldn't interpret value {text} for flag {flag.name}", hint=f"it wants {kind}")
    return value


def _read(kind: Kind, text: str) -> Value | None:
    if kind == "bool":
        return {"true": True, "false": False}.get(text)
    if kind == "string":
        return text
    if kind == "float":
        try:
            return float(text)
        except ValueError:
            return None
    if not _INTEGER.fullmatch(text):
        return None
    number, limit = int(text), 1 << (_BITS[kind] - 1)
    return number if -limit <= number < limit else None


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
