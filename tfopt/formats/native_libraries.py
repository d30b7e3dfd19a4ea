"""Loading a package's large libraries without holding up the other threads."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path


def load_libraries(package: str, *names: str) -> None:
    """Load these libraries of a package that is about to be imported, those that are there, each before who needs it.

    Python holds its lock while it loads one for an import, which is a third of a second for TensorFlow's; it does not
    during a call from outside, and the import finds what is loaded. Linux only.
    """
    if sys.platform != "linux":
        return
    found = importlib.util.find_spec(package)
    places = (found.submodule_search_locations if found is not None else None) or ()
    load = ctypes.CDLL(None).dlopen
    load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    for path in (Path(place) / name for place in places for name in names):
        if path.is_file():
            load(os.fsencode(path), os.RTLD_NOW | os.RTLD_LOCAL)  # where that fails, the import tells why
