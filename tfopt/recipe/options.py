"""Is a value right for an option? The option's type, as its pass wrote it, is the schema."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, Union

from tfopt.passes.base import Option

#: What `fitted` gives back for a value that does not fit.
MISFIT = object()

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    tuple[str, ...]: "a list of texts",
}


def fitted(value: Any, option: Option) -> Any:
    """The value as the pass takes it (an int as float, a list as tuple), or MISFIT."""
    for kind in _kinds(option.type):
        result = _as(value, kind)
        if result is not MISFIT:
            return result
    return MISFIT


def wanted(option: Option) -> str:
    """What fits, for people."""
    words = [_WORDS.get(kind) or " or ".join(typing.get_args(kind)) for kind in _kinds(option.type)]
    return " or ".join(words)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _as(value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is Literal:
        return value if value in typing.get_args(kind) else MISFIT
    if kind == tuple[str, ...]:
        return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else MISFIT
    if kind is float:
        return _as_float(value)
    # `type`, not isinstance: true is no number.
    return value if type(value) is kind else MISFIT


def _as_float(value: Any) -> Any:
    if type(value) in (int, float):
        return float(value)
    if not isinstance(value, str):
        return MISFIT
    # YAML 1.1 reads 1e-3 as text, because it has no dot.
    try:
        return float(value)
    except ValueError:
        return MISFIT
