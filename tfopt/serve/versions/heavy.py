"""Importing TensorFlow in a process that answers requests meanwhile."""

from __future__ import annotations

import gc
import importlib
import sys

from tfopt.serve import process


def import_heavy(module: str) -> None:
    """Import a module that imports TensorFlow.

    In a process that does nothing but serve, Python's collector rests meanwhile, which would look through all that is
    there again and again. What the import has made, hundreds of thousands of objects, is out of its sight from then on:
    it lives as long as the process, and looking through it takes 0.2 s in which no request is answered.
    """
    if "tensorflow" in sys.modules or not process.is_dedicated() or not gc.isenabled():
        importlib.import_module(module)
        return
    gc.disable()
    try:
        importlib.import_module(module)
        gc.freeze()
    finally:
        gc.enable()
