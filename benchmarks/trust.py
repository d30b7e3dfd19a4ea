"""Mark: does `tfopt bench` call differences that are there, and none that are not, while the machine is busy?

    python -m benchmarks.trust [--tries 20] [--kind tflite] [--threads 1] [--idle]

Two artifacts are planted: a chain of equal convolutions, and the same chain with a tenth more of them. Each try runs
`tfopt bench` as a user does, in two ways: the chain, a copy of it and the longer chain in one run; and three runs
after each other, of the chain, of the chain again and of the longer one, compared by `tfopt bench --compare`. All the
while another process keeps one core busy (not with --idle).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.report import print_table
from tfopt.measure.compare import compare_reports
from tfopt.measure.values import Report, load_report

LAYERS = 20
SLOWER = 22
#: Calls of less than a millisecond: longer ones hardly ever run undisturbed where several processes share two cores.
SIDE, CHANNELS = 7, 64
#: Of measuring for each artifact in one run.
SECONDS = 1.5
#: The mark, for 20 tries: no difference called in all of them, the planted one in all but one.
MOST_MISSED = 0.05

Verdicts = dict[tuple[str, str], Counter[str]]


def main(tries: int = 20, kind: str = "tflite", threads: int = 1, *, idle: bool = False) -> bool:
    """Print the counts; True when the mark is met."""
    start = time.monotonic()
    call = 0.0
    verdicts: Verdicts = {(how, what): Counter() for how in ("one run", "two runs") for what in ("copy", "slower")}
    with tempfile.TemporaryDirectory() as scratch, _loaded(0 if idle else 1):
        chain, copy, longer = _plant(Path(scratch), kind)
        for number in range(tries):
            call = _try(Path(scratch), (chain, copy, longer), threads, number, verdicts)
            print(f"try {number + 1}: {_shown(verdicts)}", file=sys.stderr, flush=True)
    rows = [_row(how, what, counted) for (how, what), counted in verdicts.items()]
    title = f"Trust: {tries} tries, {kind}, {threads} thread(s), calls of {call * 1000:.1f} ms"
    load = "nothing else" if idle else "one core taken by another process"
    minutes = (time.monotonic() - start) / 60
    print_table(
        f"{title}, {load}, {minutes:.0f} minutes",
        ["how", "of what", "called slower", "called faster", "called same", "unclear", "mark", "met"],
        rows,
    )
    return all(row[-1] == "yes" for row in rows)


def _try(scratch: Path, paths: tuple[Path, Path, Path], threads: int, number: int, verdicts: Verdicts) -> float:
    """Count what is called. Returns how long a call of the chain took, the median in seconds."""
    chain, copy, longer = paths
    together = _bench(scratch / "together.json", [chain, copy, longer], threads, number)
    for what, artifact in zip(("copy", "slower"), together.artifacts[1:], strict=True):
        assert artifact.timings[0].speedup is not None
        verdicts["one run", what][artifact.timings[0].speedup.verdict] += 1
    before, again, after = (
        _bench(scratch / f"{index}.json", [path], threads, 3 * number + index)
        for index, path in enumerate((chain, chain, longer))
    )
    for what, later in (("copy", again), ("slower", after)):
        verdicts["two runs", what][compare_reports(before, later).changes[0].speedup.verdict] += 1
    return together.artifacts[0].timings[0].seconds.median


def _bench(out: Path, paths: list[Path], threads: int, seed: int) -> Report:
    options = ["--threads", str(threads), "--seconds", str(SECONDS), "--seed", str(seed), "--no-footprint"]
    command = [sys.executable, "-m", "tfopt", "bench", *map(str, paths), *options, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return load_report(out)


@contextmanager
def _loaded(processes: int) -> Iterator[None]:
    """Other processes that each keep a core busy, and end with this one whatever happens to it."""
    spin = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(1000))"
    spinning = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in spinning:
            each.kill()
            each.wait()


def _plant(directory: Path, kind: str) -> tuple[Path, Path, Path]:
    """The chain, its copy and the longer chain."""
    chain, longer = (_export(directory / f"chain_of_{layers}", layers, kind) for layers in (LAYERS, SLOWER))
    copy = directory / f"copy{chain.suffix}"
    (shutil.copytree if chain.is_dir() else shutil.copy)(chain, copy)
    return chain, copy, longer


def _export(directory: Path, layers: int, kind: str) -> Path:
    module = tf.Module()
    spread = (2 / (9 * CHANNELS)) ** 0.5
    draw = np.random.default_rng(0).standard_normal
    module.filters = [tf.constant(draw((3, 3, CHANNELS, CHANNELS)) * spread, tf.float32) for _ in range(layers)]

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, CHANNELS), tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, Any]:
        for filters in module.filters:
            x = tf.nn.relu(tf.nn.conv2d(x, filters, 1, "SAME"))
        return {"y": x}

    tf.saved_model.save(module, str(directory), signatures={"serving_default": serve})
    if kind == "saved_model":
        return directory
    path = directory.with_suffix(".tflite")
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(directory)).convert())
    return path


def _row(how: str, what: str, counted: Counter[str]) -> list[str]:
    tries = counted.total()
    if what == "copy":
        mark, met = "none called", counted["slower"] + counted["faster"] == 0
    else:
        allowed = int(MOST_MISSED * tries)
        mark, met = f"slower in {tries - allowed} of {tries}", counted["slower"] >= tries - allowed
    named = {"copy": "the same artifact", "slower": f"{SLOWER / LAYERS - 1:.0%} more work"}[what]
    figures = [str(counted[verdict]) for verdict in ("slower", "faster", "same", "unclear")]
    return [how, named, *figures, mark, "yes" if met else "no"]


def _shown(verdicts: Verdicts) -> str:
    return json.dumps({f"{how}, {what}": dict(counted) for (how, what), counted in verdicts.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--kind", choices=("tflite", "saved_model"), default="tflite")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--idle", action="store_true", help="load nothing")
    chosen = parser.parse_args()
    sys.exit(0 if main(chosen.tries, chosen.kind, chosen.threads, idle=chosen.idle) else 1)
