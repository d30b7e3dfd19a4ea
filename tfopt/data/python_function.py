"""Samples that a function of the user's makes: `file.py:function` or `package.module:function`, called with nothing.

It returns arrays by input name (or one array for a model with one input), examples first; or it yields examples, each
such a dict or array without the example axis.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data.collect import collect
from tfopt.data.files import UNNAMED
from tfopt.data.rows import first
from tfopt.errors import InvalidSamples, nearest


def names_function(place: str) -> bool:
    """Is it written like a function in a module?"""
    module, colon, function = place.rpartition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    return bool(colon) and function.isidentifier() and (module.endswith(".py") or dotted)


def check_module(place: str) -> None:
    """Raise InvalidSamples when the function's file is not there; a module by its name is looked for when it runs."""
    module = place.rpartition(":")[0]
    if module.endswith(".py") and not Path(module).is_file():
        raise InvalidSamples("no such file", where=module)


def call_function(place: str, limit: int | None) -> dict[str, NDArray[Any]]:
    """What the function gives, by input name; one array without a name is called `UNNAMED`.

    Raises InvalidSamples for a module or function that is not there, for what it raises, and for what is no samples.
    """
    check_module(place)
    module, _, name = place.rpartition(":")
    function = _function(module, name, place)
    with _user_code(place):
        given = function()
    if isinstance(given, Mapping):
        return {str(key): first(np.asarray(array), limit) for key, array in given.items()}
    if isinstance(given, np.ndarray):
        return {UNNAMED: first(given, limit)}
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return collect(_examples(iter(given), place), place, limit)
    what = f"it gave a {type(given).__name__}, not arrays by input name, one array, or examples one by one"
    raise InvalidSamples(what, where=place)


def _function(module: str, name: str, place: str) -> Callable[[], Any]:
    with _user_code(place):
        loaded = _from_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
    function = getattr(loaded, name, None)
    if not callable(function):
        functions = [key for key, value in vars(loaded).items() if callable(value)]
        raise InvalidSamples(f"{module} has no function {name}", where=place, hint=nearest(name, functions))
    found: Callable[[], Any] = function
    return found


def _from_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a file whose name ends in .py has both
    module = importlib.util.module_from_spec(spec)
    # As for a script, what lies beside it can be imported, and by its own name it finds itself.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _examples(given: Iterator[Any], place: str) -> Iterator[Mapping[str, NDArray[Any]]]:
    while True:
        with _user_code(place):
            example = next(given, _END)
        if example is _END:
            return
        yield example if isinstance(example, Mapping) else {UNNAMED: np.asarray(example)}


_END = object()


@contextmanager
def _user_code(place: str) -> Iterator[None]:
    """What the user's own code raises is told as an error of the samples, its traceback kept for --debug."""
    try:
        yield
    except InvalidSamples:
        raise
    except Exception as error:  # a rim: code that is not ours may raise anything
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidSamples(f"the function failed with {what}", where=place) from error
