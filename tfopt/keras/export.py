"""Keras loads a file and exports it, in a process of its own: `python -m tfopt.keras.export TASK`.

TASK is JSON: `source`, `generation`, `output` and `refusal`, a file that is written where Keras cannot load or export.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def load(source: str, generation: int) -> Any:
    """The model, by the Keras that wrote it. No code of the file's is run. Raises what that Keras raises."""
    from tfopt.formats.tensorflow import tf  # isort: split

    del tf
    if generation == 2:
        import tf_keras

        from tfopt.keras.tfmot import scope

        with scope():
            return tf_keras.models.load_model(source, compile=False, safe_mode=True)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    return keras.models.load_model(source, compile=False, safe_mode=True)


def main() -> None:
    from tfopt.processes import end_with_parent

    end_with_parent()
    task = json.loads(sys.argv[1])
    try:
        load(task["source"], task["generation"]).export(task["output"])
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError, OSError) as error:
        Path(task["refusal"]).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")


if __name__ == "__main__":
    main()
