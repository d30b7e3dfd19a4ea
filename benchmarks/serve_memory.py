"""Mark: memory goes back when a version is unloaded. Of each runtime, a version of some 25 MB of weights is loaded,
asked once and unloaded fifty times in one process, as the server does it; the resident set after the last is within 5 %
of what it was after the fifth.

    python -m benchmarks.serve_memory [loads] [runtime...]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import print_table

KINDS = ("tensorflow", "litert", "onnxruntime")
WIDTH = 2500
SETTLED = 5


def main() -> None:
    loads = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    kinds = sys.argv[2:] or KINDS
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        versions = build(Path(directory))
        for kind in kinds:
            command = [
                sys.executable,
                "-m",
                "benchmarks.serve_memory",
                "--child",
                kind,
                str(versions[kind]),
                str(loads),
            ]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            sizes = json.loads(done.stdout.splitlines()[-1])
            settled, last = sizes[SETTLED], sizes[-1]
            figures = [sizes[0], sizes[1], settled, max(sizes[SETTLED:]), last]
            rows.append([kind, *(f"{size / 1e6:.1f}" for size in figures), f"{(last - settled) / settled:+.1%}"])
    columns = ["runtime", "before", "after 1", f"after {SETTLED}", "largest since", f"after {loads}", "change"]
    print_table(
        f"Resident memory in MB after loads and unloads of {WIDTH**2 * 4 / 1e6:.0f} MB of weights", columns, rows
    )


def build(directory: Path) -> dict[str, Path]:
    """A version directory for each runtime, of one model."""
    import tensorflow as tf

    from tfopt.formats.saved_model import read_saved_model
    from tfopt.targets.onnx import write_onnx

    module = tf.Module()
    module.weights = tf.Variable(np.random.default_rng(0).normal(0, 1, (WIDTH, WIDTH)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, "x")])
    def serve(x: Any) -> dict[str, Any]:
        return {"y": x @ module.weights}

    found = {kind: directory / kind / "1" for kind in KINDS}
    tf.saved_model.save(module, str(found["tensorflow"]), signatures=serve)
    found["litert"].mkdir(parents=True)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(found["tensorflow"]))
    (found["litert"] / "model.tflite").write_bytes(converter.convert())
    found["onnxruntime"].mkdir(parents=True)
    write_onnx(read_saved_model(found["tensorflow"]), found["onnxruntime"] / "model.onnx")
    return found


def child(version: Path, loads: int) -> None:
    from tfopt.serve.process import dedicate_process
    from tfopt.serve.versions.engines import Engines
    from tfopt.serve.versions.files import fingerprint
    from tfopt.serve.versions.loading import load_version
    from tfopt.serve.versions.servable import Servable
    from tfopt.serve.versions.unloading import Unloader

    dedicate_process()
    x = np.ones((1, WIDTH), np.float32)
    sizes = [resident()]
    for _ in range(loads):
        unloader = Unloader()
        servable = Servable(1, fingerprint(version), load_version(version, "auto", Engines(2)).runtime)
        servable.run("serving_default", {"x": x})
        servable.retire(lambda: None, unloader)
        del servable
        unloader.stop()
        sizes.append(resident())
    print(json.dumps(sizes))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
