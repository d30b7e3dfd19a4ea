"""One SavedModel in one process: load it, call every signature, and say what that took. Nothing of tfopt is imported.

    python -m benchmarks.loaders {v1,v2} MODEL     inputs as JSON on stdin, figures as JSON on stdout

v1 is `tf.compat.v1.saved_model.load` in a session, the way of TensorFlow Serving; v2 is `tf.saved_model.load`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: Of each signature: the second run makes room that the first did not need.
CALLS: Final = 3

Call = Callable[[], None]


def main(loader: str, model: str) -> None:
    shapes: Mapping[str, Mapping[str, tuple[str, list[int]]]] = json.load(sys.stdin)
    import numpy as np
    import tensorflow as tf

    feeds = {
        key: {name: np.ones(shape, dtype) for name, (dtype, shape) in inputs.items()} for key, inputs in shapes.items()
    }
    gc.collect()
    imported = _resident("VmRSS:")
    start = time.perf_counter()
    calls = (_load_v1 if loader == "v1" else _load_v2)(tf, model, feeds)
    loaded = time.perf_counter()
    steps = [_resident("VmRSS:") - imported]
    for call in calls:
        for _ in range(CALLS):
            call()
        steps.append(_resident("VmRSS:") - imported)
    figures = {
        "load_seconds": loaded - start,
        "ready_seconds": time.perf_counter() - start,
        "steps": steps,
        "steady": steps[-1],
        "peak": _resident("VmHWM:") - imported,
    }
    print(json.dumps(figures))


def _load_v1(tf: Any, model: str, feeds: Mapping[str, Mapping[str, Any]]) -> list[Call]:
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], model).signature_def

    def call(key: str) -> Call:
        fed = {signatures[key].inputs[name].name: value for name, value in feeds[key].items()}
        fetched = [info.name for info in signatures[key].outputs.values()]
        return lambda: session.run(fetched, fed)

    return [call(key) for key in sorted(feeds)]


def _load_v2(tf: Any, model: str, feeds: Mapping[str, Mapping[str, Any]]) -> list[Call]:
    loaded = tf.saved_model.load(model)

    def call(key: str) -> Call:
        signature = loaded.signatures[key]
        return lambda: signature(**{name: tf.constant(value) for name, value in feeds[key].items()})

    return [call(key) for key in sorted(feeds)]


def _resident(key: str) -> int:
    """In bytes: resident now (VmRSS), or the most that ever was (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
